"""A server with a result of as many megabytes as the caller wants."""

import argparse
import json
import sys
from typing import Any

Json = dict[str, Any]

TOOLS = [
    {
        "name": "go",
        "description": "Answer with that many megabytes.",
        "inputSchema": {"type": "object", "properties": {"megabytes": {"type": "number"}}, "required": ["megabytes"]},
    }
]


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def main() -> None:
    argparse.ArgumentParser().parse_args()
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "huge", "version": "1"},
    }
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        method = message["method"]
        match method:
            case "initialize":
                answer(message["id"], opening)
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "ping":
                answer(message["id"], {})
            case "tools/call":
                size = int(float(message["params"]["arguments"]["megabytes"]) * (1 << 20))
                answer(message["id"], {"content": [{"type": "text", "text": "x" * size}], "isError": False})
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
