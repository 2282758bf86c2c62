"""Tasks of a modern server, as a legacy client handles them.

The legacy era has a client decide what becomes a task and then wait for its result; the modern one lets the server
decide, and has its clients look again and again.  So a call that was finished at once is a task that has ended, and
whoever waits for a result is waited for here: the server is looked at in the pace it asks for.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from broker.model import JsonObject, ServerName
from broker.protocol import replies
from broker.protocol.crossing import message_of
from broker.protocol.envelope import Request
from broker.protocol.eras import legacy_result
from broker.protocol.passage import Passage
from broker.protocol.replies import INVALID_PARAMS, METHOD_NOT_FOUND, RequestId
from broker.protocol.tasks import OFFERED, legacy_task, related

MAX_FINISHED: Final = 16  # results that were there at once and wait to be asked for
MAX_PAUSE: Final = 60  # ticks between two looks at a task, whatever the server asks for
_TICK: Final = 1000  # milliseconds between two ticks, about
_OTHERS: Final = ("requestState", "inputResponses")


class ModernTasks:
    """All tasks of one link.  `token` makes an unguessable name, `clock` says the time as a task does."""

    def __init__(self, server: ServerName, token: Callable[[], str], clock: Callable[[], str]) -> None:
        self._server = server
        self._token = token
        self._clock = clock
        self._finished: OrderedDict[str, tuple[JsonObject, JsonObject]] = OrderedDict()
        self._resting: dict[RequestId, Passage] = {}

    @property
    def resting(self) -> bool:
        """Whether a client waits for a task that the server is looked at for."""
        return bool(self._resting)

    def objection(self, request: Request, offers: JsonObject) -> tuple[int, str] | None:
        """Why a request cannot be, as far as it is about tasks: the code and a sentence."""
        method, params = request.method, request.params
        if word := next((word for word in _OTHERS if word in params), ""):
            return INVALID_PARAMS, f"the client sent {word}, which has no meaning between its era and the server's"
        has_tasks = offers.get("tasks") == OFFERED
        if "task" in params and (method != "tools/call" or not has_tasks or not isinstance(params["task"], dict)):
            return INVALID_PARAMS, f"the client wants a task of what {self._server} makes none of"
        if method == "tasks/list":
            return METHOD_NOT_FOUND, "tasks/list: this server speaks the modern era, which has no list of tasks"
        if not method.startswith("tasks/"):
            return None
        if not has_tasks:
            return METHOD_NOT_FOUND, f"{method}: {self._server} has no tasks"
        if not isinstance(params.get("taskId"), str):
            return INVALID_PARAMS, f"the client did not say what {method} is about"
        if method == "tasks/cancel" and params["taskId"] in self._finished:
            return INVALID_PARAMS, "tasks/cancel: this task has ended"
        return None

    def known(self, request: Request) -> JsonObject | None:
        """The answer about a task that was finished at once."""
        found = self._finished.get(str(request.params.get("taskId")))
        if found is None or not request.method.startswith("tasks/"):
            return None
        task, result = found
        return task if request.method == "tasks/get" else related(result, task["taskId"])

    def passage(self, request: Request) -> Passage:
        """A request of the client as the server can be asked it first."""
        params = {name: value for name, value in request.params.items() if name != "task"}
        about = request.method.startswith("tasks/")
        message = {**request.message, **({"params": params} if params else {})}
        if request.method == "tasks/result":
            message["method"] = "tasks/get"
        return Passage(request.id, request.id, request.method, message, about or "task" in request.params)

    def made(self, result: JsonObject) -> JsonObject:
        """The answer to a call that the client wanted a task of."""
        if result.get("resultType") == "task":
            task = legacy_task(result)
            meta = {"_meta": task.pop("_meta")} if "_meta" in task else {}
            return {"task": {"ttl": None, **task}, **meta}
        kept, now = legacy_result("tools/call", result), self._clock()
        status = "failed" if kept.get("isError") is True else "completed"
        task = {"taskId": self._token(), "status": status, "createdAt": now, "lastUpdatedAt": now, "ttl": None}
        self._finished[task["taskId"]] = task, kept
        if len(self._finished) > MAX_FINISHED:
            self._finished.popitem(last=False)
        return {"task": task}

    def looked(self, passage: Passage, result: JsonObject) -> JsonObject | None:
        """The end of an answer to the client, once a look at a task gives one; else None, and it rests or asks."""
        if passage.method != "tasks/result":
            return {"result": {"ttl": None, **legacy_task(result)}}
        match result.get("status"):
            case "completed":
                outcome = result.get("result")
                found = legacy_result("tools/call", outcome if isinstance(outcome, dict) else {})
                return {"result": related(found, passage.message["params"]["taskId"])}
            case "failed" if isinstance(result.get("error"), dict):
                return {"error": result["error"]}
            case "cancelled" | "failed":
                text = f"refused by Bulkhead (eras): this task was {result['status']}, so that it has no result"
                return {"error": {"code": replies.UNAVAILABLE, "message": text}}
        return None

    def wanted(self, passage: Passage, result: JsonObject) -> JsonObject:
        """What a task asks of its client and was not asked before on this passage."""
        asked: JsonObject = result.get("inputRequests", {}) if result.get("status") == "input_required" else {}
        return {key: entry for key, entry in asked.items() if key not in passage.told}

    def rest(self, passage: Passage, result: JsonObject) -> None:
        """Look at the task again after a while."""
        wish = result.get("pollIntervalMs")
        pause = wish // _TICK if isinstance(wish, int) else 1
        passage.pause = max(1, min(pause, MAX_PAUSE))
        self._resting[passage.outer] = passage

    def give_up(self, outer: RequestId) -> Passage | None:
        """Its client does not wait any more."""
        return self._resting.pop(outer, None)

    def tick(self) -> list[Passage]:
        """The passages that have rested enough: the server is looked at again."""
        for passage in self._resting.values():
            passage.pause -= 1
        due = [passage for passage in self._resting.values() if passage.pause <= 0]
        for passage in due:
            del self._resting[passage.outer]
            about = {"taskId": passage.message["params"]["taskId"]}
            passage.message = message_of(passage.outer, "tasks/get", about)
        return due

    def answers(self, passage: Passage) -> JsonObject:
        """What the client said about a task, as the server is told it."""
        passage.told |= passage.given.keys()
        about = {"taskId": passage.message["params"]["taskId"], "inputResponses": passage.given}
        return message_of(passage.outer, "tasks/update", about)
