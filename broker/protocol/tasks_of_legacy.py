"""Tasks of a legacy server, as a modern client handles them.

The modern era has a server decide what becomes a task, so a call becomes one where the tool can be called in no other
way.  A task brings its result and its questions with it: both are fetched from the server when the client looks.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from broker.model import JsonObject
from broker.protocol import replies
from broker.protocol.carried import Carriage, Carried
from broker.protocol.catalog import View
from broker.protocol.crossing import Way, are_results, entries, message_of
from broker.protocol.envelope import Request
from broker.protocol.eras import lacks
from broker.protocol.replies import INVALID_PARAMS, METHOD_NOT_FOUND, RequestId
from broker.protocol.tasks import legacy_offers, modern_declares, modern_task, related_to, unrelated
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, TASKS

MAX_TASKS: Final = 64  # whose questions and results are kept apart; as many as calls that may wait for input
MISSING_CAPABILITY: Final = -32021
_NO_MORE: Final = "refused by Bulkhead (eras): nobody looks at this task any more"


@dataclass(slots=True)
class _Task:
    """`wanted` are the server's requests about it, `waiting` the client's looks at it that wait for its result."""

    capabilities: JsonObject = field(default_factory=dict)
    wanted: dict[str, JsonObject] = field(default_factory=dict)
    waiting: list[tuple[Carried, JsonObject]] = field(default_factory=list)
    fetch: str = ""


class LegacyTasks:
    """All tasks of one link."""

    def __init__(self, way: Way, carriage: Carriage, ids: Iterator[str], views: Iterable[View]) -> None:
        self._way = way
        self._carriage = carriage
        self._ids = ids
        seen = [view for view in views if view.era == "legacy" and view.opening is not None]
        self._offered = any(legacy_offers(view.opening["capabilities"]) for view in seen if view.opening is not None)
        self._required = {tool["name"] for view in seen for tool in view.tools if _needs_task(tool)}
        self._tasks: OrderedDict[str, _Task] = OrderedDict()

    # --- from the client ---

    def objection(self, request: Request) -> tuple[int, str, JsonObject | None] | None:
        """Why a request cannot be, as far as it is about tasks: the code, a sentence, and what goes with it."""
        about = request.method.startswith("tasks/")
        if about and not self._offered:
            return METHOD_NOT_FOUND, f"{request.method}: this server speaks the legacy era and has no tasks", None
        if (about or self.makes_one(request)) and not modern_declares(request.meta[CLIENT_CAPABILITIES_KEY]):
            text = f"{request.method} needs a client that declares {TASKS}: this server makes a task of it"
            return MISSING_CAPABILITY, text, {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        if about and not isinstance(request.params.get("taskId"), str):
            return INVALID_PARAMS, f"the client did not say what {request.method} is about", None
        given = request.params.get("inputResponses", {})
        if request.method == "tasks/update" and not are_results(given):
            return INVALID_PARAMS, "the client sent inputResponses that are no results", None
        return None

    def makes_one(self, request: Request) -> bool:
        """Whether this call can only be made as a task."""
        return self._offered and request.method == "tools/call" and request.params.get("name") in self._required

    def update(self, request: Request, size: int) -> None:
        """The client brings what the server asked for about a task; what was answered before is let pass."""
        self._way.answer(request, size, {"resultType": "complete"})
        task = self._tasks.get(request.params["taskId"])
        for key, value in request.params.get("inputResponses", {}).items():
            if task is not None and (asked := task.wanted.pop(key, None)) is not None:
                self._way.tell(replies.result(asked["id"], value))

    # --- from the server ---

    def answer(self, call: Carried, result: JsonObject) -> JsonObject | None:
        """The modern result for a legacy one about a task; None when it has to wait for what the task came to."""
        if call.method == "tools/call":
            made = result.get("task")
            task = modern_task(made) if isinstance(made, dict) else {}
            self._hold(str(task.get("taskId")), call.capabilities)
            return {**{name: value for name, value in result.items() if name != "task"}, **task, "resultType": "task"}
        if call.method == "tasks/cancel":
            self._forget(call.task)
            return {"resultType": "complete"}
        fields = {**modern_task(result), "resultType": "complete"}
        status, held = result.get("status"), self._hold(call.task, call.capabilities)
        if status in ("completed", "failed"):
            held.waiting.append((call, fields))
        if status in ("completed", "failed", "input_required"):  # a server asks on the way of the result
            self._fetch(call.task, held)
        if held.waiting:
            return None
        if status == "input_required":
            return {**fields, **({"inputRequests": entries(held.wanted)} if held.wanted else {"status": "working"})}
        return fields

    def fetched(self, own: str, message: JsonObject) -> list[tuple[Carried, JsonObject]]:
        """What a task came to: the answer to each look that waits for it."""
        name = next((name for name, task in self._tasks.items() if task.fetch == own), None)
        if name is None:
            return []
        task = self._tasks[name]
        task.fetch = ""
        if task.waiting:
            self._forget(name)
        return [(call, _come_to(fields, message)) for call, fields in task.waiting]

    def takes(self, message: JsonObject) -> bool:
        """Keep a request of the server that is about a task until the client looks; false when it is about none."""
        name = related_to(message.get("params", {}))
        task = self._tasks.get(name)
        if task is None:
            return False
        if missing := lacks(task.capabilities, message):
            text = f"refused by Bulkhead (eras): the client of this task did not declare {missing}"
            self._way.tell(replies.error(message["id"], METHOD_NOT_FOUND, text))
        else:
            task.wanted[next(self._ids)] = message
        return True

    def withdrawn(self, identifier: RequestId) -> None:
        """The server does not want an answer any more."""
        for task in self._tasks.values():
            task.wanted = {key: message for key, message in task.wanted.items() if message["id"] != identifier}

    # --- inside ---

    def _hold(self, name: str, capabilities: JsonObject) -> _Task:
        task = self._tasks.setdefault(name, _Task())
        task.capabilities = capabilities
        self._tasks.move_to_end(name)
        idle = [each for each, other in self._tasks.items() if not other.waiting and other is not task]
        if len(self._tasks) > MAX_TASKS and idle:
            self._forget(idle[0])
        return task

    def _fetch(self, name: str, task: _Task) -> None:
        if not task.fetch:
            task.fetch = next(self._ids)
            self._way.tell(message_of(task.fetch, "tasks/result", {"taskId": name}))

    def _forget(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        for message in task.wanted.values() if task is not None else ():
            self._way.tell(replies.error(message["id"], replies.REFUSED, _NO_MORE))


def _come_to(fields: JsonObject, message: JsonObject) -> JsonObject:
    """The answer to a look at a task that has ended, from the answer to the question for its result."""
    if "result" in message:
        return {"result": {**fields, "status": "completed", "result": unrelated(message["result"])}}
    if fields["status"] == "failed":
        return {"result": {**fields, "error": message["error"]}}
    return {"error": message["error"]}


def _needs_task(tool: JsonObject) -> bool:
    execution = tool.get("execution")
    return isinstance(execution, dict) and execution.get("taskSupport") == "required"
