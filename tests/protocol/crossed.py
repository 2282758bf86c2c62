"""A stage with a bridge in front of the conversation, and a server that speaks only one era."""

from itertools import count
from typing import Any

from broker.model import ClientName, JsonObject, ServerName, SessionId
from broker.protocol.bridge import Bridge
from broker.protocol.catalog import Catalog, View
from broker.protocol.conversation import Conversation
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, VERSION_KEY
from tests.protocol.stage import INITIALIZE, INITIALIZED, LEGACY, MODERN, YES, Stage, call, request, result

NOW = "2026-01-01T00:00:00Z"
EVERYTHING: JsonObject = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
META: JsonObject = {VERSION_KEY: "2026-07-28", CLIENT_CAPABILITIES_KEY: EVERYTHING}


class Crossed(Stage):
    """Its client speaks the era its server does not."""

    def __init__(self, only: View, judge: Any = YES, admitted: bool = True) -> None:
        catalog = Catalog({f"{only.era}/full": only})  # type: ignore[dict-item]
        super().__init__(catalog, judge, admitted, live=only)
        inner = Conversation(ClientName("desk"), ServerName("notes"), SessionId("s1"), catalog, self._judge, admitted)
        numbers = count(1)
        self.conversation: Any = Bridge(
            inner, ServerName("notes"), catalog, lambda: f"state-{next(numbers)}", lambda: NOW
        )

    def up(self) -> "Crossed":
        """Opened, started, compared; what went before is forgotten."""
        if self.live is not None and self.live.era == "modern":
            legacy = {**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": EVERYTHING}}
            self.client(legacy, INITIALIZED, call("warm"))
        else:
            self.client(modern("warm", "tools/call", name="write", arguments={"text": "warm"}))
        self.start(self.live)
        self.server(result(self.to_server[-1]["id"], resultType="complete", content=[]))
        self.effects.clear()
        self.judged.clear()
        return self


def legacy_server(**how: Any) -> Crossed:
    return Crossed(LEGACY, **how)


def modern_server(**how: Any) -> Crossed:
    return Crossed(MODERN, **how)


def modern(id: Any, method: str, meta: JsonObject | None = None, **params: Any) -> JsonObject:
    return request(id, method, _meta={**META, **(meta or {})}, **params)


def write(id: Any = 1, meta: JsonObject | None = None, **params: Any) -> JsonObject:
    return modern(id, "tools/call", meta, name="write", arguments={"text": "x"}, **params)
