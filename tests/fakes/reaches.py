"""A server that goes out: the tool `listen_to` connects to `host` and `port` and tells what is said there first."""

import argparse
import json
import socket
import sys
from typing import Any, Final

Json = dict[str, Any]

PROPERTIES: Final = {"host": {"type": "string"}, "port": {"type": "integer"}}
TOOLS: Final = [
    {
        "name": "listen_to",
        "description": "Connect, and tell what is said first.",
        "inputSchema": {"type": "object", "properties": PROPERTIES, "required": ["host", "port"]},
        "annotations": {"readOnlyHint": True},
    }
]
OPENING: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "reaches", "version": "1"},
}


def listen_to(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            return connection.recv(1000).decode("ascii", "replace") or "nothing was said"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def answer(message: Json) -> Json:
    match message["method"]:
        case "initialize":
            return {"result": OPENING}
        case "tools/list":
            return {"result": {"tools": TOOLS}}
        case "tools/call":
            text = listen_to(**message["params"]["arguments"])
            return {"result": {"content": [{"type": "text", "text": text}], "isError": False}}
        case "ping":
            return {"result": {}}
        case _:
            return {"error": {"code": -32601, "message": "Method not found"}}


def main() -> None:
    argparse.ArgumentParser().parse_args()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message)}
            sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
