"""Servers and their pins, as documents that a person agreed to.

Every read goes through `Agreed`: a hand-edited file changes nothing until somebody says yes to it.  Environment values
lie beside them in owner-only files of their own, because documents are shown and compared.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from broker.agreed import Agreed
from broker.boxes import SandboxTable, box_table, with_box
from broker.client_book import ClientBook
from broker.documents import check_name, parse, stem
from broker.errors import ConfigError, TrustError
from broker.files import read_bounded, write_private
from broker.flow.label_file import Accepted, format_accepted, parse_accepted
from broker.model import Grants, ServerName
from broker.network import EgressTable, SecretTable, check_network, inspection_of, tables
from broker.pin import Pin
from broker.protocol import catalog as catalogs
from broker.protocol.catalog import Catalog
from broker.trust import pins
from broker.vault.references import parse_reference


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
    references: Mapping[str, str] = field(default_factory=dict)
    """Where the values of secrets among `env` are (see `vault.references`); the values of all others are in a file."""


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
    egress: EgressTable = EgressTable()
    sandbox: SandboxTable = SandboxTable()
    references: dict[str, str] = Field(default={}, max_length=64)
    secrets: dict[str, SecretTable] = Field(default={}, max_length=16)


class Registry:
    """The one owner of these documents.  Disk first, then memory: there is no cache that could disagree."""

    def __init__(self, agreed: Agreed, config: Path) -> None:
        self._agreed = agreed
        self._config = config
        self.clients = ClientBook(agreed, config)

    # --- servers ---

    def names(self) -> list[ServerName]:
        return [ServerName(stem(name)) for name in self._agreed.names("servers")]

    def servers(self) -> list[Server]:
        return [self.server(name) for name in self.names()]

    def server(self, name: str) -> Server:
        """One server.

        Raises:
            ConfigError: there is none of this name, or its document cannot be read.
        """
        check_name(name)
        document = parse(_ServerDocument, self._agreed.load(_server_file(name)), f"server {name}")
        return Server(
            name=ServerName(name),
            argv=tuple(document.argv),
            created=document.created,
            enabled=document.enabled,
            grants=_grants(document),
            env=tuple(document.env),
            disabled_tools=tuple(document.disabled_tools),
            references=document.references,
        )

    def has_server(self, name: str) -> bool:
        return _server_file(name) in self._agreed.names("servers")

    def put_server(self, server: Server) -> None:
        """Write a server a person agreed to.  Raises SandboxError for a host that may not be, or not with the rest."""
        check_name(server.name)
        check_network(server.name, server.grants, server.env)
        _check_references(server.name, server.references, server.env)
        document: dict[str, Any] = {
            "argv": list(server.argv),
            "created": server.created,
            "enabled": server.enabled,
            "read": [str(path) for path in server.grants.read],
            "write": [str(path) for path in server.grants.write],
            "hosts": list(server.grants.hosts),
            "env": list(server.env),
            "disabled_tools": list(server.disabled_tools),
            **tables(server.grants.inspection),
            **({"references": dict(server.references)} if server.references else {}),
            **box_table(server.grants),
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
        for file in (_server_file(name), _pin_file(name), _catalog_file(name), _labels_file(name)):
            self._agreed.remove(file)
        self._env_file(name).unlink(missing_ok=True)

    # --- environment values ---

    def put_env(self, name: str, values: dict[str, str]) -> None:
        """Keep a server's environment values, owner-only."""
        check_name(name)
        write_private(self._env_file(name), json.dumps(values).encode())

    def env(self, server: Server) -> dict[str, str]:
        """The values of exactly the names the server document lists, but for those it refers to elsewhere.

        Raises:
            ConfigError: a value is missing.
        """
        try:
            values = _values(self._env_file(server.name))
        except FileNotFoundError:
            values = {}
        wanted = [name for name in server.env if name not in server.references]
        missing = [name for name in wanted if name not in values]
        if missing:
            raise ConfigError(
                f"the value of {', '.join(missing)} for {server.name} is not there",
                hint=f"add the server again with: bulkhead add {server.name} --env NAME=VALUE ...",
            )
        return {name: values[name] for name in wanted}

    def secrets(self) -> dict[str, str]:
        """Every kept value, by a name that may be shown: what must never be written to a receipt.

        Raises:
            ConfigError: a file of values cannot be read: nobody knows then what must be kept out.
        """
        known = {}
        for path in (self._config / "env").glob("*.json"):
            for name, value in _values(path).items():
                known[f"{path.stem}/{name}"] = value
        return known | self.clients.secrets()

    # --- pins ---

    def pin(self, name: str) -> Pin | None:
        """What was agreed to; None for a server without a pin.

        Raises:
            TrustError: whose pin cannot be read, and why.
        """
        data = self._agreed.load(_pin_file(name))
        return _read_pin(name, data.decode()) if data is not None else None

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

    def offered(self, name: str) -> Catalog:
        """The agreed catalog; nothing where there is none that can be used."""
        try:
            return self.catalog(name)
        except ConfigError:
            return Catalog()

    def put_pin(self, pin: Pin, catalog: Catalog) -> Pin:
        """Write a pin and its catalog, which a person agreed to; returns the pin with the catalog's digest in it."""
        check_name(pin.server)
        pin = replace(pin, catalog=catalogs.digest(catalog))
        self._agreed.write(_catalog_file(pin.server), catalogs.to_json(catalog).encode())
        self._agreed.write(_pin_file(pin.server), pins.to_text(pin).encode())
        return pin

    # --- labels ---

    def accepted_labels(self, name: str) -> Accepted | None:
        """What a person accepted about the tools of a server.  Raises PolicyError where it cannot be read."""
        data = self._agreed.load(_labels_file(name))
        return parse_accepted(data, _labels_file(name)) if data is not None else None

    def put_labels(self, name: str, accepted: Accepted) -> None:
        """Write what a person accepted.  Raises PolicyError for what could not be read again."""
        check_name(name)
        data = format_accepted(accepted)
        parse_accepted(data, _labels_file(name))
        self._agreed.write(_labels_file(name), data)

    def drop_labels(self, name: str) -> None:
        self._agreed.remove(_labels_file(name))

    # --- documents somebody edited ---

    def check(self, name: str, data: bytes) -> None:
        """Refuse the text of a document that could not be read back; a name that is none of ours is left to its owner.

        Raises:
            ConfigError, PolicyError, SandboxError, TrustError: what is wrong with it.
        """
        folder, _, file = name.partition("/")
        if folder == "servers":
            document = parse(_ServerDocument, data, f"server {stem(name)}")
            check_network(ServerName(stem(name)), _grants(document), document.env)
            _check_references(stem(name), document.references, document.env)
        elif folder == "clients":
            self.clients.check(name, data)
        elif folder == "labels":
            parse_accepted(data, name)
        elif folder == "pins":
            text = data.decode("utf-8", "replace")
            if file.endswith(".json"):
                catalogs.from_json(text)
            elif _read_pin(stem(name), text).server != stem(name):
                raise ConfigError(f"{name} is the pin of another server")
        if file:
            check_name(file.removesuffix(".toml").removesuffix(".catalog.json"))

    def _env_file(self, name: str) -> Path:
        return self._config / "env" / f"{name}.json"


