"""A well-behaved MCP server over standard input and output, in both protocol eras.

Like real ones it belongs to the era its first request came from, and refuses the other from then on.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN_VERSIONS = ("2026-07-28",)
PREFIX = "io.modelcontextprotocol/"
IDENTITY = {"name": "honest", "version": "1.0.0"}
CAPABILITIES: Json = {
    "tools": {"listChanged": False},
    "prompts": {"listChanged": False},
    "resources": {"listChanged": False, "subscribe": False},
}
INSTRUCTIONS = "A toy server: it does what its tools say."
GREETING = "note://greeting"


class Refusal(Exception):
    """A JSON-RPC error for the client."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: Json = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


def tool(name: str, description: str, *, reads: bool = True, **properties: str) -> Json:
    """A tool's definition; every property is required."""
    schema = {"type": "object", "properties": {key: {"type": value} for key, value in properties.items()}}
    return {
        "name": name,
        "description": description,
        "inputSchema": {**schema, "required": list(properties)},
        "annotations": {"readOnlyHint": reads, "openWorldHint": name == "dial"},
    }


TOOLS = [
    tool("echo", "Say the text back.", text="string"),
    tool("add", "Add two numbers.", a="number", b="number"),
    tool("write_note", "Write a text to a file.", reads=False, path="string", text="string"),
    tool("read_file", "Read a text file.", path="string"),
    tool("dial", "Connect to an address over TCP.", reads=False, host="string", port="integer"),
    tool("environ", "Show the names and values of the environment."),
    tool("slow", "Take some seconds, with progress.", seconds="number"),
]
PROMPTS = [{"name": "greet", "description": "Greet somebody.", "arguments": [{"name": "who", "required": True}]}]
RESOURCES = [{"uri": GREETING, "name": "greeting", "mimeType": "text/plain"}]
TEMPLATES = [{"uriTemplate": "note://{name}", "name": "note"}]


def echo(text: str) -> str:
    return text


def add(a: float, b: float) -> str:
    return str(a + b)


