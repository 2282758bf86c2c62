"""One run of the server, from `Started` to its end: the client's handshake replayed, its catalog compared, drift held.

Nothing a client asked for reaches an instance before its live catalog was compared with what was agreed to.
"""

from dataclasses import replace
from typing import Final

from broker.errors import ProtocolError
from broker.model import Fact, JsonObject, Verdict
from broker.protocol.catalog import (
    LISTS,
    Catalog,
    Change,
    ListName,
    View,
    canonical,
    diff,
    endorsed,
    held,
    items,
    settled,
)
from broker.protocol.dispatch import Dispatcher
from broker.protocol.effects import Drift
from broker.protocol.envelope import Response
from broker.protocol.interview import Interview
from broker.protocol.lifecycle import Phase
from broker.protocol.link import Link
from broker.protocol.replies import notification
from broker.protocol.requests import Place
from broker.protocol.subscriptions import CHANGES
from broker.protocol.versions import negotiated

MAX_RELISTS: Final = 8  # in a row, without one moment in which the lists stood still
_NOTHING: Final = "[]"  # held

_PARTS: Final[dict[str, tuple[ListName, ...]]] = {
    "tools": ("tools",),
    "prompts": ("prompts",),
    "resources": ("resources", "templates"),
}
"""What a `list_changed` is about, as the lists of a view."""


