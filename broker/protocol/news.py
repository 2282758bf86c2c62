"""What a server says without being asked: passed on to whoever asked for it, and to nobody else.

Nobody waits for news, so nobody is asked about them: what the policy does not simply allow is left out.
"""

from typing import Final

from broker.errors import ProtocolError
from broker.model import Call, Fact, JsonObject, Verdict
from broker.protocol import replies
from broker.protocol.dispatch import Dispatcher
from broker.protocol.effects import Read
from broker.protocol.envelope import Notification, meta_of
from broker.protocol.frames import is_request_id
from broker.protocol.inputs import inputs_of
from broker.protocol.instance import Instance
from broker.protocol.link import Link
from broker.protocol.methods import Method, method_for
from broker.protocol.requests import Place
from broker.protocol.subscriptions import Listener
from broker.protocol.versions import SUBSCRIPTION_KEY

_LIST_CHANGED: Final = {f"notifications/{part}/list_changed": part for part in ("tools", "prompts", "resources")}


class News:
    """Handles every notification of the server."""

    def __init__(self, link: Link, dispatcher: Dispatcher, instance: Instance) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._instance = instance

    def receive(self, found: Notification, size: int) -> None:
        link, era = self._link, self._link.era or "legacy"
        if found.method == "notifications/resources/updated":
            link.courtesy.forget()
        known = method_for(found.method, "notification", "server", era, extended=link.extended)
        if known is None:
            self._drop(found, size, "no method a server may use here")
        elif (objection := self._objection(found, known)) is not None:
            self._drop(found, size, objection)
        elif found.method in _LIST_CHANGED:
            self._drop(found, size, "what the client is shown is compared first")
            self._instance.list_changed(_LIST_CHANGED[found.method])
        elif found.method == "notifications/cancelled":
            self._cancelled(found, size)
        elif found.method == "notifications/progress" and not link.from_client.expects(
            found.params.get("progressToken")
        ):
            self._drop(found, size, "nobody waits for it")
        elif found.method == "notifications/subscriptions/acknowledged":
            self._drop(found, size, "the client was told when it asked")
        elif not self._instance.open:
            self._drop(found, size, "its handshake is not over")
        else:
            self._tell(found, size)

    def _objection(self, found: Notification, method: Method) -> str | None:
        """Why it does not go on: nobody asked for it, or the policy does not simply allow it.

        What a task wants of its client comes again, and is asked about, when the client looks at the task.
        """
        calls: list[Call] = []
        if method.judged:
            calls = [self._link.names.call("server", found.method, found.method, found.params)]
        elif found.method == "notifications/resources/updated" and not self._followed(found):
            return "nobody follows it"
        elif found.method == "notifications/tasks":
            if not self._task_followed(found):
                return "nobody follows it"
            try:
                calls = inputs_of(self._link.names, found.params)
            except ProtocolError as problem:
                return str(problem)
        for call in calls:
            decision = self._link.judge(call)
            if decision.verdict is not Verdict.ALLOW:
                return f"{decision.rule} does not allow {replies.quoted(call.method)}"
        return None

    def _followed(self, found: Notification) -> bool:
        """Somebody asked for it.  The resource itself may be part of the one that was asked for."""
        if self._link.era == "legacy":
            return bool(self._link.subscriptions.resources)
        listener = self._listener(found)
        return listener is not None and bool(listener.uris)

    def _task_followed(self, found: Notification) -> bool:
        """The tag of the subscription is the revision's, and the extension shows its news without one."""
        task, tagged = found.params.get("taskId"), self._listener(found)
        if SUBSCRIPTION_KEY in meta_of(found.params):
            return tagged is not None and task in tagged.tasks
        return any(task in each.tasks for each in self._link.subscriptions.listeners.values())

    def _listener(self, found: Notification) -> Listener | None:
        identifier = meta_of(found.params).get(SUBSCRIPTION_KEY)
        return self._link.subscriptions.listeners.get(identifier) if is_request_id(identifier) else None

    def _cancelled(self, found: Notification, size: int) -> None:
        """Of its own request in the legacy era, of a subscription in the modern one."""
        link = self._link
        identifier = found.params.get("requestId")
        if not is_request_id(identifier):
            self._drop(found, size, "no such request is open")
            return
        listener = link.subscriptions.listeners.get(identifier)
        request = link.from_client.get(identifier) if listener else link.from_server.get(identifier)
        if request is None or (listener and not self._instance.settled_in):
            self._drop(found, size, "no such request is open")
        elif listener:
            del link.subscriptions.listeners[identifier]
            link.from_client.close(request)
            self._tell(found, size)
        elif request.place is Place.PEER:
            link.from_server.abandon(request)
            self._tell(found, size)
        else:
            link.record(self._fact(found, size, found.params))
            self._dispatcher.withdraw("server", request)

    def _tell(self, found: Notification, size: int) -> None:
        """What it says unasked may be read by the client's model like any answer; a bare number says nothing."""
        wordless = found.method == "notifications/progress" and not found.params.get("message")
        if not wordless and (barred := self._link.sight.bars(found.method, found.method, {})) is not None:
            self._drop(found, size, f"{barred.rule}: {barred.reason}")
            return
        counted = None if wordless else Read(found.method, found.method, found.params)
        self._link.send("client", found.message, self._fact(found, size, found.params), counted)

    def _drop(self, found: Notification, size: int, why: str) -> None:
        self._link.record(self._fact(found, size, {"dropped": why}))

    def _fact(self, found: Notification, size: int, body: JsonObject) -> Fact:
        method = found.method if len(found.method) <= replies.MAX_QUOTED else replies.quoted(found.method)
        return Fact("notification", "server", method, size=size, body=body)