def write_note(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return f"wrote {len(text)} characters"


def read_file(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(1 << 20)


def dial(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=3):
        return f"connected to {host}:{port}"


def environ() -> str:
    return json.dumps(dict(os.environ), sort_keys=True)


QUICK_TOOLS: dict[str, Callable[..., str]] = {
    work.__name__: work for work in (echo, add, write_note, read_file, dial, environ)
}


class Server:
    """One conversation over standard input and output."""

    def __init__(self) -> None:
        self._era = ""
        self._writing = threading.Lock()
        self._slow: dict[Any, threading.Event] = {}
        self._listening: list[Any] = []

    def run(self) -> None:
        for line in sys.stdin.buffer:
            if line.strip():
                self._receive(json.loads(line))
        for stop in self._slow.values():
            stop.set()
        for request in self._listening:
            meta = {PREFIX + "subscriptionId": request}
            self._send({"id": request, "result": {"resultType": "complete", "_meta": meta}})

    def _send(self, message: Json) -> None:
        with self._writing:
            sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            sys.stdout.buffer.flush()

    def _receive(self, message: Json) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if "id" not in message:
            if method == "notifications/cancelled" and params.get("requestId") in self._slow:
                self._slow[params["requestId"]].set()
            return
        if method is None:
            return
        try:
            result = self._answer(message["id"], method, params)
        except Refusal as refusal:
            self._send({"id": message["id"], "error": refusal.error})
            return
        if result is not None:
            self._send({"id": message["id"], "result": self._dressed(method, result)})

    def _answer(self, request: Any, method: str, params: Json) -> Json | None:
        self._check_era(method, params.get("_meta") or {})
        match method:
            case "initialize":
                wanted = params.get("protocolVersion")
                version = wanted if wanted in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
                opening = {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": IDENTITY}
                return {**opening, "instructions": INSTRUCTIONS}
            case "server/discover":
                found = {"supportedVersions": list(MODERN_VERSIONS), "capabilities": CAPABILITIES}
                return {**found, "instructions": INSTRUCTIONS}
            case "ping" if self._era == "legacy":
                return {}
            case "subscriptions/listen" if self._era == "modern":
                self._listening.append(request)
                acknowledged = {"_meta": {PREFIX + "subscriptionId": request}, "notifications": {}}
                self._send({"method": "notifications/subscriptions/acknowledged", "params": acknowledged})
                return None
            case "tools/list":
                return {"tools": TOOLS}
            case "prompts/list":
                return {"prompts": PROMPTS}
            case "resources/list":
                return {"resources": RESOURCES}
            case "resources/templates/list":
                return {"resourceTemplates": TEMPLATES}
            case "prompts/get" if params.get("name") == "greet":
                text = f"Say hello to {(params.get('arguments') or {}).get('who', 'the world')}."
                return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
            case "resources/read" if params.get("uri") == GREETING:
                return {"contents": [{"uri": GREETING, "mimeType": "text/plain", "text": "hello"}]}
            case "prompts/get" | "resources/read":
                raise Refusal(-32602, "there is no such prompt or resource")
            case "tools/call":
                return self._call(request, params)
        raise Refusal(-32601, "Method not found", method)

    def _check_era(self, method: str, meta: Json) -> None:
        opening = "modern" if PREFIX + "protocolVersion" in meta else "legacy"
        if self._era == "modern" and method == "initialize":
            raise Refusal(-32022, "this connection speaks 2026-07-28", {"supported": list(MODERN_VERSIONS)})
        if self._era == "legacy" and opening == "modern":
            raise Refusal(-32600, "this connection was opened with initialize")
        if self._era == "modern" and opening == "legacy":
            raise Refusal(-32602, "params._meta needs protocolVersion and clientCapabilities")
        if opening == "modern":
            wanted = meta[PREFIX + "protocolVersion"]
            if wanted not in MODERN_VERSIONS:
                supported = {"supported": list(MODERN_VERSIONS), "requested": wanted}
                raise Refusal(-32022, "Unsupported protocol version", supported)
        elif not self._era and method not in ("initialize", "ping"):
            raise Refusal(-32601 if method == "server/discover" else -32600, "the conversation is not open yet")
        if method != "ping":
            self._era = self._era or opening

    def _call(self, request: Any, params: Json) -> Json | None:
        name, arguments = params.get("name"), params.get("arguments") or {}
        if name == "slow":
            self._slow[request] = threading.Event()
            token = (params.get("_meta") or {}).get("progressToken")
            threading.Thread(target=self._slowly, args=(request, token, float(arguments["seconds"]))).start()
            return None
        if name not in QUICK_TOOLS:
            raise Refusal(-32602, f"Unknown tool: {name}")
        try:
            return text_result(QUICK_TOOLS[name](**arguments))
        except (OSError, ValueError, TypeError) as problem:
            return text_result(f"{type(problem).__name__}: {problem}", error=True)

    def _slowly(self, request: Any, token: Any, seconds: float) -> None:
        cancelled, steps = self._slow[request], 4
        for step in range(1, steps + 1):
            if cancelled.wait(seconds / steps):
                return
            if token is not None:
                progress = {"progressToken": token, "progress": step, "total": steps}
                self._send({"method": "notifications/progress", "params": progress})
        del self._slow[request]
        self._send({"id": request, "result": self._dressed("tools/call", text_result("done"))})

    def _dressed(self, method: str, result: Json) -> Json:
        """The fields every result of the modern era carries."""
        if self._era != "modern":
            return result
        dress: Json = {"resultType": "complete", "_meta": {PREFIX + "serverInfo": IDENTITY}}
        if method.endswith("/list") or method in ("server/discover", "resources/read"):
            dress |= {"ttlMs": 0, "cacheScope": "private"}
        return {**dress, **result}


def text_result(text: str, *, error: bool = False) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": error}


if __name__ == "__main__":
    Server().run()