class Instance:
    """Drives the server's instance of a link; a new one each time it is started."""

    def __init__(self, link: Link, dispatcher: Dispatcher) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._interview: Interview | None = None
        self._replayed = False
        self._dirty: set[str] = set()
        self._relists = 0
        self._reported = _NOTHING
        self._shown_drift: View | None = None

    @property
    def settled_in(self) -> bool:
        """It was told everything its client wants: what comes now goes to it directly."""
        return self._replayed and self.open

    @property
    def open(self) -> bool:
        """Its handshake is over, so that it may be told things."""
        return self._link.phase in (Phase.COMPARING, Phase.READY)

    def started(self) -> None:
        link = self._link
        assert link.opening is not None and link.era is not None
        link.move(Phase.OPENING)
        self._replayed, self._relists = False, 0
        self._dirty.clear()
        if link.era == "legacy":
            self._interview = Interview("legacy", link.opening.params, {}, link.initialized)
        else:
            meta = {name: value for name, value in link.opening.meta.items() if name != "progressToken"}
            self._interview = Interview("modern", {"_meta": meta}, meta)
        self._tell(self._interview.start())

    def receive(self, response: Response, size: int) -> None:
        """An answer to a request of ours."""
        link = self._link
        if self._interview is None or link.phase in (Phase.ABSENT, Phase.LAUNCHING):
            link.fault("server", "answered a request nobody made", size=size)
            return
        link.record(Fact("handshake", "server", request=response.id, size=size))
        try:
            following = self._interview.receive(response)
        except ProtocolError as problem:
            link.fault("server", str(problem), size=size)
            if link.phase is not Phase.READY:  # without its catalog there is nothing to hold it to
                link.end(str(problem), "server")
            return
        self._tell(following)
        if link.phase is Phase.OPENING and self._interview.opened:
            link.move(Phase.COMPARING)
        if link.phase is Phase.COMPARING and self._interview.view is not None:
            self._compare(self._interview.view)

    def list_changed(self, part: str) -> None:
        """It says a list is another: ask for it again, and let calls wait until it was compared."""
        self._link.courtesy.forget()
        self.read_again(part)

    def read_again(self, part: str) -> None:
        """Read a list once more, as soon as it is nobody else's turn."""
        self._dirty.add(part)
        if self._link.phase is Phase.READY:
            self._relist()

    def accepted(self, catalog: Catalog | None) -> None:
        """A person agreed to `catalog`.  What it shows by now may be something else again."""
        link = self._link
        agreed = self._shown_drift if catalog is None else catalog.views.get(link.key)
        if agreed is None or agreed.opening is None or link.shown is None:
            return
        link.agreed = link.sibling = agreed
        link.wrong_version = False
        self._endorse(link.live or agreed)

    def gone(self, reason: str) -> None:
        """It ended, or could not be started: whoever waits for it is told."""
        link = self._link
        if link.phase is Phase.ABSENT:
            return
        started = link.phase is not Phase.LAUNCHING
        link.move(Phase.ABSENT)
        self._interview = None
        link.record(Fact("exit", "server", body={"reason": reason}, durable=True))
        text = f"{link.names.server} {'ended' if started else 'could not be started'}: {reason}"
        self._dispatcher.failed(text)
        for request in link.from_server.at(Place.QUESTION):
            self._dispatcher.withdraw("server", request)
        for request in link.from_server.at(Place.PEER):
            link.from_server.abandon(request)
            cancelled = notification("notifications/cancelled", {"requestId": request.id, "reason": "the server ended"})
            link.send(
                "client", cancelled, Fact("notification", "broker", "notifications/cancelled", request=request.id)
            )

    def post(self, method: str, params: JsonObject) -> None:
        """Make a request of our own whose answer does not matter."""
        assert self._interview is not None
        self._tell([self._interview.post(method, params)])

    def _compare(self, live: View) -> None:
        link = self._link
        assert link.agreed is not None and link.opening is not None
        if live.opening is None:
            link.end("it refused the client's handshake, which it answered when it was pinned", "server")
            return
        agreed = link.agreed.opening or {}
        if link.era == "legacy" and not self._replayed:
            told = negotiated(link.opening.params.get("protocolVersion"), agreed["protocolVersion"])
            link.wrong_version = live.opening["protocolVersion"] != told
        link.live = live
        assert self._interview is not None
        link.courtesy.listed(self._interview.take_lifetimes())
        self._endorse(live)
        if self._dirty:
            link.move(Phase.READY)
            self._relist()
        else:
            self._settle_in()

    def _endorse(self, live: View) -> None:
        """Compare, hold what is new or changed, and tell the client if it is shown something else now."""
        link = self._link
        assert link.agreed is not None and link.sibling is not None and link.shown is not None
        agreed = settled(link.agreed, link.sibling, live)
        changes = diff(agreed, live)
        holding = held(changes)
        if link.wrong_version:
            holding += (Change("changed", "identity", "", ("protocolVersion",)),)
        link.held = {(change.what, change.name): change for change in holding}
        before = link.shown
        link.shown = replace(endorsed(agreed, changes), resources=live.resources)
        held_now = _held_text(holding, live)
        if held_now != self._reported:
            self._reported = held_now
            if holding:
                body: JsonObject = {"changes": [[change.kind, change.what, change.name] for change in holding]}
                link.record(Fact("drift", "server", body=body, durable=True))
                link.effects.append(Drift(holding, Catalog({link.key: live})))
                self._shown_drift = live
        self.announce([part for part, names in _PARTS.items() if _differ(before, link.shown, names)])

    def announce(self, parts: list[str]) -> None:
        """Tell the client that these lists are not what they were."""
        link = self._link
        if parts:
            link.courtesy.forget()
        for message in link.subscriptions.changes(parts, modern=link.era == "modern"):
            link.send("client", message, Fact("notification", "broker", message["method"]))

    def _relist(self) -> None:
        link = self._link
        assert self._interview is not None
        self._relists += 1
        if self._relists > MAX_RELISTS:
            link.end("its lists changed again each time they were read", "server")
            return
        names = [name for part in sorted(self._dirty) for name in _PARTS[part]]
        self._dirty.clear()
        messages = self._interview.relist(names)
        if not messages:
            self._settle_in()
            return
        link.move(Phase.COMPARING)
        self._tell(messages)

    def _settle_in(self) -> None:
        """The catalog is known: replay what the client had set up, then let its calls through."""
        link = self._link
        self._relists = 0
        if link.phase is not Phase.READY:
            link.move(Phase.READY)
        if not self._replayed:
            self._replayed = True
            self._replay()
        self._dispatcher.ready()

    def _replay(self) -> None:
        link = self._link
        wants = link.subscriptions
        if link.era == "modern":
            self._follow_lists()
        elif wants.level is not None:
            self.post("logging/setLevel", wants.level)
        for uri, call in list(wants.resources.items()):
            if link.judge(call).verdict is Verdict.ALLOW:
                self.post("resources/subscribe", {"uri": uri})
        for listener in wants.listeners.values():
            if listener.upstream is not None:
                fact = Fact("request", "broker", "subscriptions/listen", request=listener.id)
                link.send("server", listener.upstream, fact)

    def _follow_lists(self) -> None:
        """A modern server tells of changes only who asks."""
        assert self._link.live is not None and self._link.live.opening is not None
        capabilities = self._link.live.opening["capabilities"]
        wanted = {
            field: True
            for part, field in CHANGES.items()
            if isinstance(capabilities.get(part), dict) and capabilities[part].get("listChanged") is True
        }
        if wanted:
            self.post("subscriptions/listen", {"notifications": wanted})

    def _tell(self, messages: list[JsonObject]) -> None:
        for message in messages:
            fact = Fact("handshake", "broker", message["method"], request=message.get("id"))
            self._link.send("server", message, fact)


def _held_text(holding: tuple[Change, ...], live: View) -> str:
    """What is held, byte for byte: the same names with other definitions are news again."""
    shown: dict[tuple[str, str], JsonObject | None] = {
        (what, item[key]): item for name, (what, key) in LISTS.items() for item in items(live, name)
    }
    return canonical([[change.kind, shown.get((change.what, change.name), live.opening)] for change in holding])


def _differ(before: View, after: View, names: tuple[ListName, ...]) -> bool:
    return any(items(before, name) != items(after, name) for name in names)
