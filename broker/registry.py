"""Servers, their pins and the clients, as documents that a person agreed to.

Every read goes through `Agreed`: a hand-edited file changes nothing until somebody says yes to it.  Environment values
and client secrets lie beside them in owner-only files of their own, because documents are shown and compared.
"""

import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.agreed import Agreed
from broker.errors import ConfigError
from broker.files import private_folder, read_bounded, write_private
from broker.model import ClientName, Grants, ServerName
from broker.pin import Pin
from broker.protocol import catalog as catalogs
from broker.protocol.catalog import Catalog
from broker.sandbox.hosts import HostRules
from broker.trust import pins

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SECRET_BYTES: Final = 32
MAX_SECRET: Final = 4096  # bytes of a client's secret file; ours has 65
MAX_EXECUTABLES: Final = 64  # a client that was started from more places than this asks each time


@dataclass(frozen=True, slots=True)
class Server:
    """A registered server: the user's own line, and what it may see.  `env` holds names; values are read at launch."""

    name: ServerName
    argv: tuple[str, ...]
    created: str
    enabled: bool = True
    grants: Grants = field(default_factory=Grants)
    env: tuple[str, ...] = ()
    disabled_tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """A registered AI application."""

    name: ClientName
    created: str
    programs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By server: the programs that were seen behind this client and allowed."""


class _ServerDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")
    argv: list[str] = Field(min_length=1)
    created: str
    enabled: bool = True
    read: list[str] = []
    write: list[str] = []
    hosts: list[str] = []
    env: list[str] = []
    disabled_tools: list[str] = []


class _ClientDocument(BaseModel):
    model_config = ConfigDict(extra="forbid")
    created: str
    programs: dict[str, list[str]] = {}


Document = TypeVar("Document", bound=BaseModel)


class Registry:
    """The one owner of these documents.  Disk first, then memory: there is no cache that could disagree."""

    def __init__(self, agreed: Agreed, config: Path) -> None:
        self._agreed = agreed
        self._config = config

    # --- servers ---

    def servers(self) -> list[Server]:
        return [self.server(_stem(name)) for name in self._agreed.names("servers")]

    def server(self, name: str) -> Server:
        """One server.

        Raises:
            ConfigError: there is none of this name, or its document cannot be read.
        """
        check_name(name)
        document = _parse(_ServerDocument, self._agreed.load(_server_file(name)), f"server {name}")
        return Server(
            name=ServerName(name),
            argv=tuple(document.argv),
            created=document.created,
            enabled=document.enabled,
            grants=Grants(tuple(map(Path, document.read)), tuple(map(Path, document.write)), tuple(document.hosts)),
            env=tuple(document.env),
            disabled_tools=tuple(document.disabled_tools),
        )

    def has_server(self, name: str) -> bool:
        return _server_file(name) in self._agreed.names("servers")

    def put_server(self, server: Server) -> None:
        """Write a server a person agreed to.  Raises SandboxError for a host that may not be, or not with the rest."""
        check_name(server.name)
        folders = [str(path) for path in (*server.grants.read, *server.grants.write)]
        HostRules.of(server.grants.hosts).check_company(server.name, folders, server.env)
        document: dict[str, Any] = {
            "argv": list(server.argv),
            "created": server.created,
            "enabled": server.enabled,
            "read": [str(path) for path in server.grants.read],
            "write": [str(path) for path in server.grants.write],
            "hosts": list(server.grants.hosts),
            "env": list(server.env),
            "disabled_tools": list(server.disabled_tools),
        }
        self._agreed.write(_server_file(server.name), tomli_w.dumps(document).encode())

    def set_enabled(self, name: str, tool: str, enabled: bool) -> None:
        """Switch a server (`tool` empty) or one of its tools on or off."""
        server = self.server(name)
        if not tool:
            self.put_server(replace(server, enabled=enabled))
            return
        off = set(server.disabled_tools) - {tool} | (set() if enabled else {tool})
        self.put_server(replace(server, disabled_tools=tuple(sorted(off))))

    def remove_server(self, name: str) -> None:
        self.server(name)  # says so if there is none
        for file in (_server_file(name), _pin_file(name), _catalog_file(name)):
            self._agreed.remove(file)
        self._env_file(name).unlink(missing_ok=True)

    # --- environment values ---

    def put_env(self, name: str, values: dict[str, str]) -> None:
        """Keep a server's environment values, owner-only."""
        check_name(name)
        write_private(self._env_file(name), json.dumps(values).encode())

    def env(self, server: Server) -> dict[str, str]:
        """The values of exactly the names the server document lists.

        Raises:
            ConfigError: a value is missing.
        """
        try:
            values = _values(self._env_file(server.name))
        except FileNotFoundError:
            values = {}
        missing = [name for name in server.env if name not in values]
        if missing:
            raise ConfigError(
                f"the value of {', '.join(missing)} for {server.name} is not there",
                hint=f"add the server again with: bulkhead add {server.name} --env NAME=VALUE ...",
            )
        return {name: values[name] for name in server.env}

    def secrets(self) -> dict[str, str]:
        """Every kept value, by a name that may be shown: what must never be written to a receipt.

        Raises:
            ConfigError: a file of values cannot be read: nobody knows then what must be kept out.
        """
        known = {}
        for path in (self._config / "env").glob("*.json"):
            for name, value in _values(path).items():
                known[f"{path.stem}/{name}"] = value
        for path in (self._config / "clients").glob("*.secret"):
            known[f"client/{path.stem}"] = read_bounded(path, MAX_SECRET).decode("utf-8", "replace").strip()
        return known

    # --- pins ---

    def pin(self, name: str) -> Pin | None:
        data = self._agreed.load(_pin_file(name))
        return pins.from_text(data.decode()) if data is not None else None

    def catalog(self, name: str) -> Catalog:
        """The agreed catalog.

        Raises:
            ConfigError: there is none, or it is not the one the pin names.
        """
        pin, data = self.pin(name), self._agreed.load(_catalog_file(name))
        if pin is None or data is None:
            raise ConfigError(f"{name} is not pinned", hint=f"pin it with: bulkhead pin {name} --update")
        catalog = catalogs.from_json(data.decode())
        if catalogs.digest(catalog) != pin.catalog:
            raise ConfigError(f"the catalog of {name} is not the one its pin names", hint="bulkhead review")
        return catalog

    def put_pin(self, pin: Pin, catalog: Catalog) -> Pin:
        """Write a pin and its catalog, which a person agreed to; returns the pin with the catalog's digest in it."""
        check_name(pin.server)
        pin = replace(pin, catalog=catalogs.digest(catalog))
        self._agreed.write(_catalog_file(pin.server), catalogs.to_json(catalog).encode())
        self._agreed.write(_pin_file(pin.server), pins.to_text(pin).encode())
        return pin

    # --- clients ---

    def clients(self) -> list[Client]:
        return [self.client(_stem(name)) for name in self._agreed.names("clients")]

    def client(self, name: str) -> Client:
        check_name(name)
        data = self._agreed.load(_client_file(name))
        document = _parse(_ClientDocument, data, f"client {name}")
        programs = {server: tuple(known) for server, known in document.programs.items()}
        return Client(ClientName(name), document.created, programs)

    def has_client(self, name: str) -> bool:
        return _client_file(name) in self._agreed.names("clients")

    def put_client(self, name: str, created: str) -> None:
        """Register a client and mint its secret; what it has of both is kept, and a lost secret is minted anew."""
        check_name(name)
        secret = self._secret_file(name)
        if not secret.exists():
            write_private(secret, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
        if not self.has_client(name):
            self._write_client(Client(ClientName(name), created))

    def programs(self, client: str, server: str) -> tuple[str, ...]:
        """The programs that may be behind this client when it uses this server."""
        return self.client(client).programs.get(server, ())

    def add_program(self, client: str, server: str, executable: str) -> None:
        """Bind the program behind a client, seen first or allowed by a person."""
        known = self.client(client)
        others = tuple(path for path in known.programs.get(server, ()) if path != executable)
        programs = {**known.programs, server: (*others, executable)[-MAX_EXECUTABLES:]}
        self._write_client(replace(known, programs=programs))

    def _write_client(self, client: Client) -> None:
        document = {"created": client.created, "programs": {key: list(value) for key, value in client.programs.items()}}
        self._agreed.write(_client_file(client.name), tomli_w.dumps(document).encode())

    def remove_client(self, name: str) -> None:
        self.client(name)
        self._agreed.remove(_client_file(name))
        self._secret_file(name).unlink(missing_ok=True)

    def is_client(self, name: str, secret: str) -> bool:
        """True when `secret` is that of the registered client `name`."""
        if NAME.fullmatch(name) is None or not self.has_client(name):
            return False
        try:
            known = read_bounded(self._secret_file(name), MAX_SECRET).strip()
        except FileNotFoundError:
            return False
        return len(known) == 2 * SECRET_BYTES and hmac.compare_digest(known, secret.encode("utf-8", "replace"))

    # --- documents somebody edited ---

    def check(self, name: str, data: bytes) -> None:
        """Refuse the text of a document that could not be read back; a name that is none of ours is left to its owner.

        Raises:
            ConfigError, SandboxError, TrustError: what is wrong with it.
        """
        folder, _, file = name.partition("/")
        if folder == "servers":
            HostRules.of(_parse(_ServerDocument, data, f"server {_stem(name)}").hosts)
        elif folder == "clients":
            _parse(_ClientDocument, data, f"client {_stem(name)}")
        elif folder == "pins":
            text = data.decode("utf-8", "replace")
            if file.endswith(".json"):
                catalogs.from_json(text)
            elif pins.from_text(text).server != _stem(name):
                raise ConfigError(f"{name} is the pin of another server")
        if file:
            check_name(file.removesuffix(".toml").removesuffix(".catalog.json"))

    def _secret_file(self, name: str) -> Path:
        return private_folder(self._config / "clients") / f"{name}.secret"

    def _env_file(self, name: str) -> Path:
        return self._config / "env" / f"{name}.json"


def check_name(name: str) -> None:
    """Refuse a name that could be read as a path or an option.

    Raises:
        ConfigError: it is not letters, digits, `_`, `.`, `-`, at most 64, starting with a letter or digit.
    """
    if NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name[:80]!r} cannot be a name",
            hint="use up to 64 letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )


def _values(path: Path) -> dict[str, str]:
    """What `put_env` wrote."""
    try:
        values = json.loads(read_bounded(path))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigError(f"{path} holds no environment values", hint=f"remove it and add {path.stem} again")
    return values


def _parse(kind: type[Document], data: bytes | None, what: str) -> Document:
    if data is None:
        raise ConfigError(f"there is no {what}", hint="bulkhead servers; bulkhead client list")
    try:
        return kind.model_validate(tomllib.loads(data.decode()))
    except ValidationError as cause:
        problem = cause.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"the document of {what} is wrong at {where}: {problem['msg']}") from cause
    except (ValueError, RecursionError) as cause:
        raise ConfigError(f"the document of {what} is not TOML: {str(cause)[:200]}") from cause


def _stem(name: str) -> str:
    return Path(name).name.removesuffix(".toml")


def _server_file(name: str) -> str:
    return f"servers/{name}.toml"


def _pin_file(name: str) -> str:
    return f"pins/{name}.toml"


def _catalog_file(name: str) -> str:
    return f"pins/{name}.catalog.json"


def _client_file(name: str) -> str:
    return f"clients/{name}.toml"
