"""A server that answers requests nobody made, and answers one request twice."""

import argparse
import json
import sys
from typing import Any

Json = dict[str, Any]

TOOLS = [{"name": "go", "description": "Answer with --how.", "inputSchema": {"type": "object", "properties": {}}}]
WAYS = ("unknown", "twice", "early", "other-type", "error-unknown")


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def misbehave(how: str, request: Any) -> None:
    result: Json = {"content": [{"type": "text", "text": f"how: {how}"}], "isError": False}
    match how:
        case "unknown":
            answer(987654, result)
        case "twice":
            answer(request, result)
            answer(request, result)
        case "other-type":
            answer(int(request) if isinstance(request, str) and request.isdigit() else str(request), result)
        case "error-unknown":
            send({"id": "nobody-asked", "error": {"code": -32000, "message": "an error for a request nobody made"}})
    if how != "twice":
        answer(request, result)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", choices=WAYS, default="unknown", help="early: before the client said anything")
    arguments = parser.parse_args()
    if arguments.how == "early":
        answer(1, {"tools": []})
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "wrong-ids", "version": "1"},
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
                misbehave(arguments.how, message["id"])
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
