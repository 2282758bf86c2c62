"""R5: a yes to one call is a token: good once, for exactly what was asked, and not for long.

A token is a keyed hash of session, server, tool, arguments, evidence and expiry, so another argument or another reason
to ask is another token.  It is taken out of the book in the moment its call goes; nothing else makes a held call go.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.model import Call, Decision, SessionId

RULE: Final = "R5"
LASTS: Final = 120.0  # seconds
MAX_TOKENS: Final = 4096  # of all sessions; beyond, the oldest is over early and is asked for again


@dataclass(frozen=True, slots=True)
class _Token:
    number: int
    session: SessionId
    subject: bytes
    expires: float
    mac: bytes


class Tokens:
    """All yeses that were given and not used up yet."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since the epoch."""
        self._key = key
        self._clock = clock
        self._number = 0
        self._tokens: dict[int, _Token] = {}
        self._offers: dict[str, _Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def mint(self, call: Call, asked: Decision) -> str:
        """A person said yes to `asked` about `call`.  Returns the token's name for the record."""
        now = self._clock()
        self._tokens = {number: token for number, token in self._tokens.items() if token.expires > now}
        while len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._number += 1
        subject, expires = _subject(call, asked), now + LASTS
        token = _Token(self._number, call.session, subject, expires, self._mac(subject, self._number, expires))
        self._tokens[self._number] = token
        return token.mac.hex()[:16]

    def answers(self, call: Call, asked: Decision) -> str:
        """The name of the token by which `call` may go although `asked`; empty when there is none."""
        token = self._find(call, asked)
        return token.mac.hex()[:16] if token is not None else ""

    def spend(self, call: Call, asked: Decision) -> str:
        """The same, and the token is used up: `call` goes now."""
        token = self._find(call, asked)
        if token is None:
            return ""
        del self._tokens[token.number]
        return token.mac.hex()[:16]

    def offer(self, call: Call, asked: Decision, seconds: float) -> str:
        """A name under which `asked` about `call` may be answered for so long, and by which nothing goes."""
        now = self._clock()
        self._offers = {name: offer for name, offer in self._offers.items() if offer.expires > now}
        while len(self._offers) >= MAX_TOKENS:
            del self._offers[next(iter(self._offers))]
        self._number += 1
        subject, expires = _subject(call, asked), now + seconds
        mac = self._mac(b"offer\n" + subject, self._number, expires)
        self._offers[mac.hex()] = _Token(self._number, call.session, subject, expires, mac)
        return mac.hex()

    def redeem(self, name: str, call: Call, asked: Decision) -> bool:
        """Whether `name` was given for exactly this and its time is not over.  True once."""
        offer = self._offers.get(name)
        if offer is None or offer.subject != _subject(call, asked) or offer.expires <= self._clock():
            return False
        del self._offers[name]
        return True

    def end_session(self, session: SessionId) -> None:
        """Nothing goes by a yes to a session that is over."""
        self._tokens = {number: token for number, token in self._tokens.items() if token.session != session}
        self._offers = {name: offer for name, offer in self._offers.items() if offer.session != session}

    def _find(self, call: Call, asked: Decision) -> _Token | None:
        subject, now = _subject(call, asked), self._clock()
        for token in self._tokens.values():
            if token.subject == subject and token.expires > now:
                mac = self._mac(subject, token.number, token.expires)
                return token if hmac.compare_digest(token.mac, mac) else None
        return None

    def _mac(self, subject: bytes, number: int, expires: float) -> bytes:
        return hmac.digest(self._key, b"bulkhead token 1\n" + subject + f"\n{number}\n{expires}".encode(), "sha256")


def _subject(call: Call, asked: Decision) -> bytes:
    """What exactly is asked, as 32 bytes; every word of the call is in it."""
    said = [call.session, call.client, call.server, call.origin, call.method, call.target, call.digest, call.extra,
            asked.rule, asked.evidence]  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode("ascii")).digest()
