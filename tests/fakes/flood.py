"""A server that writes a line without end.

It stops after `--megabytes`, so that a broken test cannot fill a machine.
"""

import argparse
import json
import sys
from typing import Any

Json = dict[str, Any]

TOOLS = [
    {
        "name": "go",
        "description": "Answer with a line that does not end.",
        "inputSchema": {"type": "object", "properties": {}},
    }
]
STAGES = {"start": "", "initialize": "initialize", "list": "tools/list", "call": "tools/call"}


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def flood(megabytes: int) -> None:
    sys.stdout.buffer.write(b'{"jsonrpc": "2.0", "id": 1, "result": {"text": "')
    for _ in range(megabytes * 16):
        sys.stdout.buffer.write(b"x" * 65536)
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()  # the line stays open until the client leaves


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=STAGES, default="call", help="when to begin")
    parser.add_argument("--megabytes", type=int, default=256)
    arguments = parser.parse_args()
    if arguments.at == "start":
        flood(arguments.megabytes)
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "flood", "version": "1"},
    }
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        method = message["method"]
        if method == STAGES[arguments.at]:
            flood(arguments.megabytes)
        match method:
            case "initialize":
                answer(message["id"], opening)
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "ping":
                answer(message["id"], {})
            case "tools/call":
                flood(arguments.megabytes)
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
