"""A server that writes to standard error for ever, while it answers as it should.

A client that does not read standard error stops it when the pipe is full; it must stop nobody else.
"""

import argparse
import json
import os
import sys
import threading
import time
from typing import Any

Json = dict[str, Any]

TOOLS = [
    {"name": "go", "description": "Answer, between the noise.", "inputSchema": {"type": "object", "properties": {}}}
]


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def shout() -> None:
    """Lines, control characters, and never an end to one of the lines; a short pause keeps a shared machine usable."""
    noise = b'\x1b[2J\x1b]0;owned\x07 {"jsonrpc": "2.0", "id": 1, "result": {}}\n' * 16 + b"y" * 4096
    while True:
        os.write(2, noise)
        time.sleep(0.001)


def main() -> None:
    argparse.ArgumentParser().parse_args()
    threading.Thread(target=shout, daemon=True).start()
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "noisy", "version": "1"},
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
                answer(message["id"], {"content": [{"type": "text", "text": "done"}], "isError": False})
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