def _read_pin(name: str, text: str) -> Pin:
    try:
        return pins.from_text(text)
    except TrustError as cause:
        raise TrustError(f"the pin of {name} cannot be read: {cause}", hint=cause.hint) from cause


def _grants(document: _ServerDocument) -> Grants:
    inspection = inspection_of(document.egress, document.secrets)
    folders = tuple(map(Path, document.read)), tuple(map(Path, document.write))
    return with_box(Grants(*folders, tuple(document.hosts), inspection=inspection), document.sandbox)


def _check_references(server: str, references: Mapping[str, str], variables: Collection[str]) -> None:
    for name, reference in references.items():
        if name not in variables:
            raise ConfigError(f"references.{name} of {server} names no variable of its environment")
        parse_reference(reference)


def _values(path: Path) -> dict[str, str]:
    """What `put_env` wrote."""
    try:
        values = json.loads(read_bounded(path))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ConfigError(f"{path} holds no environment values", hint=f"remove it and add {path.stem} again")
    return values


def _server_file(name: str) -> str:
    return f"servers/{name}.toml"


def _pin_file(name: str) -> str:
    return f"pins/{name}.toml"


def _catalog_file(name: str) -> str:
    return f"pins/{name}.catalog.json"


def _labels_file(name: str) -> str:
    return f"labels/{name}.toml"
