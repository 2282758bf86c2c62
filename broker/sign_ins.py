"""Where a sign-in meets the person: the question before it, the receipt, the browser, and whoever attends to it.

Somebody who asked for a sign-in in a terminal is shown there what to go to; for any other one the daemon opens the
browser, and what it could not open stands in `bulkhead tokens`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.auth.browser import open_url
from broker.auth.challenge import Bearer
from broker.auth.grants import Grants
from broker.auth.wishes import Shown, Wanted, Wish
from broker.consent import ConsentDesk
from broker.endpoints.proxy_book import ProxyBook
from broker.model import ClientName, Fact, Origin, QuestionId, ServerName, SessionId

if TYPE_CHECKING:
    from broker.auth.front import Attached, Front
    from broker.auth.wire import Wire

MAX_SHOWN: Final = 64  # scopes; there are never more


@dataclass(frozen=True, slots=True)
class Attendant:
    """Somebody who waits for one sign-in: told of the question, and of where to go."""

    asked: Callable[[QuestionId], None]
    shown: Callable[[Shown], None]


class SignIns:
    """The sign-ins of a home, with its desk, records and screen.  Nothing of HTTP is loaded before one is needed."""

    def __init__(
        self,
        consent: ConsentDesk,
        record: Callable[[Origin, Fact], Awaitable[object]],
        secret: Callable[[str, str], None],
        changed: Callable[[], None],
        grants: Callable[[], Grants],
        *,
        wait: float,
        wire: "Wire | None" = None,
        proxies: ProxyBook | None = None,
        browse: Callable[[str], bool] = open_url,
        moved: Callable[[str, str], None] = lambda _server, _host: None,
    ) -> None:
        """`wait` is how long a question stands; `browse` opens an address and says whether it could.

        `moved` hears of a server that names another authorization server than before.
        """
        self._consent = consent
        self._record = record
        self._changed = changed
        self._wait = wait
        self._browse = browse
        self._moved = moved
        self._attendants: dict[tuple[str, str], Attendant] = {}
        self._opening: set[asyncio.Task[bool]] = set()
        self._grants = grants
        self._secret = secret
        self._wire = wire
        self._proxies = proxies or ProxyBook()
        self._front: Front | None = None

    @property
    def front(self) -> "Front":
        if self._front is None:
            from broker.auth.front import Front, World
            from broker.auth.wire import Wire
            from broker.endpoints.http_proxy import Ways

            self._wire = self._wire or Wire(Ways(self._proxies).dial)
            world = World(self._agree, self._opened, self._secret, self._changed)
            self._front = Front(self._grants, self._wire, world)
        return self._front

    def attached(self, client: str, server: str, url: str) -> "Attached":
        """The tokens of one client at one server."""
        return self.front.attached(client, server, url)

    async def probed(self, url: str, headers: Mapping[str, str]) -> Bearer | None:
        """What a server asks for; None where it asks for no sign-in."""
        return await self.front.probed(url, headers)

    @contextmanager
    def attended(self, client: str, server: str, attendant: Attendant) -> Iterator[None]:
        """What concerns this client's sign-in at this server is told here."""
        key = (client, server)
        self._attendants[key] = attendant
        try:
            yield
        finally:
            if self._attendants.get(key) is attendant:
                del self._attendants[key]

    async def close(self) -> None:
        if self._front is not None:
            await self._front.close()
        await asyncio.gather(*self._opening, return_exceptions=True)  # each bounded by itself

    async def _agree(self, wish: Wish) -> bool:
        if wish.before and wish.before != wish.issuer:
            self._moved(wish.server, wish.host)
        ticket = self._consent.ask(
            kind="sign-in",
            client=ClientName(wish.client),
            server=ServerName(wish.server),
            session=SessionId(""),
            what=_what(wish),
            why=f"{wish.reason}: {wish.server} ({wish.url})",
            digest_of={"issuer": wish.issuer, "host": wish.host, "scopes": list(wish.scopes), "url": wish.url},
            evidence=_evidence(wish),
            wait_seconds=self._wait,
        )
        self._changed()
        if (attendant := self._attendants.get((wish.client, wish.server))) is not None:
            attendant.asked(ticket.question.id)
        try:
            answer = await ticket.answer()
        except asyncio.CancelledError:
            ticket.withdraw()
            raise
        body = {"question": ticket.question.id, "by": answer.by, "allowed": answer.allowed, "issuer": wish.issuer,
                "host": wish.host, "scopes": list(wish.scopes), "reason": wish.reason}  # fmt: skip
        fact = Fact("answer", "person", "sign-in", wish.server, body=body, durable=True)
        await self._record(Origin(wish.client, wish.server), fact)
        return answer.allowed

    def _opened(self, want: Wanted, shown: Shown) -> None:
        attendant = self._attendants.get((want.client, want.server))
        if attendant is not None:
            attendant.shown(shown)
        elif not shown.code:
            task = asyncio.get_running_loop().create_task(asyncio.to_thread(self._browse, shown.url))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)


def _what(wish: Wish) -> str:
    if wish.reason == "without a person":
        return f"let Bulkhead sign {wish.client} in at {wish.host} by itself, with the key it was given"
    return f"let {wish.client} sign in at {wish.host} to use {wish.server}"


def _evidence(wish: Wish) -> tuple[str, ...]:
    rights = [f"asks for: {scope}{' (new)' if scope in wish.new_scopes else ''}" for scope in wish.scopes[:MAX_SHOWN]]
    changed = (f"before, it was another authorization server: {wish.before}",) if wish.before else ()
    return (f"authorization server: {wish.issuer}", *changed, f"the browser goes to: {wish.host}",
            *(rights or ["asks for no named rights: the authorization server decides"]))  # fmt: skip
