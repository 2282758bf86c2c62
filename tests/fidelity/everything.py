"""A server with every feature of the protocol, in one era: a function of what it hears, always of the same words."""

from typing import Any, Final

from broker.model import Era
from broker.protocol.catalog import Catalog, View

Json = dict[str, Any]

PREFIX: Final = "io.modelcontextprotocol/"
IDENTITY: Final[Json] = {"name": "everything", "version": "1", "title": "Everything", "vendor": {"x": None}}
ANY: Final[Json] = {"type": "object"}
OFFERS: Final[dict[Era, Json]] = {
    "legacy": {
        "tools": {"listChanged": True}, "prompts": {"listChanged": True}, "logging": {}, "completions": {},
        "resources": {"listChanged": True, "subscribe": True}, "experimental": {"vendor/thing": {"a": [1, 1.5, None]}},
        "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
    },
    "modern": {
        "tools": {"listChanged": True}, "prompts": {"listChanged": True}, "logging": {}, "completions": {},
        "resources": {"listChanged": True, "subscribe": True}, "experimental": {"vendor/thing": {"a": [1, 1.5, None]}},
        "extensions": {PREFIX + "tasks": {}, PREFIX + "ui": {"mimeTypes": ["text/html;profile=mcp-app"]}},
    },
}  # fmt: skip
ICONS: Final = [{"src": "data:image/png;base64,AA==", "mimeType": "image/png", "sizes": ["48x48"]}]
CONTENTS: Final[dict[str, Json]] = {
    "text": {"type": "text", "text": "grüße \u2028\U0001f6a2", "annotations": {"audience": ["user"], "priority": 0.5}},
    "image": {"type": "image", "data": "AA==", "mimeType": "image/png", "_meta": {"v": 1}},
    "audio": {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
    "link": {"type": "resource_link", "uri": "every://1", "name": "one", "size": 3, "icons": ICONS, "title": "One"},
    "embedded": {"type": "resource", "resource": {"uri": "every://1", "mimeType": "text/plain", "text": "one"}},
    "blob": {"type": "resource", "resource": {"uri": "every://2", "blob": "AA==", "vendor": [[]]}},
    "unknown": {"type": "hologram", "vendor": {"deep": [{"er": 9007199254740993}]}},
}
FIELDS: Final[dict[str, Json]] = {
    **{f"say-{kind}": {} for kind in CONTENTS},
    "structured": {"outputSchema": {"type": "object", "properties": {"n": {"type": "number"}}}},
    "fails": {"annotations": {"destructiveHint": True, "vendorHint": 1}},
    "breaks": {},
    "logs": {"_meta": {"ui": {"resourceUri": "ui://page"}}},
    "progresses": {},
    "waits": {},
    "asks": {},
    "changes": {},
    "tasked": {"execution": {"taskSupport": "optional"}},
}
TOOLS: Final[tuple[Json, ...]] = tuple(
    {"name": name, "title": name.title(), "description": f"Do {name}", "inputSchema": ANY, "icons": ICONS, **more}
    for name, more in FIELDS.items()
)
PROMPTS: Final[tuple[Json, ...]] = (
    {
        "name": "greet",
        "title": "Greet",
        "arguments": [{"name": "who", "required": True, "title": "Who"}],
        "icons": ICONS,
    },
    {"name": "plain"},
)
RESOURCES: Final[tuple[Json, ...]] = tuple(
    {"uri": f"every://{number}", "name": f"n{number}", "mimeType": "text/plain", "vendor": number} for number in (1, 2)
)
TEMPLATES: Final[tuple[Json, ...]] = ({"uriTemplate": "every://{number}", "name": "any", "description": "Any"},)
WANTED: Final[dict[str, Json]] = {
    "sampling/createMessage": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "hm?"}}], "maxTokens": 5,
        "modelPreferences": {"hints": [{"name": "x"}], "vendor": 0.25}, "tools": [{"name": "t", "inputSchema": ANY}],
    },
    "elicitation/create": {
        "mode": "form", "message": "Your name?",
        "requestedSchema": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}},
    },
    "roots/list": {"vendor": True},
}  # fmt: skip
PAGE: Final = 9  # tools on one page


