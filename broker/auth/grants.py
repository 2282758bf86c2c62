"""What came of a sign-in, kept for one client at one server, sealed.

A grant belongs to the address it was made for: a server that was added anew elsewhere begins without one.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, get_args

from broker.auth.answers import Tokens
from broker.auth.places import Near, Place, place_of
from broker.auth.registration import METHODS, ByHand, How, Method, Registration
from broker.auth.scopes import Scopes
from broker.errors import ConfigError
from broker.vault import book
from broker.vault.book import Book, VaultError

GRANT: Final = "oauth-grant"
SETTINGS: Final = "oauth-settings"


@dataclass(frozen=True, slots=True)
class Grant:
    """`tokens` is None where only the registration is left; `ended` is the code of what ended it."""

    url: str
    registration: Registration
    token_endpoint: str
    resource: str = ""
    requested: Scopes = ()
    revocation_endpoint: str = ""
    tokens: Tokens | None = None
    ended: str = ""
    unattended: bool = False

    @property
    def scopes(self) -> Scopes:
        """What was granted; a server that says nothing granted what was asked for."""
        said = self.tokens.scopes if self.tokens is not None else None
        return self.requested if said is None else said

    @property
    def is_live(self) -> bool:
        return self.tokens is not None and not self.ended

    def renewed(self, tokens: Tokens) -> "Grant":
        """With what a refresh gave; what it did not say stays."""
        old = self.tokens
        kept = replace(
            tokens,
            refresh=tokens.refresh or (old.refresh if old else ""),
            scopes=tokens.scopes if tokens.scopes is not None else (old.scopes if old else None),
        )
        return replace(self, tokens=kept, ended="")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chose about signing in at one server, for all clients."""

    resource: str = "prm"
    client_id: str = ""
    secret: str = field(default="", repr=False)
    issuer: str = ""
    document: str = ""
    method: Method | None = None
    """How the secret is shown, where the authorization server's own word for it is wrong or missing."""
    key: bool = False
    """The secret is a private key, and proves Bulkhead without a person."""

    @property
    def by_hand(self) -> ByHand | None:
        if not self.client_id:
            return None
        return ByHand(self.client_id, self.secret, self.issuer, "private_key_jwt" if self.key else self.method)


@dataclass(frozen=True, slots=True)
class Held:
    """A grant and the generation it was read at."""

    grant: Grant
    generation: int


class Grants:
    """Every grant of a home.  Reading takes a fraction of a millisecond, writing a few of them."""

    def __init__(self, rows: Book) -> None:
        self.rows = rows

    def of(self, client: str, server: str, url: str) -> Held | None:
        """The grant of a client at a server, if it was made for this address.

        Raises:
            VaultError: it was changed by somebody else.
        """
        row = self.rows.load(where(client, server))
        if row is None:
            return None
        grant = _grant(row.value)
        return Held(grant, row.generation) if grant.url == url and grant.registration.issuer == row.issuer else None

    def put(self, client: str, server: str, grant: Grant) -> None:
        self.rows.put(where(client, server), _bytes(grant), issuer=grant.registration.issuer)

    def swap(self, client: str, server: str, generation: int, grant: Grant) -> bool:
        """Replace exactly what was read; false if somebody else was faster."""
        return self.rows.swap(where(client, server), generation, _bytes(grant)) is not None

    def all(self) -> list[tuple[str, str, Grant]]:
        """Each client, server and grant, in order."""
        found = []
        for place in self.rows.places(GRANT):
            row = self.rows.load(place)
            if row is not None:
                found.append((place.client, place.server, _grant(row.value)))
        return found

    def secrets(self) -> dict[str, str]:
        """Every value that must not reach a record, by a name that may."""
        known = {}
        for client, server, grant in self.all():
            at = f"oauth/{client}/{server}"
            known[f"{at}/client"] = grant.registration.secret
            if grant.tokens is not None:
                known |= {f"{at}/access": grant.tokens.access, f"{at}/refresh": grant.tokens.refresh}
        for place in self.rows.places(SETTINGS):
            known[f"oauth/{place.server}/secret"] = self.settings(place.server).secret
        return {name: value for name, value in known.items() if value}

    def settings(self, server: str) -> Settings:
        row = self.rows.load(book.Place(SETTINGS, "", server))
        if row is None:
            return Settings()
        try:
            return Settings(**json.loads(row.value))
        except (ValueError, TypeError) as cause:
            raise VaultError("the settings of a sign-in cannot be read", hint="bulkhead logout NAME") from cause

    def choose(self, server: str, settings: Settings) -> None:
        self.rows.put(book.Place(SETTINGS, "", server), json.dumps(asdict(settings)).encode())

    def forget(self, client: str, server: str) -> None:
        self.rows.delete(where(client, server))

    def forget_settings(self, server: str) -> None:
        self.rows.delete(book.Place(SETTINGS, "", server))


def where(client: str, server: str) -> book.Place:
    return book.Place(GRANT, client, server)


def endpoint(url: str) -> Place:
    """A place that was judged when the sign-in was made; its address is judged again when it is dialled."""
    return place_of(url, Near.THIS_MACHINE, "kept endpoint")


def _bytes(grant: Grant) -> bytes:
    return json.dumps(asdict(grant), separators=(",", ":")).encode()


def _grant(data: bytes) -> Grant:
    try:
        said: dict[str, Any] = json.loads(data)
        registration, tokens = said.pop("registration"), said.pop("tokens")
        if registration["method"] not in METHODS or registration["how"] not in get_args(How):
            raise ValueError(registration["method"])
        if tokens is not None:
            scopes = tokens.pop("scopes")
            tokens = Tokens(**tokens, scopes=tuple(scopes) if scopes is not None else None)
        said["requested"] = tuple(said["requested"])
        return Grant(registration=Registration(**registration), tokens=tokens, **said)
    except (ValueError, TypeError, KeyError) as cause:
        raise ConfigError("a kept sign-in cannot be read", hint="bulkhead logout NAME") from cause
