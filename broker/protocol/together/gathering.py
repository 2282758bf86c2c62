"""One client in conversation with many servers as if they were one: what is said goes on to whom it is meant for.

Every server keeps a link of its own, which judges and records what passes there under the server's own names; here
nothing is decided but who is meant.  A request keeps its client's id on every link; what a server asks gets an id of
ours, because two servers may use the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.errors import ProtocolError
from broker.model import Era, JsonObject, ServerName
from broker.protocol import replies
from broker.protocol.catalog import Catalog
from broker.protocol.envelope import Notification, Request, Response, meta_of, read
from broker.protocol.frames import is_request_id
from broker.protocol.opening import check_legacy, era_of
from broker.protocol.pinned import LEVELS
from broker.protocol.replies import INVALID_PARAMS, INVALID_REQUEST, RequestId
from broker.protocol.together import merged
from broker.protocol.together.acts import Act, Enter, Say
from broker.protocol.together.aims import Aims, Nobody
from broker.protocol.together.asked import Asked
from broker.protocol.together.listening import Listening
from broker.protocol.together.owners import resources_in, tasks_in
from broker.protocol.versions import SUBSCRIPTION_KEY

MAX_OPEN: Final = 1024  # requests of one client; each link has a bound of its own, and the number of links too
_OPENINGS: Final = ("initialize", "server/discover")
_NEWS: Final = ("tools", "prompts", "resources")


@dataclass(slots=True)
class _Open:
    """One request of the client: who has not answered it, and what the others said."""

    request: Request
    waits: set[ServerName]
    is_for_all: bool
    answers: dict[ServerName, JsonObject] = field(default_factory=dict)


class Gathering:
    """Decides who is meant.  `servers` are those the client may use now, `catalog` what was agreed of one."""

    def __init__(self, servers: Callable[[], Iterable[ServerName]], catalog: Callable[[ServerName], Catalog]) -> None:
        self._servers = servers
        self._aims = Aims(servers, catalog)
        self._acts: list[Act] = []
        self._inside: set[ServerName] = set()
        self._era: Era = "legacy"
        self._opening: Request | None = None
        self._initialized: JsonObject | None = None
        self._level: JsonObject | None = None
        self._reopening: set[ServerName] = set()
        self._open: dict[RequestId, _Open] = {}
        self._asked = Asked()
        self._listening: dict[RequestId, Listening] = {}

    @property
    def version(self) -> str:
        """The revision a legacy client asked for; empty before."""
        return str(self._opening.params["protocolVersion"]) if self._opening is not None else ""

    # --- what happened ---

    def from_client(self, message: JsonObject) -> list[Act]:
        try:
            envelope = read("client", message)
        except ProtocolError as problem:
            self._say(None, replies.error(None, INVALID_REQUEST, str(problem)))
            return self._taken()
        match envelope:
            case Request():
                self._request(envelope)
            case Notification():
                self._notification(envelope)
            case Response():
                self._say_if(self._asked.answered(envelope))
        return self._taken()

    def from_server(self, server: ServerName, message: JsonObject) -> list[Act]:
        """A link said this: it was judged there, and has the form of a message."""
        if "method" not in message:
            self._answered(server, message)
        elif "id" in message:
            self._say(None, self._asked.ask(server, message))
        else:
            self._tells(server, message)
        return self._taken()

    def left(self, server: ServerName, reason: str) -> list[Act]:
        """A link ended, or could not be opened: whoever waits for it is told, and it is opened anew when needed."""
        was_inside = server in self._inside
        self._inside.discard(server)
        self._reopening.discard(server)
        for waiting in [each for each in self._open.values() if server in each.waits]:
            text = f"Bulkhead: {server} is not there: {reason}"
            self._answered(server, replies.error(waiting.request.id, replies.UNAVAILABLE, text))
        for message in self._asked.left(server):
            self._say(None, message)
        for listening in self._listening.values():
            self._acknowledge(listening, server, {})
        if was_inside:
            self._changed()
        return self._taken()

    def _taken(self) -> list[Act]:
        acts, self._acts = self._acts, []
        return acts

    def _say(self, to: ServerName | None, message: JsonObject) -> None:
        self._acts.append(Say(to, message))

    def _reject(self, request: Request, code: int, text: str) -> None:
        self._say(None, replies.error(request.id, code, text))

    def _enter(self, server: ServerName) -> None:
        """Have a link to a server, which has heard of the client what the others have."""
        if server in self._inside:
            return
        self._inside.add(server)
        self._acts.append(Enter(server))
        if self._opening is not None and self._opening.id not in self._open:
            self._reopening.add(server)
            for message in (self._opening.message, self._initialized):
                if message is not None:
                    self._say(server, message)
            if self._level is not None:
                self._say(server, self._level)
        for listening in self._listening.values():
            self._say(server, listening.part(server))

    def _changed(self) -> None:
        """What the client sees of all is not what it was."""
        told = [{"_meta": {SUBSCRIPTION_KEY: id}} for id in self._listening] if self._era == "modern" else [None]
        for params in told if self._opening is not None or self._era == "modern" else ():
            for part in _NEWS:
                self._say(None, replies.notification(f"notifications/{part}/list_changed", params))

    # --- the client's requests ---

    def _request(self, request: Request) -> None:
        if request.id in self._open or request.id in self._listening:
            text = "the client used an id whose request is not answered yet"
            self._say(None, replies.error(None, INVALID_REQUEST, text))
        elif len(self._open) + len(self._listening) >= MAX_OPEN:
            self._reject(request, replies.BUSY, "refused by Bulkhead (bounds): too many requests are open")
        elif request.method == "ping":
            self._say(None, replies.result(request.id, {}))
        elif self._settled(request):
            self._known(request)

    def _settled(self, request: Request) -> bool:
        """Whether it may come now, in its era."""
        era = era_of(request)
        if request.method == "initialize":
            try:
                check_legacy(request)
            except ProtocolError as problem:
                self._reject(request, INVALID_PARAMS, str(problem))
                return False
            if self._opening is not None or self._era == "modern":
                self._reject(request, INVALID_REQUEST, "the client sent initialize a second time")
                return False
            self._opening = request
        elif era == "modern":
            if self._opening is not None:
                self._reject(request, INVALID_REQUEST, "the client began in the legacy era and left it")
                return False
            if request.method != "server/discover":  # a question, not a choice
                self._era = "modern"
        elif self._opening is None:
            self._reject(
                request, INVALID_REQUEST, f"the client sent {replies.quoted(request.method)} before initialize"
            )
            return False
        return True

    def _known(self, request: Request) -> None:
        method = request.method
        if method == "subscriptions/listen":
            self._listen(request)
        elif method == "tasks/list" and request.params.get("cursor") is not None:
            self._go_on(request)
        elif method in _OPENINGS or method in merged.FIELDS or method == "logging/setLevel":
            if method == "logging/setLevel" and request.params.get("level") in LEVELS:
                self._level = {**request.message, "id": "level"}
            self._ask(request, dict.fromkeys(sorted(self._servers()), request.message), is_for_all=True)
        else:
            self._aim(request)

    def _aim(self, request: Request) -> None:
        """A request that only one server can mean."""
        try:
            server, params = self._aims.at(request.method, request.params)
        except Nobody as problem:
            self._reject(request, problem.code, f"Bulkhead: {problem}")
            return
        self._ask(request, {server: {**request.message, "params": params}}, is_for_all=False)

    def _go_on(self, request: Request) -> None:
        """The next page, of those that have one."""
        cursors = merged.cursors_of(request.params["cursor"])
        known = set(self._servers())
        if cursors is None or not cursors or not cursors.keys() <= known:
            self._reject(request, INVALID_PARAMS, "the client sent a cursor it was not given")
            return
        pages = {
            ServerName(server): {**request.message, "params": {**request.params, "cursor": cursor}}
            for server, cursor in cursors.items()
        }
        self._ask(request, pages, is_for_all=True)

    def _ask(self, request: Request, messages: Mapping[ServerName, JsonObject], *, is_for_all: bool) -> None:
        waiting = self._open[request.id] = _Open(request, set(messages), is_for_all)
        for server, message in messages.items():
            self._enter(server)
            self._say(server, message)
        if not messages:
            self._settle(waiting)

    def _listen(self, request: Request) -> None:
        listening = Listening.of(request, self._servers(), self._aims.of)
        if listening is None:
            self._reject(request, INVALID_PARAMS, "the client asked to follow nothing we know")
            return
        for server in sorted(listening.waits):  # before it is kept: whoever enters now would hear of it twice
            self._enter(server)
            self._say(server, listening.part(server))
        self._listening[request.id] = listening
        self._acknowledge(listening, None, {})

    # --- what else the client says ---

    def _notification(self, found: Notification) -> None:
        method = found.method
        if method == "notifications/cancelled":
            self._cancelled(found)
        elif method in ("notifications/progress", "notifications/tasks/status"):
            self._say_if(self._asked.told(found))
        else:
            if method == "notifications/initialized":
                self._initialized = self._initialized or found.message
            for server in sorted(self._inside):
                self._say(server, found.message)

    def _cancelled(self, found: Notification) -> None:
        id = found.params.get("requestId")
        if not is_request_id(id):
            return
        waiting, listening = self._open.pop(id, None), self._listening.pop(id, None)
        told = (waiting.waits if waiting else set()) | (listening.servers if listening else set())
        for server in sorted(told & self._inside):
            self._say(server, found.message)

    def _say_if(self, found: tuple[ServerName, JsonObject] | None) -> None:
        """To whom it belongs, if it is anybody's."""
        if found is not None and found[0] in self._inside:
            self._say(*found)

    # --- what the servers say ---

    def _answered(self, server: ServerName, message: JsonObject) -> None:
        id = message.get("id")
        if server in self._reopening and self._opening is not None and id == self._opening.id:
            self._reopening.discard(server)
            return
        waiting = self._open.get(id) if id is not None else None
        if waiting is not None and server in waiting.waits:
            waiting.waits.discard(server)
            waiting.answers[server] = message
            if not waiting.waits:
                self._settle(waiting)
        elif id in self._listening:
            listening = self._listening[id]
            self._acknowledge(listening, server, {})
            self._part_over(listening, server, message)
        elif id is None:
            self._say(None, message)

    def _settle(self, waiting: _Open) -> None:
        """Everybody has answered."""
        request = waiting.request
        del self._open[request.id]
        if not waiting.is_for_all:
            ((server, message),) = waiting.answers.items()
            self._pass_on(server, message)
            return
        results = {s: m["result"] for s, m in sorted(waiting.answers.items()) if "result" in m}
        for server, result in results.items():
            self._aims.learn(server, request.method, result)
        if waiting.answers and not results:  # nobody can: what the first of them says is as good as any
            if request is self._opening:
                self._opening = None
            self._say(None, min(waiting.answers.items())[1])
        elif request.method in _OPENINGS:
            self._say(None, replies.result(request.id, merged.opening(request, results)))
        elif request.method == "logging/setLevel":
            self._say(None, replies.result(request.id, {}))
        else:
            self._say(None, replies.result(request.id, merged.listed(self._era, request.method, results)))

    def _pass_on(self, server: ServerName, message: JsonObject) -> None:
        result = message.get("result")
        if isinstance(result, dict):
            self._aims.owners.give(server, [*resources_in(result), *tasks_in(result)])
            put = merged.with_inputs(result, lambda method, params: merged.spoken(server, method, params))
            message = {**message, "result": put}
        self._say(None, message)

    def _tells(self, server: ServerName, message: JsonObject) -> None:
        method, params = message["method"], message.get("params", {})
        if method == "notifications/cancelled":
            self._withdrawn(server, message)
            return
        tag = meta_of(params).get(SUBSCRIPTION_KEY)
        listening = self._listening.get(tag) if is_request_id(tag) else None
        if method == "notifications/subscriptions/acknowledged":
            if listening is not None:
                self._acknowledge(listening, server, params.get("notifications", {}))
        elif listening is not None and listening.waits:
            listening.hold(message)
        else:
            self._say(None, message)

    def _withdrawn(self, server: ServerName, message: JsonObject) -> None:
        id = message.get("params", {}).get("requestId")
        listening = self._listening.get(id) if is_request_id(id) else None
        if listening is not None:
            self._part_over(listening, server, message)
        elif (told := self._asked.withdrawn(server, message)) is not None:
            self._say(None, told)

    def _acknowledge(self, listening: Listening, server: ServerName | None, honoured: JsonObject) -> None:
        """The first word on a subscription is which part of it is honoured, by all of them."""
        for message in listening.heard(server, honoured):
            self._say(None, message)

    def _part_over(self, listening: Listening, server: ServerName, message: JsonObject) -> None:
        listening.servers.discard(server)
        if not listening.servers:
            del self._listening[listening.id]
            self._say(None, message)
