"""Where an application that signs in here meets the person: the question with its number, the receipts, its passes.

Everything is on record before it counts; what ends is ended first.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.audit.log import AuditLog
from broker.consent import ConsentDesk
from broker.model import ClientName, Fact, JsonObject, Origin, ServerName, SessionId
from broker.passes.asked import Wanted
from broker.passes.book import Pass, PassBook
from broker.protocol.http_gate import Guest
from broker.vault.vault import Vault

if TYPE_CHECKING:
    from broker.passes.counter import World

QUESTION_SECONDS = 300.0  # to find where Bulkhead asks, and to read a number twice


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What entries are made with.  `ended` hears of each pass that is good no more, and why."""

    consent: ConsentDesk
    audit: AuditLog
    vault: Vault
    key: bytes
    changed: Callable[[], None]
    is_served: Callable[[str], bool]
    ended: Callable[[Pass, str], None]


class Entries:
    """The passes of a home.  Nothing of HTTP is loaded before somebody wants to come in that way."""

    def __init__(self, around: Surroundings, clock: Callable[[], float] = time.time) -> None:
        self._around = around
        self.passes = PassBook(lambda: around.vault.book, clock)

    def world(self) -> "World":
        from broker.passes.counter import World

        around = self._around
        return World(self._agree, self._given, self._record, self._key, around.is_served, self._ended)

    def all(self) -> tuple[Pass, ...]:
        """Every pass there is; none while the vault is closed."""
        return self.passes.all() if self._is_open else ()

    def end(self, id: str) -> Pass | None:
        """End a pass by its name; None if there is none."""
        return self._over(self.passes.end(id), "a person revoked it") if self._is_open else None

    def forget(self, *, client: str = "", server: str = "") -> None:
        """End the passes of a client, or at a server, that is no more."""
        for one in self.all():
            if client in ("", one.client) and server in ("", one.server):
                self._over(self.passes.end(one.id), "what it was for is gone")

    @property
    def _is_open(self) -> bool:
        return self._around.vault.standing.is_open

    def _over(self, one: Pass | None, why: str) -> Pass | None:
        if one is not None:
            self._around.ended(one, why)
        return one

    async def _agree(self, guest: Guest, wanted: Wanted, number: str, named: Callable[[str], None]) -> bool:
        around = self._around
        around.vault.book  # noqa: B018 - closed, it says so before a person is asked for nothing
        asking = wanted.application
        ticket = around.consent.ask(
            kind="entry",
            client=ClientName(guest.client),
            server=ServerName(wanted.server),
            session=SessionId(""),
            what=f"an application in a browser wants to use {wanted.server} as {guest.client}; "
            "its page shows a number of two digits",
            why=f"it signs in at the address of {guest.client}, which `bulkhead endpoint` made",
            digest_of={"pass": [guest.path, wanted.server, asking.id, wanted.back.redirect, secrets.token_hex(16)]},
            evidence=(f"it calls itself: {asking.name or 'nothing'}", f"its answer goes to: {wanted.back.redirect}"),
            wait_seconds=QUESTION_SECONDS,
            number=number,
        )
        named(ticket.question.id)
        around.changed()
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        body: JsonObject = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed,
                            "application": asking.name, "redirect": wanted.back.redirect}  # fmt: skip
        fact = Fact("answer", "person", "entry", wanted.server, body=body, durable=True)
        await around.audit.append_durable(Origin(guest.client, wanted.server), fact)
        return answer.allowed

    async def _given(self, guest: Guest, server: str, application: str) -> None:
        fact = Fact(
            "grant", "person", "entry", server, body={"what": "given", "application": application}, durable=True
        )
        await self._around.audit.append_durable(Origin(guest.client, server), fact)
        self._around.changed()

    def _record(self, kind: str, client: str, server: str, body: JsonObject) -> None:
        made = Fact("violation" if kind == "violation" else "grant", "client", "entry", server, body=body)
        self._around.audit.append(Origin(client, server), made)

    def _ended(self, one: Pass, why: str) -> None:
        self._around.ended(one, why)
        self._record("grant", one.client, one.server, {"what": "ended", "pass": one.id, "why": why})

    def _key(self, path: str) -> bytes:
        """Applications register at one address and are known at no other."""
        return hmac.digest(self._around.key, b"applications at " + path.encode(), hashlib.sha256)
