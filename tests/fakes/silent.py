"""A server that reads everything and stops answering; with `--when PATH` only at a start at which PATH exists."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]

TOOLS = [{"name": "go", "description": "Never answers.", "inputSchema": {"type": "object", "properties": {}}}]
STAGES = {"start": "", "initialize": "initialize", "list": "tools/list", "call": "tools/call"}


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", choices=STAGES, default="call", help="the first message it does not answer")
    parser.add_argument("--when", type=Path, help="behave, unless this path exists")
    arguments = parser.parse_args()
    stage = arguments.at if arguments.when is None or arguments.when.exists() else "never"
    silent = stage == "start"
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "silent", "version": "1"},
    }
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        method = message["method"]
        silent = silent or method == STAGES.get(stage)
        if silent:
            continue
        match method:
            case "initialize":
                answer(message["id"], opening)
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "ping":
                answer(message["id"], {})
            case "tools/call":
                continue
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
