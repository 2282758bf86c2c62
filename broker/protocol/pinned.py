"""What is answered without a server: openings, lists, log levels, subscriptions.

Answered from what was agreed to and from what this link holds; a client that is not admitted gets the same forms,
empty.
"""

from typing import Final

from broker.model import Fact, JsonObject, Verdict
from broker.protocol import replies
from broker.protocol.catalog import View, items
from broker.protocol.dispatch import Dispatcher
from broker.protocol.effects import Read
from broker.protocol.envelope import Request
from broker.protocol.instance import Instance
from broker.protocol.lifecycle import Admission, Phase
from broker.protocol.link import Link
from broker.protocol.listing import WIRE
from broker.protocol.opening import list_result, opening_result
from broker.protocol.replies import INVALID_PARAMS, METHOD_NOT_FOUND
from broker.protocol.requests import OpenRequest, Place
from broker.protocol.subscriptions import TASK_IDS, URIS, Listener, filter_of
from broker.protocol.versions import TASKS

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
USES: Final = {
    "tools": ("tools/call", "name"),
    "prompts": ("prompts/get", "name"),
    "resources": ("resources/read", "uri"),
    "templates": ("resources/read", "uriTemplate"),
}
"""The method that uses an item of each list, and the field that names it."""
LISTS: Final = {method: (name, field) for name, (_, method, field) in WIRE.items()}


class Pinned:
    """Answers a client from the agreed catalog."""

    def __init__(self, link: Link, dispatcher: Dispatcher, instance: Instance) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._instance = instance

    def open(self, request: Request, view: View, size: int) -> None:
        link = self._link
        link.heard("client", request, request.method, size, "handshake")
        body = opening_result(view, request, admitted=link.admission is Admission.ADMITTED)
        link.reply(request, replies.result(request.id, body), body={"pinned": request.method})

    def whole_list(self, request: Request, size: int) -> None:
        link = self._link
        assert link.shown is not None
        if request.params.get("cursor") is not None:
            self._link.reject(request, size, INVALID_PARAMS, "the client sent a cursor, and lists here are one page")
            return
        name, field = LISTS[request.method]
        use, key = USES[name]
        shown = items(link.shown, name) if link.admission is Admission.ADMITTED else ()
        found = tuple(item for item in shown if link.sight.offers(use, item[key]))
        link.heard("client", request, request.method, size)
        body = list_result(link.shown, field, found)
        kept: JsonObject = {"pinned": field, "count": len(found)}
        fact = Fact("result", "broker", request.method, request.method, request.id, body=kept)
        # A list of resources follows the user's data, so it counts as read; definitions were agreed to.
        counted = Read(request.method, request.method, body) if name == "resources" and found else None
        if counted is not None and (barred := link.sight.bars(request.method, request.method, {})) is not None:
            link.record(Fact("decision", "broker", request.method, request.method, request.id, barred))
            assert link.era is not None
            text = replies.denied(barred, "begin a new session")
            link.reply(request, replies.refusal(link.era, request.method, request.id, text))
            return
        link.send("client", replies.result(request.id, body), fact, counted)
        if link.phase is Phase.READY and link.courtesy.is_old(name):
            self._instance.read_again(WIRE[name][0])  # it does not wait for that: what changed is told

    def set_level(self, request: Request, size: int) -> None:
        link = self._link
        assert link.agreed is not None and link.agreed.opening is not None
        if request.params.get("level") not in LEVELS:
            self._link.reject(request, size, INVALID_PARAMS, "the client asked for a log level nobody knows")
        elif "logging" not in link.agreed.opening["capabilities"]:
            self._link.reject(request, size, METHOD_NOT_FOUND, f"{link.names.server} keeps no log for clients")
        else:
            link.subscriptions.level = {"level": request.params["level"]}
            link.heard("client", request, request.method, size)
            if self._instance.settled_in:
                self._instance.post(request.method, link.subscriptions.level)
            link.reply(request, replies.result(request.id, {}))

    def listen(self, request: Request, size: int) -> None:
        link = self._link
        wanted = filter_of(request.params)
        if wanted is None or not link.subscriptions.room_for(len(wanted.uris) + len(wanted.tasks)):
            self._link.reject(request, size, INVALID_PARAMS, "the client asked to follow nothing we know, or too much")
            return
        link.heard("client", request, request.method, size)
        lists, uris = self._offered(wanted.lists), self._followable(wanted.uris)
        listener = Listener(request.id, lists, uris, wanted.tasks if self._has_tasks else (), request.message)
        link.subscriptions.listeners[request.id] = listener
        waiting = OpenRequest(request.id, request.method, request.method, {}, 0, place=Place.LISTENING)
        link.from_client.add(waiting)
        body: JsonObject = {"lists": sorted(listener.lists), URIS: len(listener.uris)}
        body |= {TASK_IDS: len(listener.tasks)} if listener.tasks else {}
        fact = Fact("notification", "broker", "notifications/subscriptions/acknowledged", request=request.id, body=body)
        link.send("client", listener.acknowledgement, fact)
        if listener.upstream is not None and self._instance.settled_in:
            told = Fact("request", "broker", request.method, request=request.id)
            link.send("server", listener.upstream, told)
        elif listener.upstream is not None and link.phase is Phase.ABSENT:
            self._dispatcher.launch()  # nobody else can tell when a resource changes

    @property
    def _has_tasks(self) -> bool:
        """A task belongs to a call that was judged; to follow it grants nothing more."""
        agreed = self._link.agreed
        assert agreed is not None and agreed.opening is not None
        offered = agreed.opening["capabilities"].get("extensions")
        return self._link.admission is Admission.ADMITTED and isinstance(offered, dict) and TASKS in offered

    def _offered(self, lists: frozenset[str]) -> frozenset[str]:
        agreed = self._link.agreed
        assert agreed is not None and agreed.opening is not None
        capabilities = agreed.opening["capabilities"]
        return frozenset(name for name in lists if isinstance(capabilities.get(name), dict))

    def _followable(self, uris: tuple[str, ...]) -> tuple[str, ...]:
        """Those the policy lets the client follow.  The acknowledgement names the rest by leaving them out."""
        link = self._link
        if link.admission is not Admission.ADMITTED:
            return ()
        allowed = []
        for uri in uris:
            call = link.names.call("client", "resources/subscribe", uri, {"uri": uri})
            decision = link.judge(call)
            fact = Fact("decision", "client", call.method, uri, decision=decision, digest=call.digest)
            link.record(fact)
            if decision.verdict is Verdict.ALLOW:
                allowed.append(uri)
        return tuple(allowed)
