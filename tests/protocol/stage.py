"""A stage for conversations: a pinned server called notes, a client called desk, and whatever they say.

The stage performs effects the way a relay does: it keeps what was recorded and sent, in order, and answers the
requests the broker makes of a server from a `View`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from broker.model import Call, ClientName, Decision, Fact, JsonObject, ServerName, SessionId, Side, Verdict
from broker.protocol.catalog import Catalog, View, items
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Ask, Drift, Effect, End, Forward, Launch, Read, Record, Withdraw
from broker.protocol.events import Answered, Event, FromClient, FromServer, Started
from broker.protocol.listing import WIRE
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, OWN_PREFIX, VERSION_KEY

YES = Decision(Verdict.ALLOW, "notes are fine", "you said so")
NO = Decision(Verdict.DENY, "no writing", "writing is not for clients")
MAYBE = Decision(Verdict.ASK, "ask first", "it changes a file")

WRITE: JsonObject = {
    "name": "write",
    "description": "Write a note",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    "vendorField": {"kept": [1, 1.0, None]},
}
READ: JsonObject = {"name": "read", "inputSchema": {"type": "object"}}
SUMMARY: JsonObject = {"name": "summary", "arguments": [{"name": "of"}]}
FILE: JsonObject = {"uri": "file:///notes/one", "name": "one"}
TEMPLATE: JsonObject = {"uriTemplate": "file:///notes/{name}", "name": "note"}
CAPABILITIES: JsonObject = {
    "tools": {},
    "prompts": {},
    "resources": {"subscribe": True},
    "logging": {},
    "completions": {},
}

LEGACY = View(
    "legacy",
    opening={
        "protocolVersion": "2025-11-25",
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": "notes", "version": "1"},
        "instructions": "Keep it short",
        "vendorField": 1,
    },
    tools=(WRITE, READ),
    prompts=(SUMMARY,),
    resources=(FILE,),
    templates=(TEMPLATE,),
)
MODERN = View(
    "modern",
    opening={
        "resultType": "complete",
        "supportedVersions": ["2026-07-28", "2025-11-25", "2031-01-01"],
        "capabilities": {**CAPABILITIES, "tools": {"listChanged": True}},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "notes", "version": "1"}},
        "instructions": "Keep it short",
        "ttlMs": 5,
        "cacheScope": "private",
    },
    tools=(WRITE, READ),
    prompts=(SUMMARY,),
    resources=(FILE,),
    templates=(TEMPLATE,),
)
CATALOG = Catalog({"legacy/full": LEGACY, "modern/full": MODERN})

META: JsonObject = {VERSION_KEY: "2026-07-28", CLIENT_CAPABILITIES_KEY: {"elicitation": {}}}
INITIALIZE: JsonObject = {
    "jsonrpc": "2.0",
    "id": "open",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {}},
        "clientInfo": {"name": "desk", "version": "9"},
        "vendorField": True,
    },
}
INITIALIZED: JsonObject = {"jsonrpc": "2.0", "method": "notifications/initialized", "vendorField": 2}


def request(id: Any, method: str, **params: Any) -> JsonObject:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def modern(id: Any, method: str, **params: Any) -> JsonObject:
    return request(id, method, _meta=META, **params)


def call(id: Any = 1, tool: str = "write", **arguments: Any) -> JsonObject:
    return request(id, "tools/call", name=tool, arguments=arguments or {"text": "hello"})


def notice(method: str, **params: Any) -> JsonObject:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result(id: Any, **body: Any) -> JsonObject:
    return {"jsonrpc": "2.0", "id": id, "result": body}


def error(id: Any, code: int = -32000, message: str = "no") -> JsonObject:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def text(id: Any, words: str) -> JsonObject:
    return result(id, content=[{"type": "text", "text": words}])


class Stage:
    """One conversation, everything it did, and helpers that read like stage directions."""

    def __init__(
        self,
        catalog: Catalog = CATALOG,
        judge: Callable[[Call], Decision] | Decision = YES,
        admitted: bool = True,
        live: View | None = None,
    ) -> None:
        self.judged: list[Call] = []
        self.decide = judge
        self.live = live
        self.effects: list[Effect] = []
        self.conversation = Conversation(
            ClientName("desk"), ServerName("notes"), SessionId("s1"), catalog, self._judge, admitted
        )

    def _judge(self, asked: Call) -> Decision:
        self.judged.append(asked)
        return self.decide if isinstance(self.decide, Decision) else self.decide(asked)

    def feed(self, event: Event) -> list[Effect]:
        effects = self.conversation.receive(event)
        self.effects.extend(effects)
        return effects

    def client(self, *messages: JsonObject) -> list[Effect]:
        return [effect for message in messages for effect in self.feed(FromClient(message))]

    def server(self, *messages: JsonObject) -> list[Effect]:
        return [effect for message in messages for effect in self.feed(FromServer(message))]

    def answer(self, question: int, decision: Decision = YES) -> list[Effect]:
        return self.feed(Answered(question, decision))

    def opened(self) -> "Stage":
        """The client has shaken hands, in the legacy era."""
        self.client(INITIALIZE, INITIALIZED)
        return self

    def opened_modern(self) -> "Stage":
        self.client(modern("open", "server/discover"), modern("first", "tools/list"))
        return self

    def start(self, live: View | None = None) -> list[Effect]:
        """The server comes up and shows `live`; by default exactly what was pinned."""
        pinned = LEGACY if self.conversation.era == "legacy" else MODERN
        self.live = live or self.live or pinned
        return self.settle(self.feed(Started()))

    def settle(self, effects: list[Effect]) -> list[Effect]:
        """Answer the broker's own requests until it has no more."""
        seen = list(effects)
        for effect in effects:
            if isinstance(effect, Forward) and effect.to == "server":
                answer = self.from_view(effect.message)
                if answer is not None:
                    seen += self.settle(self.server(answer))
        return seen

    def from_view(self, message: JsonObject) -> JsonObject | None:
        """The answer a server with the view `live` gives to a request of the broker's own."""
        assert self.live is not None
        if not str(message.get("id", "")).startswith(OWN_PREFIX):
            return None
        if message["method"] in ("initialize", "server/discover"):
            head = {"result": self.live.opening} if self.live.opening is not None else {"error": self.live.refusal}
            return {"jsonrpc": "2.0", "id": message["id"], **head}
        for name, (_, method, field) in WIRE.items():
            if method == message["method"]:
                return result(message["id"], **{field: list(items(self.live, name))})
        return None if message["method"] == "subscriptions/listen" else result(message["id"])

    def running(self) -> "Stage":
        """Opened, started, compared; nothing is on its way.  What went before is forgotten."""
        self.opened()
        self.client(request("warm", "tasks/list"))
        self.start()
        self.server(result("warm", tasks=[]))
        self.effects.clear()
        self.judged.clear()
        return self

    def running_modern(self) -> "Stage":
        self.opened_modern()
        self.client(modern("warm", "tasks/cancel", taskId="t"))
        self.start()
        self.server(result("warm", resultType="complete"))
        self.effects.clear()
        self.judged.clear()
        return self

    @property
    def records(self) -> list[Fact]:
        return [effect.fact for effect in self.effects if isinstance(effect, Record)]

    @property
    def to_client(self) -> list[JsonObject]:
        return sent(self.effects, "client")

    @property
    def to_server(self) -> list[JsonObject]:
        return sent(self.effects, "server")


def sent(effects: list[Effect], to: Side) -> list[JsonObject]:
    return [effect.message for effect in effects if isinstance(effect, Forward) and effect.to == to]


def shape(effects: list[Effect]) -> list[str]:
    """The effects as words, so that an order can be read: `record decision`, `to server`, `read`, ..."""
    words = []
    for effect in effects:
        match effect:
            case Record(fact):
                words.append(f"record {fact.kind}")
            case Forward(to, _):
                words.append(f"to {to}")
            case Ask() | Withdraw() | Launch() | Read() | Drift() | End():
                words.append(type(effect).__name__.lower())
    return words


def questions(effects: list[Effect]) -> list[int]:
    return [effect.question for effect in effects if isinstance(effect, Ask)]


def changed(view: View, **parts: Any) -> View:
    return replace(view, **parts)


def refusal_of(message: JsonObject) -> str:
    """The words of a refused tool call, which must be a tool error."""
    body = message["result"]
    assert body["isError"] is True
    assert len(body["content"]) == 1
    words: str = body["content"][0]["text"]
    return words
