"""The counter by HTTP at which applications register, ask, and get and renew their passes.

A browser may go to two addresses, as a person's own window and nothing else; everything else is for programs, and what
a web page asks for is sent away before its body is taken.  Errors are codes of the standards, never what was sent.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from broker.endpoints.http_pages import CLOSE, is_navigation, page
from broker.endpoints.http_replies import JSON
from broker.endpoints.http_server import Answer, Head, Reply, Work
from broker.errors import BulkheadError
from broker.model import JsonObject
from broker.passes import addresses, applications, asked
from broker.passes.applications import Application
from broker.passes.book import ACCESS_SECONDS, Invalid, Issued, Pass, PassBook
from broker.passes.waiting import Agree, WaitingRoom
from broker.protocol.frames import encode
from broker.protocol.http_gate import BROWSER_MARKS, Guest, is_json

REGISTRATIONS: Final = 20  # in a minute, of all applications
MINUTE: Final = 60.0
_FORM: Final = "application/x-www-form-urlencoded"
_NO_PAGE: Final = Reply(403, b"no web page is served here\n")


@dataclass(frozen=True, slots=True)
class World:
    """What the counter needs of the rest.  `record` and `given` put on record, and raise where they cannot."""

    agree: Agree
    given: Callable[[Guest, str, str], Awaitable[None]]
    record: Callable[[str, str, str, JsonObject], None]
    key: Callable[[str], bytes]
    is_served: Callable[[str], bool]
    ended: Callable[[Pass, str], None]


class Counter:
    """Serves the guests that sign in; `guests` are by the secret in their address."""

    def __init__(
        self, host: str, guests: Mapping[str, Guest], book: PassBook, world: World,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._host = host
        self._guests = guests
        self._book = book
        self._world = world
        self._clock = clock
        self._registered: deque[float] = deque(maxlen=REGISTRATIONS)
        self._waiting = WaitingRoom(book, world.agree)

    async def close(self) -> None:
        await self._waiting.close()

    def admits(self, guest: Guest, server: str, bearer: str) -> bool:
        """Whether a bearer is a pass of this guest for this server."""
        return self._book.admits(guest.path, server, bearer)

    def challenge(self, guest: Guest, server: str, *, refused: bool) -> str:
        return addresses.challenge(self._host, guest.path, server, refused=refused)

    def judge(self, head: Head) -> Reply | Work | None:
        """What is done with a request; None where it is none of the counter's."""
        path, _, query = head.target.partition("?")
        parts = path.removeprefix("/").split("/")
        at_desk = len(parts) == 3 and parts[1] == addresses.DESK
        if not at_desk and addresses.WELL_KNOWN not in path:
            return None
        guest = self._guest(parts[0]) if at_desk else None
        if at_desk and guest is None:
            return None  # an address nobody was given is told apart from none
        if head.all("host") != [self._host]:
            return Reply(403)
        if guest is not None and parts[2] in ("authorize", "wait"):
            return self._to_browser(guest, parts[2], query, head)
        if any(head.all(mark) for mark in BROWSER_MARKS):
            return _NO_PAGE
        if guest is None:
            return self._document(path) if head.method == "GET" else Reply(405)
        return self._to_program(guest, parts[2], head)

    def _guest(self, path: str) -> Guest | None:
        guest = self._guests.get(path)
        return guest if guest is not None and guest.signs_in else None

    def _document(self, path: str) -> Reply:
        if path.startswith(addresses.OF_ISSUER):
            guest = self._guest(path.removeprefix(addresses.OF_ISSUER))
            return _json(200, addresses.issuer_document(self._host, guest.path)) if guest else Reply(404)
        first, _, server = path.removeprefix(addresses.OF_RESOURCE).partition("/")
        guest = self._guest(first) if path.startswith(addresses.OF_RESOURCE) else None
        if guest is None or not self._world.is_served(server):
            return Reply(404)
        return _json(200, addresses.resource_document(self._host, guest.path, server))

    def _to_browser(self, guest: Guest, what: str, query: str, head: Head) -> Reply:
        if not is_navigation(head):
            return Reply(403)
        if what == "wait":
            try:
                return self._waiting.look(guest, asked.fields_of(query).get("id", ""))
            except ValueError:
                return page(404, "Nothing waits here.", CLOSE)
        issuer = addresses.issuer(self._host, guest.path)
        try:
            wanted = asked.wanted(query, issuer, partial(self._known, guest), partial(self._server, guest))
        except asked.NoAnswer as why:
            return page(400, str(why), "Bulkhead let nobody in.", CLOSE)
        except asked.Refused as no:
            return Reply(303, b"", (("location", no.back.with_error(no.code)), ("referrer-policy", "no-referrer")))
        return self._waiting.begin(guest, wanted)

    def _known(self, guest: Guest, id: str) -> Application | None:
        return applications.known(id, self._world.key(guest.path))

    def _server(self, guest: Guest, uri: str) -> str | None:
        server = uri.rpartition("/")[2]
        ours = uri == addresses.resource(self._host, guest.path, server)
        return server if ours and self._world.is_served(server) else None

    def _to_program(self, guest: Guest, what: str, head: Head) -> Reply | Work:
        tasks = {"register": self._register, "token": self._token, "revoke": self._revoke}
        task = tasks.get(what)
        if task is None:
            return Reply(404)
        if head.method != "POST":
            return Reply(405, b"", (("allow", "POST"),))
        kinds = [value.partition(";")[0].strip().lower() for value in head.all("content-type")]
        if not (is_json(head.all("content-type")) if what == "register" else kinds == [_FORM]):
            return Reply(415)

        async def work(body: bytes) -> Answer:
            try:
                return await task(guest, body)
            except BulkheadError:  # the vault is closed, or nothing can be recorded: nothing is given
                return _error(503, "temporarily_unavailable")

        return work

    async def _register(self, guest: Guest, body: bytes) -> Reply:
        now = self._clock()
        if len(self._registered) == REGISTRATIONS and now - self._registered[0] < MINUTE:
            return _error(429, "temporarily_unavailable")
        self._registered.append(now)
        try:
            application, answer = applications.registered(body, self._world.key(guest.path))
        except applications.Unregistrable as no:
            return _error(400, no.code)
        said: JsonObject = {"application": application.name, "redirects": list(application.redirects)}
        self._world.record("grant", guest.client, "", {"what": "registered", **said})
        return _json(201, answer)

    async def _token(self, guest: Guest, body: bytes) -> Reply:
        try:
            said = asked.fields_of(body.decode("ascii"))
        except ValueError:
            return _error(400, "invalid_request")
        kind = said.get("grant_type", "")
        if kind not in ("authorization_code", "refresh_token"):
            return _error(400, "unsupported_grant_type")
        if self._known(guest, said.get("client_id", "")) is None:
            return _error(401, "invalid_client")
        resource = said.get("resource")
        server = "" if resource is None else self._server(guest, resource)
        if server is None:
            return _error(400, "invalid_target")
        try:
            issued = await (self._redeemed if kind == "authorization_code" else self._renewed)(guest, said, server)
        except Invalid as no:
            self._world.record("violation", guest.client, server, {"problem": str(no)})
            if no.theft is not None:
                self._world.ended(no.theft, str(no))
            return _error(400, "invalid_grant")
        return _tokens(issued)

    async def _redeemed(self, guest: Guest, said: Mapping[str, str], server: str) -> Issued:
        code = self._book.take(
            said.get("code", ""), guest.path, said["client_id"], said.get("redirect_uri", ""),
            said.get("code_verifier", ""),
        )  # fmt: skip
        if server not in ("", code.wanted.server):
            raise Invalid("a code for another server")
        await self._world.given(guest, code.wanted.server, code.wanted.application.name)
        return self._book.redeem(code)

    async def _renewed(self, guest: Guest, said: Mapping[str, str], server: str) -> Issued:
        token = said.get("refresh_token", "")
        found = self._book.of_token(token)
        if found is not None and server not in ("", found.server):
            raise Invalid("a token for another server")
        if found is not None:
            self._world.record("grant", guest.client, found.server, {"what": "renewed", "pass": found.id})
        return self._book.renew(token, guest.path, said["client_id"])

    async def _revoke(self, guest: Guest, body: bytes) -> Reply:
        """RFC 7009: whatever the token was, it is good no more."""
        try:
            token = asked.fields_of(body.decode("ascii")).get("token", "")
        except ValueError:
            return _error(400, "invalid_request")
        found = self._book.of_token(token)
        if found is not None and found.path == guest.path:
            self._book.end(found.id)
            self._world.ended(found, "the application gave it back")
        return Reply(200)


def _tokens(issued: Issued) -> Reply:
    return _json(
        200,
        {
            "access_token": issued.access,
            "token_type": "Bearer",
            "expires_in": int(ACCESS_SECONDS),
            "refresh_token": issued.refresh,
        },
    )


def _json(status: int, document: JsonObject) -> Reply:
    return Reply(status, encode(document), (JSON,))


def _error(status: int, code: str) -> Reply:
    return _json(status, {"error": code})
