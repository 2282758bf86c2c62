"""The passes of a home, sealed in its vault, and the codes and tokens that stand for them.

A code is good once; used again it ends the pass that came of it.  A refresh token is replaced at each use; an old one
that comes back ends its pass, because one of two holders stole it.  No token is kept: access tokens stand in memory as
hashes and last minutes, and a refresh token is recomputed from a key of its pass.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from broker.errors import ConfigError
from broker.passes.asked import Wanted, proves
from broker.vault import book
from broker.vault.book import Book

PASS: Final = "pass"  # noqa: S105 - the kind of a row, and no word
CODE_SECONDS: Final = 60.0
ACCESS_SECONDS: Final = 600.0
UNUSED_SECONDS: Final = 30 * 86400.0  # a pass nobody used for so long is over
MAX_CODES: Final = 64
MAX_ACCESS: Final = 512  # tokens that are good at once
MAX_PASSES: Final = 256


class Invalid(Exception):
    """A code or token that is good for nothing.  `theft` names the pass that was ended for it."""

    def __init__(self, why: str, theft: "Pass | None" = None) -> None:
        super().__init__(why)
        self.theft = theft


@dataclass(frozen=True, slots=True)
class Pass:
    """What one application may do: use one server as one client.  `path` is the address it was made at."""

    id: str
    client: str
    path: str = field(repr=False)
    server: str
    application: str
    name: str
    created: float
    used: float
    turn: int = 0
    key: str = field(default="", repr=False)

    @property
    def ends(self) -> float:
        return self.used + UNUSED_SECONDS

    def refresh_token(self, turn: int) -> str:
        made = hmac.digest(bytes.fromhex(self.key), f"refresh {self.id} {turn}".encode(), hashlib.sha256)
        return f"{self.id}.{turn}.{made.hex()}"


@dataclass(frozen=True, slots=True)
class Issued:
    """What an application is given."""

    of: Pass
    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(slots=True)
class Code:
    """What a code stands for, and what came of it."""

    wanted: Wanted
    client: str
    path: str
    ends: float
    used: bool = False
    pass_id: str = ""


class PassBook:
    """Belongs to one event loop; nothing here waits for anything but a few milliseconds of disk."""

    def __init__(self, vault: Callable[[], Book], clock: Callable[[], float]) -> None:
        """`vault` gives the open book, or raises VaultError."""
        self._vault = vault
        self._clock = clock
        self._codes: dict[bytes, Code] = {}
        self._access: dict[bytes, tuple[str, float]] = {}
        self._passes: dict[str, Pass] | None = None

    def all(self) -> tuple[Pass, ...]:
        """Every pass that is good.

        Raises:
            VaultError: the vault is closed.
        """
        now = self._clock()
        return tuple(one for one in self._known().values() if now < one.ends)

    def code(self, wanted: Wanted, client: str, path: str) -> str:
        """A code for a pass that a person agreed to.

        Raises:
            VaultError: no pass can be kept now.
        """
        self._known()
        self._sweep()
        code = secrets.token_urlsafe(32)
        while len(self._codes) >= MAX_CODES:
            self._codes.pop(next(iter(self._codes)))
        self._codes[_digest(code)] = Code(wanted, client, path, self._clock() + CODE_SECONDS)
        return code

    def take(self, code: str, path: str, application: str, redirect: str, verifier: str) -> Code:
        """Use a code up, whatever comes of it; `redeem` then gives what it stands for.

        Raises:
            Invalid: it is nobody's, or was used, is late, or is brought by another than asked for it.
        """
        found = self._codes.get(_digest(code))
        if found is None or found.path != path:
            raise Invalid("a code nobody was given")
        if found.used:
            raise Invalid("a code that was used before", self.end(found.pass_id))
        found.used = True
        asked = found.wanted
        if self._clock() >= found.ends:
            raise Invalid("a code that came too late")
        if asked.application.id != application or asked.back.redirect != redirect:
            raise Invalid("a code of another application")
        if not proves(verifier, asked.challenge):
            raise Invalid("a code without its proof")
        return found

    def redeem(self, taken: Code) -> Issued:
        """The tokens for a code that was taken.

        Raises:
            VaultError: the pass cannot be kept; the code is used up all the same.
        """
        now, asked = self._clock(), taken.wanted
        made = Pass(secrets.token_hex(6), taken.client, taken.path, asked.server, asked.application.id,
                    asked.application.name, now, now, key=secrets.token_hex(32))  # fmt: skip
        passes = self._known()
        while len(passes) >= MAX_PASSES:
            self.end(min(passes.values(), key=lambda one: one.used).id)
        self._keep(made)
        taken.pass_id = made.id
        return self._issued(made)

    def renew(self, token: str, path: str, application: str) -> Issued:
        """Other tokens for a refresh token, which is good no more.

        Raises:
            Invalid: it is nobody's, or was used before.
            VaultError: nothing can be kept now, and the token stays good.
        """
        id, _, rest = token.partition(".")
        turn = rest.partition(".")[0]
        found = self._known().get(id)
        if found is None or not (turn.isascii() and turn.isdigit() and len(turn) < 10):
            raise Invalid("a token nobody was given")
        right = hmac.compare_digest(found.refresh_token(int(turn)).encode(), token.encode("utf-8", "replace"))
        if not right or (found.path, found.application) != (path, application):
            raise Invalid("a token nobody was given")
        if int(turn) != found.turn:
            raise Invalid("a token that was used before", self.end(found.id))
        now = self._clock()
        if now >= found.ends:
            self.end(found.id)
            raise Invalid("a token nobody used for too long")
        renewed = replace(found, turn=found.turn + 1, used=now)
        self._keep(renewed)
        return self._issued(renewed)

    def admits(self, path: str, server: str, token: str) -> bool:
        """Whether an access token is good at this address, for this server."""
        pass_id, ends = self._access.get(_digest(token), ("", 0.0))
        found = (self._passes or {}).get(pass_id)
        return found is not None and self._clock() < ends and (found.path, found.server) == (path, server)

    def of_token(self, token: str) -> Pass | None:
        """The pass a token of either kind stands for, while it is good."""
        passes = self._known()
        pass_id, ends = self._access.get(_digest(token), ("", 0.0))
        if self._clock() < ends:
            return passes.get(pass_id)
        found = passes.get(token.partition(".")[0])
        current = found.refresh_token(found.turn) if found is not None else ""
        return found if hmac.compare_digest(current.encode(), token.encode("utf-8", "replace")) else None

    def end(self, id: str) -> Pass | None:
        """End a pass: none of its tokens is good any more.  None if there is none."""
        found = self._known().get(id)
        if found is None:
            return None
        self._vault().delete(_place(found))
        del self._known()[id]
        return found

    def _issued(self, of: Pass) -> Issued:
        self._sweep()
        access = secrets.token_urlsafe(32)
        while len(self._access) >= MAX_ACCESS:
            self._access.pop(next(iter(self._access)))
        self._access[_digest(access)] = (of.id, self._clock() + ACCESS_SECONDS)
        return Issued(of, access, of.refresh_token(of.turn))

    def _keep(self, one: Pass) -> None:
        self._vault().put(_place(one), json.dumps(asdict(one)).encode(), issuer=one.server)
        self._known()[one.id] = one

    def _known(self) -> dict[str, Pass]:
        if self._passes is None:
            vault = self._vault()
            rows = ((place, vault.load(place)) for place in vault.places(PASS))
            found = (_read(row.value) for _, row in rows if row is not None)
            self._passes = {one.id: one for one in found}
        else:
            self._vault()  # a vault that was closed gives no pass and takes none
        return self._passes

    def _sweep(self) -> None:
        now = self._clock()
        self._codes = {code: one for code, one in self._codes.items() if now < one.ends + ACCESS_SECONDS}
        self._access = {token: one for token, one in self._access.items() if now < one[1]}


def _place(one: Pass) -> book.Place:
    return book.Place(PASS, one.client, one.id)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _read(value: bytes) -> Pass:
    try:
        return Pass(**json.loads(value))
    except (ValueError, TypeError) as cause:
        raise ConfigError("a pass in the vault was written by another version", hint="bulkhead endpoint") from cause
