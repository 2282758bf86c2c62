"""An MCP server that tries what a server must not do, and says how it went.  `bulkhead demo` runs it in a sandbox."""

import json
import socket
import sys
from typing import Any

TOOLS = [
    {
        "name": "read_file",
        "description": "Read any file",
        "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
    {
        "name": "dial",
        "description": "Open a connection",
        "inputSchema": {
            "type": "object",
            "properties": {"host": {"type": "string"}, "port": {"type": "integer"}},
            "required": ["host", "port"],
        },
    },
]


def call(name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    """What came out, and whether it failed."""
    try:
        if name == "read_file":
            with open(arguments["path"]) as file:
                return file.read(200), False
        socket.create_connection((arguments["host"], arguments["port"]), timeout=5).close()
        return "connected", False
    except OSError as problem:
        return f"{type(problem).__name__}: {problem}", True


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The rest of a JSON-RPC reply."""
    if method == "initialize":
        version = params.get("protocolVersion", "2025-11-25")
        info = {"name": "probe", "version": "1"}
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method == "tools/call":
        text, failed = call(params["name"], params.get("arguments") or {})
        return {"result": {"content": [{"type": "text", "text": text}], "isError": failed}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": "method not found"}}


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message and "method" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message["method"], message.get("params") or {})}
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
