"""A server wants a page opened in the browser: a person sees the whole address, and only a yes opens it, once.

One question of a link at a time; what is asked meanwhile is recorded and let go.  The address is the one argument of
the system's own opener, and never part of a command.
"""

import asyncio
import logging
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from broker.errors import BulkheadError, SandboxError
from broker.flow.egress import sources_of
from broker.house import House
from broker.model import ClientName, Decision, Fact, ServerName, SessionId, Verdict
from broker.sandbox.browsing import vetted

OPEN_LIMIT: Final = 20.0
NO_OPENER: Final = "no program here opens pages; open it yourself"
_log = logging.getLogger(__name__)


class Pages:
    """What one link's server asks for; call it with its words."""

    def __init__(
        self,
        house: House,
        client: ClientName,
        session: SessionId,
        server: ServerName,
        record: Callable[[Fact], None],
        record_durably: Callable[[Fact], Awaitable[None]],
    ) -> None:
        self._house = house
        self._client = client
        self._session = session
        self._server = server
        self._record = record
        self._record_durably = record_durably
        self._asking: asyncio.Task[None] | None = None
        self.opener: Callable[[str], Awaitable[str]] = open_page

    def __call__(self, text: str) -> None:
        try:
            address, host = vetted(text)
            if self._asking is not None and not self._asking.done():
                raise SandboxError("another one is being asked about")
        except SandboxError as refusal:
            decision = Decision(Verdict.DENY, "open", f"a page was not opened: {refusal}")
            self._record(Fact("egress", "server", "open", self._server, decision=decision))
            return
        self._asking = asyncio.get_running_loop().create_task(self._ask(address, host))

    def close(self) -> None:
        """The link is over: nobody needs the page any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, address: str, host: str) -> None:
        try:
            await self._settle(address, host)
        except BulkheadError as problem:  # nothing was recorded, and so nothing was opened
            _log.warning("a page of %s was not opened: %s", self._server, problem)

    async def _settle(self, address: str, host: str) -> None:
        private = sources_of(self._server, address, b"", self._house.ledgers.provenance(self._session))
        carried = sorted({f"{match.origin.server} call {match.origin.number}" for match in private})
        ticket = self._house.consent.ask(
            kind="open",
            client=self._client,
            server=self._server,
            session=self._session,
            what=f"open a page of {host} in your browser",
            why=f"{self._server} asks for it" + ("; the address carries text of another server" if carried else ""),
            digest_of={"address": address},
            evidence=(f"carries text of: {', '.join(carried[:32])}",) if carried else (),
            detail=address,
            wait_seconds=self._house.waits.question,
        )
        self._house.changed()
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        body = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed, "host": host}
        await self._record_durably(Fact("answer", "person", "open", self._server, body=body, durable=True))
        self._house.changed()
        if answer.allowed and (problem := await self.opener(address)):
            _log.warning("a page of %s was not opened: %s", self._server, problem)


async def open_page(address: str) -> str:
    """Hand it to the system's own opener; what went wrong, or nothing."""
    program = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if program is None:
        return NO_OPENER
    nothing = subprocess.DEVNULL
    started = await asyncio.create_subprocess_exec(
        program, address, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        async with asyncio.timeout(OPEN_LIMIT):
            return "" if await started.wait() == 0 else f"{program} could not open it"
    except TimeoutError:
        return ""  # some openers stay as long as their browser
