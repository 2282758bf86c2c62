"""What one server is given when it starts: its plain values, and its secrets from where they are kept.

A secret is looked up for that one server at that one launch, and known to the receipts' redactor before anybody else
sees it.  What looks like a secret goes to the vault and leaves a reference in the document.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from broker.concealed import ARGUMENT
from broker.errors import ConfigError
from broker.registry import Registry, Server
from broker.secrecy import looks_secret
from broker.vault.book import Place, VaultError
from broker.vault.references import SECRET_KIND, References, check_secret_name, parse_reference
from broker.vault.vault import Vault

REMEMBERED: Final = 3  # values of one variable that receipts are searched for: this one and those just before


class Redactor(Protocol):
    """Whoever keeps values out of the receipts."""

    def add(self, name: str, value: str) -> None: ...
    def drop(self, value: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of the vault, without its value: which servers' documents name it."""

    name: str
    servers: tuple[str, ...]


class Provisions:
    """The one place where values of secrets meet the servers they are for."""

    def __init__(self, registry: Registry, vault: Vault, redactor: Redactor) -> None:
        self._registry = registry
        self._vault = vault
        self._redactor = redactor
        self._references = References(vault)
        self._known: OrderedDict[str, list[str]] = OrderedDict()

    async def of(self, server: Server) -> dict[str, str]:
        """Every value a server is given, by its variable's (or header's) name.

        Raises:
            ConfigError: one is not there, which is named; nothing is started then.
        """
        return self._registry.env(server) | await self.looked_up(server.name, server.references)

    async def given(self, server: Server) -> dict[str, str] | None:
        """The values there are now, with nothing run for them; None if not all are at hand."""
        if any(parse_reference(reference).kind in ("command", "host") for reference in server.references.values()):
            return None
        try:
            return await self.of(server)
        except ConfigError:
            return None

    async def looked_up(self, server: str, references: Mapping[str, str]) -> dict[str, str]:
        """The values of references, for this server alone.  Raises ConfigError for the first that is not there."""
        found = {}
        for name, reference in references.items():
            try:
                value = await self._references.value(reference)
            except ConfigError as problem:
                raise ConfigError(f"{server} needs {name}, but {problem}", hint=problem.hint) from problem
            self._note(f"{server}/{name}", value)
            found[name] = value
        return found

    def kept(self, server: str, values: Mapping[str, str], *, elsewhere: bool = False) -> dict[str, str]:
        """Put what looks like a secret among `values` into the vault; returns where each is now.

        What goes along with requests `elsewhere` is a secret whatever it looks like.

        Raises:
            VaultError: the vault is closed.
        """
        secret = {
            name: value
            for name, value in values.items()
            if name.startswith(ARGUMENT) or (elsewhere and value) or looks_secret(name, value)
        }
        for name, value in secret.items():
            self.put(f"{server}/{name}", value)
        return {name: f"keychain:{server}/{name}" for name in secret}

    def check(self, name: str, value: str) -> None:
        """Refuse what cannot be kept now.  Raises ConfigError."""
        check_secret_name(name)
        if not value or "\0" in value:
            raise ConfigError("a secret is a text that is not empty")
        _ = self._vault.book

    def put(self, name: str, value: str) -> None:
        """Keep a secret in the vault, in the place of the one before.

        Raises:
            ConfigError: the name or the value cannot be one, or the vault is closed.
        """
        self.check(name, value)
        self._note(name, value)
        self._vault.book.put(Place(SECRET_KIND, server=name), value.encode())

    def remove(self, name: str) -> bool:
        """Forget a secret of the vault; False if there is none."""
        return self._vault.book.delete(Place(SECRET_KIND, server=name))

    def forget_server(self, server: str, keep: Mapping[str, str] | None = None) -> None:
        """Remove what was kept for a server alone, but for what `keep` still refers to."""
        if not self._vault.standing.is_open:
            return
        needed = set((keep or {}).values())
        for name in self._names():
            if name.startswith(f"{server}/") and f"keychain:{name}" not in needed:
                self.remove(name)

    def secrets(self) -> tuple[Secret, ...]:
        """The vault's secrets and who refers to them; those that are referred to and missing too.

        Raises:
            VaultError: the vault is closed.
        """
        users: dict[str, list[str]] = {name: [] for name in self._names()}
        for server in self._registry.servers():
            for reference in server.references.values():
                kind, _, name = reference.partition(":")
                if kind == "keychain" and server.name not in users.setdefault(name, []):
                    users[name].append(server.name)
        return tuple(Secret(name, tuple(users[name])) for name in sorted(users))

    def has(self, name: str) -> bool:
        return name in self._names()

    def users(self, name: str) -> tuple[str, ...]:
        """The servers whose documents refer to this secret of the vault."""
        return tuple(s.name for s in self._registry.servers() if f"keychain:{name}" in s.references.values())

    def tell_redactor(self) -> None:
        """Have the receipts searched for every secret of the vault.  A closed vault has given none to anybody."""
        if not self._vault.standing.is_open:
            return
        for name in self._names():
            try:
                row = self._vault.book.load(Place(SECRET_KIND, server=name))
            except VaultError:
                continue  # not ours any more, so it is given to nobody either
            if row is not None:
                self._note(name, row.value.decode())

    def _names(self) -> list[str]:
        return [place.server for place in self._vault.book.places(SECRET_KIND)]

    def _note(self, name: str, value: str) -> None:
        """Short-lived values of one name must not fill the redactor's bounded list."""
        values = self._known.setdefault(name, [])
        if value in values:
            return
        self._redactor.add(name, value)
        values.append(value)
        if len(values) > REMEMBERED:
            old = values.pop(0)
            if not any(old in others for others in self._known.values()):
                self._redactor.drop(old)
