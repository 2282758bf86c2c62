"""The registered clients: which programs may be behind them, and the secret by which each proves itself.

The secret alone decides who is calling.  It lies in an owner-only file beside the document, because documents are shown
and compared.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import tomli_w
from pydantic import BaseModel, ConfigDict

from broker.agreed import Agreed
from broker.documents import NAME, check_name, parse, stem
from broker.files import private_folder, read_bounded, write_private
from broker.model import ClientName

SECRET_BYTES: Final = 32
MAX_SECRET: Final = 4096  # bytes of a client's secret file; ours has 65
MAX_EXECUTABLES: Final = 64  # a client that was started from more places than this asks each time


@dataclass(frozen=True, slots=True)
class Client:
    """A registered AI application."""

    name: ClientName
    created: str
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By server: the programs that were seen behind this client and allowed."""

    answers: bool = False
    """Its own person may answer there what the policy asks about its calls."""


class _ClientDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")
    created: str
    programs: dict[str, list[str]] = {}
    answers: bool = False


class ClientBook:
    """The one owner of these documents and secrets.  Disk first, then memory: there is no cache that could disagree."""

    def __init__(self, agreed: Agreed, config: Path) -> None:
        self._agreed = agreed
        self._folder = config / "clients"

    def all(self) -> list[Client]:
        return [self.find(stem(name)) for name in self._agreed.names("clients")]

    def find(self, name: str) -> Client:
        """One client.

        Raises:
            ConfigError: there is none of this name, or its document cannot be read.
        """
        check_name(name)
        data = self._agreed.load(_file(name))
        document = parse(_ClientDocument, data, f"client {name}")
        programs = {server: tuple(known) for server, known in document.programs.items()}
        return Client(ClientName(name), document.created, programs, document.answers)

    def has(self, name: str) -> bool:
        return _file(name) in self._agreed.names("clients")

    def put(self, name: str, created: str) -> None:
        """Register a client and mint its secret; what it has of both is kept, and a lost secret is minted anew."""
        check_name(name)
        secret = self._secret_file(name)
        if not secret.exists():
            write_private(secret, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
        if not self.has(name):
            self._write(Client(ClientName(name), created))

    def programs(self, client: str, server: str) -> tuple[str, ...]:
        """The programs that may be behind this client when it uses this server."""
        return self.find(client).programs.get(server, ())

    def add_program(self, client: str, server: str, executable: str) -> None:
        """Bind the program behind a client, seen first or allowed by a person."""
        known = self.find(client)
        others = tuple(path for path in known.programs.get(server, ()) if path != executable)
        programs = {**known.programs, server: (*others, executable)[-MAX_EXECUTABLES:]}
        self._write(replace(known, programs=programs))

    def answers(self, client: str) -> bool:
        """Whether what the policy asks about this client's calls may be answered inside it."""
        return self.find(client).answers

    def let_answer(self, client: str, *, on: bool) -> None:
        """A person turned that on or off."""
        self._write(replace(self.find(client), answers=on))

    def _write(self, client: Client) -> None:
        document: dict[str, object] = {
            "created": client.created, "programs": {key: list(value) for key, value in client.programs.items()}
        }  # fmt: skip
        if client.answers:
            document["answers"] = True
        self._agreed.write(_file(client.name), tomli_w.dumps(document).encode())

    def remove(self, name: str) -> None:
        self.find(name)
        self._agreed.remove(_file(name))
        self._secret_file(name).unlink(missing_ok=True)

    def is_client(self, name: str, secret: str) -> bool:
        """True when `secret` is that of the registered client `name`."""
        if NAME.fullmatch(name) is None or not self.has(name):
            return False
        try:
            known = read_bounded(self._secret_file(name), MAX_SECRET).strip()
        except FileNotFoundError:
            return False
        return len(known) == 2 * SECRET_BYTES and hmac.compare_digest(known, secret.encode("utf-8", "replace"))

    def secrets(self) -> dict[str, str]:
        """Every secret, by a name that may be shown."""
        return {
            f"client/{path.stem}": read_bounded(path, MAX_SECRET).decode("utf-8", "replace").strip()
            for path in self._folder.glob("*.secret")
        }

    def check(self, name: str, data: bytes) -> None:
        """Refuse the text of a document that could not be read back.

        Raises:
            ConfigError: what is wrong with it.
        """
        parse(_ClientDocument, data, f"client {stem(name)}")

    def _secret_file(self, name: str) -> Path:
        return private_folder(self._folder) / f"{name}.secret"


def _file(name: str) -> str:
    return f"clients/{name}.toml"
