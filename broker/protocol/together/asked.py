"""What servers ask of a client that sees them as one: under ids of ours, because two of them may use the same."""

from dataclasses import dataclass
from itertools import count

from broker.model import JsonObject, ServerName
from broker.protocol.envelope import Notification, Response, meta_of
from broker.protocol.frames import is_request_id
from broker.protocol.replies import RequestId, notification
from broker.protocol.together import merged
from broker.protocol.together.owners import Owners, tasks_in


@dataclass(frozen=True, slots=True)
class _Request:
    """One request of a server; its id and progress token are the server's own."""

    server: ServerName
    id: RequestId
    token: object


class Asked:
    """Every request of a server that the client has not answered.  Each link bounds how many there are."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._open: dict[RequestId, _Request] = {}
        self._tasks = Owners()

    def ask(self, server: ServerName, message: JsonObject) -> JsonObject:
        """The request as the client gets it."""
        id, params = next(self._ids), message.get("params", {})
        token = meta_of(params).get("progressToken")
        self._open[id] = _Request(server, message["id"], token)
        put = merged.spoken(server, message["method"], params)
        if token is not None:
            put = {**put, "_meta": {**put["_meta"], "progressToken": id}}
        return {**message, "id": id, **({"params": put} if "params" in message else {})}

    def answered(self, response: Response) -> tuple[ServerName, JsonObject] | None:
        """Whose answer this is, in the words of who asked; None if it was withdrawn meanwhile, or nobody asked."""
        asked = self._open.pop(response.id, None) if response.id is not None else None
        if asked is None:
            return None
        self._tasks.give(asked.server, tasks_in(response.result or {}))
        return asked.server, {**response.message, "id": asked.id}

    def told(self, found: Notification) -> tuple[ServerName, JsonObject] | None:
        """Who is to hear of progress the client makes, or of a task it has taken on."""
        if found.method == "notifications/tasks/status":
            owners = self._tasks.given(str(found.params.get("taskId")))
            return (owners.pop(), found.message) if len(owners) == 1 else None
        token = found.params.get("progressToken")
        asked = self._open.get(token) if is_request_id(token) else None
        if asked is None:
            return None
        return asked.server, {**found.message, "params": {**found.params, "progressToken": asked.token}}

    def withdrawn(self, server: ServerName, message: JsonObject) -> JsonObject | None:
        """A server wants no answer any more: what the client is told."""
        id = message.get("params", {}).get("requestId")
        for ours, asked in self._open.items():
            if asked.server == server and type(asked.id) is type(id) and asked.id == id:
                del self._open[ours]
                return {**message, "params": {**message["params"], "requestId": ours}}
        return None

    def left(self, server: ServerName) -> list[JsonObject]:
        """Its link ended: nobody waits for these answers."""
        gone = [id for id, asked in self._open.items() if asked.server == server]
        for id in gone:
            del self._open[id]
        return [notification("notifications/cancelled", {"requestId": id}) for id in gone]
