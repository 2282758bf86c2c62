"""The front desk for tests that are not asynchronous: one question, one connection; waits hang on what `watch` says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from broker.api import schema
from broker.api.client import DeskClient

WITHIN: Final = 10.0
SHOWN: Final = 2000  # characters of the last event in a failure

Answer = TypeVar("Answer", bound=schema.Words)
T = TypeVar("T")


class NothingSeen(AssertionError):
    """What a test waited for was not seen at the desk in time."""


class Desk:
    """A person's side of one home's control socket."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def ask(self, route: schema.Route, params: schema.Words, answer: type[Answer]) -> Answer:
        async def ask() -> Answer:
            async with DeskClient(self._path) as desk:
                return await desk.ask(route, params, answer)

        return asyncio.run(ask())

    def until(self, seen: Callable[[schema.WatchEvent], T | None], what: str, *, within: float = WITHIN) -> T:
        """The first thing `seen` makes of the snapshot or of a change.

        Raises:
            NothingSeen: there was none in time.
        """
        shown = ""

        async def watch() -> T:
            nonlocal shown
            async with asyncio.timeout(within), DeskClient(self._path) as desk:
                async for event in desk.watch():
                    shown = str(event)[:SHOWN]
                    found = seen(event)
                    if found is not None:
                        return found
            raise NothingSeen(f"the desk closed while a test waited for {what}")

        try:
            return asyncio.run(watch())
        except TimeoutError:
            raise NothingSeen(f"no {what} within {within} s; last: {shown}") from None

    # --- looking --------------------------------------------------------------------------------------------------

    def status(self) -> schema.Status:
        return self.ask(schema.STATUS, schema.Nothing(), schema.Statuses).status

    def pending(self) -> list[schema.QuestionView]:
        return self.ask(schema.PENDING, schema.Nothing(), schema.Questions).questions

    def grants(self) -> list[schema.GrantView]:
        return self.ask(schema.GRANTS, schema.Nothing(), schema.GrantList).grants

    def server(self, name: str) -> schema.ServerView:
        servers = self.ask(schema.SERVERS, schema.Nothing(), schema.Servers).servers
        return next(server for server in servers if server.name == name)

    def review(self) -> list[schema.ReviewItem]:
        return self.ask(schema.REVIEW, schema.Nothing(), schema.Review).items

    def sessions(self) -> list[schema.SessionView]:
        return self.ask(schema.SESSIONS, schema.Nothing(), schema.Sessions).sessions

    def receipts(self, **narrow: Any) -> list[dict[str, Any]]:
        return self.ask(schema.AUDIT, schema.Search(**{"limit": 10_000, **narrow}), schema.Receipts).receipts

    def link(self, server: str, client: str) -> schema.LinkView:
        """The one link of this client with this server."""
        (link,) = _links(self.sessions(), server, client)
        return link

    # --- waiting --------------------------------------------------------------------------------------------------

    def question(self, *, server: str = "", kind: str = "", within: float = WITHIN) -> schema.QuestionView:
        """An open question, once there is one."""

        def seen(event: schema.WatchEvent) -> schema.QuestionView | None:
            if not isinstance(event, schema.Snapshot | schema.QuestionsChanged):
                return None
            matching = (q for q in event.questions if server in ("", q.server) and kind in ("", q.kind))
            return next(matching, None)

        return self.until(seen, f"question about {server or 'anything'}", within=within)

    def no_question(self, id: str, *, within: float = WITHIN) -> None:
        """Wait until a question is not open any more."""

        def seen(event: schema.WatchEvent) -> bool | None:
            if not isinstance(event, schema.Snapshot | schema.QuestionsChanged):
                return None
            return True if all(question.id != id for question in event.questions) else None

        self.until(seen, f"end of question {id}", within=within)

    def link_in(self, state: str, server: str, client: str, *, within: float = WITHIN) -> schema.LinkView:
        """The link of this client with this server, once it is in that state."""

        def seen(event: schema.WatchEvent) -> schema.LinkView | None:
            if not isinstance(event, schema.Snapshot | schema.SessionsChanged):
                return None
            return next((link for link in _links(event.sessions, server, client) if link.state == state), None)

        return self.until(seen, f"link of {client} with {server} that is {state}", within=within)

    def no_link(self, server: str, client: str, *, within: float = WITHIN) -> None:
        """Wait until this client has no link with this server."""

        def seen(event: schema.WatchEvent) -> bool | None:
            if not isinstance(event, schema.Snapshot | schema.SessionsChanged):
                return None
            return None if _links(event.sessions, server, client) else True

        self.until(seen, f"end of the links of {client} with {server}", within=within)

    # --- answering ------------------------------------------------------------------------------------------------

    def approve(self, question: schema.QuestionView, lifetime: str = "once") -> None:
        said = {"id": question.id, "digest": question.digest, "allow": True, "lifetime": lifetime}
        self.ask(schema.APPROVE, schema.Answered.model_validate(said), schema.Nothing)

    def deny(self, question: schema.QuestionView) -> None:
        said = schema.Answered(id=question.id, digest=question.digest, allow=False)
        self.ask(schema.DENY, said, schema.Nothing)

    def connect(self, client: str, server: str) -> None:
        """Let a client use a server, as an import does."""
        self.ask(schema.CONNECT, schema.Connect(client=client, server=server), schema.Nothing)


def _links(sessions: list[schema.SessionView], server: str, client: str) -> list[schema.LinkView]:
    of_client = [session for session in sessions if session.client == client]
    return [link for session in of_client for link in session.links if link.server == server]
