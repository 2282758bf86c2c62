"""A server that closes its standard input and goes on living, its standard output open."""

import argparse
import json
import os
import sys
import time
from typing import Any

Json = dict[str, Any]

TOOLS = [
    {
        "name": "go",
        "description": "Close standard input, then live on.",
        "inputSchema": {"type": "object", "properties": {}},
    }
]
STAGES = {"start": "", "initialize": "initialize", "list": "tools/list", "call": "tools/call"}


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def close(seconds: float) -> None:
    os.close(0)
    time.sleep(seconds)  # alive, but nothing will ever be read or written again
    raise SystemExit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=STAGES, default="call", help="when to close")
    parser.add_argument("--seconds", type=float, default=60, help="how long to live on")
    arguments = parser.parse_args()
    if arguments.at == "start":
        close(arguments.seconds)
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "closes-stdin", "version": "1"},
    }
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        method = message["method"]
        if method == STAGES[arguments.at]:
            close(arguments.seconds)
        match method:
            case "initialize":
                answer(message["id"], opening)
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "ping":
                answer(message["id"], {})
            case "tools/call":
                close(arguments.seconds)
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