def view_of(era: Era) -> View:
    """All it advertises, as it is pinned."""
    return View(era, Everything(era).opening, None, TOOLS, PROMPTS, RESOURCES, TEMPLATES)


def catalog() -> Catalog:
    return Catalog({"legacy/full": view_of("legacy"), "modern/full": view_of("modern")})


class Everything:
    """One conversation with it."""

    def __init__(self, era: Era) -> None:
        self.era = era
        self.heard: list[Json] = []
        self._asked: dict[str, Any] = {}
        self._followed: list[Any] = []
        self._number = 0

    @property
    def opening(self) -> Json:
        more: Json = {"capabilities": OFFERS[self.era], "instructions": "Everything.\n", "vendorOpening": [None]}
        if self.era == "legacy":
            return {"protocolVersion": "2025-11-25", "serverInfo": IDENTITY, **more}
        versions = {"supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private"}
        return {"resultType": "complete", "_meta": {PREFIX + "serverInfo": IDENTITY}, **versions, **more}

    def receive(self, message: Json) -> list[Json]:
        """What it says to one message."""
        self.heard.append(message)
        method, params = message.get("method"), message.get("params", {})
        if method is None:
            return self._told(message)
        if "id" not in message:
            return []
        said = self._answer(message["id"], method, params)
        return [{"jsonrpc": "2.0", **each} for each in said]

    def _told(self, message: Json) -> list[Json]:
        """The client answered a request of ours: the call it belongs to repeats it."""
        call = self._asked.pop(str(message["id"]))
        return [{"jsonrpc": "2.0", "id": call, "result": {"content": [], "_meta": {"told": message}}}]

    def _result(self, id: Any, **body: Any) -> Json:
        return {"id": id, "result": {"resultType": "complete", **body} if self.era == "modern" else body}

    def _error(self, id: Any, code: int, text: str) -> list[Json]:
        return [{"id": id, "error": {"code": code, "message": text, "data": {"why": [text, 1.5]}}}]

    def _answer(self, id: Any, method: str, params: Json) -> list[Json]:
        match method:
            case "initialize" | "server/discover":
                return [{"id": id, "result": self.opening}]
            case "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe":
                return [self._result(id)]
            case "tools/list":
                start = int(params.get("cursor", 0))
                more: Json = {"nextCursor": str(start + PAGE)} if start + PAGE < len(TOOLS) else {}
                return [self._listed(id, tools=list(TOOLS[start : start + PAGE]), **more)]
            case "prompts/list":
                return [self._listed(id, prompts=list(PROMPTS))]
            case "resources/list":
                return [self._listed(id, resources=list(RESOURCES))]
            case "resources/templates/list":
                return [self._listed(id, resourceTemplates=list(TEMPLATES))]
            case "resources/read" if params["uri"].startswith("every://"):
                contents = [
                    {"uri": params["uri"], "text": "one"},
                    {"uri": params["uri"], "blob": "AA==", "_meta": {"v": {}}},
                ]
                return [self._listed(id, contents=contents)]
            case "prompts/get" if params["name"] in ("greet", "plain"):
                words = {"type": "text", "text": f"Greet {params.get('arguments')}"}
                messages = [{"role": "user", "content": words}, {"role": "assistant", "content": CONTENTS["image"]}]
                return [self._result(id, description="d", messages=messages, vendor=1)]
            case "completion/complete":
                values = [params["argument"]["value"] + "!", str(params.get("context"))]
                return [self._result(id, completion={"values": values, "total": 2, "hasMore": False})]
            case "subscriptions/listen":
                self._followed.append(id)
                tag = {PREFIX + "subscriptionId": id}
                told = {"_meta": tag, "notifications": params["notifications"]}
                return [{"method": "notifications/subscriptions/acknowledged", "params": told}]
            case "tools/call":
                return self._call(id, params["name"], params)
            case _ if method.startswith("tasks/"):
                return self._task(id, method, params)
        return self._error(id, -32002 if self.era == "legacy" else -32602, "there is no such thing")

    def _listed(self, id: Any, **body: Any) -> Json:
        cached: Json = {"ttlMs": 0, "cacheScope": "private"} if self.era == "modern" else {}
        return self._result(id, **cached, **body)

    def _call(self, id: Any, name: str, params: Json) -> list[Json]:
        arguments = params.get("arguments", {})
        if name.startswith("say-"):
            return [self._result(id, content=[CONTENTS[name.removeprefix("say-")]], vendorField={"k": [None, 1e3]})]
        match name:
            case "structured":
                content = [{"type": "text", "text": "{}"}]
                return [self._result(id, content=content, structuredContent={"n": 1.5, "more": [None, arguments]})]
            case "fails":
                return [self._result(id, content=[CONTENTS["text"]], isError=True, _meta={"vendor/x": 1})]
            case "breaks":
                return self._error(id, -32050, "it broke")
            case "logs":
                log = {"level": "warning", "logger": "l", "data": {"any": ["thing", 1]}, "_meta": {"v": 1}}
                return [{"method": "notifications/message", "params": log}, self._result(id, content=[])]
            case "progresses":
                token = params["_meta"]["progressToken"]
                steps = [{"progressToken": token, "progress": n, "total": 2, "message": f"step {n}"} for n in (0.5, 2)]
                return [*({"method": "notifications/progress", "params": step} for step in steps),
                        self._result(id, content=[])]  # fmt: skip
            case "waits":
                return []
            case "changes":
                return [{"method": "notifications/resources/updated", "params": each} for each in self._updates()] + [
                    {"method": "notifications/tools/list_changed"},
                    self._result(id, content=[]),
                ]
            case "tasked":
                task = {"taskId": "task-1", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttl": 60000,
                        "lastUpdatedAt": "2026-01-01T00:00:00Z", "pollInterval": 10}  # fmt: skip
                return [
                    {"id": id, "result": {"resultType": "task", **task} if self.era == "modern" else {"task": task}}
                ]
            case "asks":
                return self._ask(id, params)
        return self._error(id, -32602, f"unknown tool {name}")

    def _updates(self) -> list[Json]:
        if self.era == "legacy":
            return [{"uri": "every://1", "title": "One"}]
        return [{"uri": "every://1", "_meta": {PREFIX + "subscriptionId": id, "v": 1}} for id in self._followed]

    def _ask(self, id: Any, params: Json) -> list[Json]:
        method = [*WANTED, "ping"][params["arguments"]["which"]]
        if self.era == "legacy":
            self._number += 1
            self._asked[f"ask-{self._number}"] = id
            return [{"id": f"ask-{self._number}", "method": method, "params": WANTED.get(method, {})}]
        if "inputResponses" in params:
            told = {"state": params["requestState"], "told": params["inputResponses"]}
            return [self._result(id, content=[], _meta=told)]
        wanted = {"first": {"method": method, "params": WANTED[method], "vendor": 1}}
        return [
            {
                "id": id,
                "result": {"resultType": "input_required", "inputRequests": wanted, "requestState": "\u2028 s=="},
            }
        ]

    def _task(self, id: Any, method: str, params: Json) -> list[Json]:
        task = {"taskId": params.get("taskId", "task-1"), "status": "working", "createdAt": "2026-01-01T00:00:00Z",
                "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttl": None, "vendor": {}}  # fmt: skip
        match method:
            case "tasks/list":
                return [self._result(id, tasks=[task], nextCursor="more")]
            case "tasks/result":
                related = {PREFIX + "related-task": {"taskId": task["taskId"]}}
                return [self._result(id, content=[CONTENTS["text"]], _meta=related)]
            case "tasks/get" if self.era == "modern":
                wanted = {"k": {"method": "elicitation/create", "params": WANTED["elicitation/create"]}}
                return [self._result(id, **{**task, "status": "input_required", "inputRequests": wanted})]
            case "tasks/update":
                return [self._result(id)]
            case "tasks/cancel":
                told = {"method": "notifications/tasks/status", "params": {**task, "status": "cancelled"}}
                return [told, self._result(id, **{**task, "status": "cancelled"})]
        return [self._result(id, **task)]
