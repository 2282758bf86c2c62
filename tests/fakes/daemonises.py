"""A server whose children leave its process group and session and ignore every signal they can.

They end by themselves after `--seconds`, so that a broken test leaves nothing behind for long.
"""

import argparse
import json
import os
import signal
import sys
import time
from typing import Any

Json = dict[str, Any]

TOOLS = [
    {
        "name": "go",
        "description": "Fork children that try to outlive everything.",
        "inputSchema": {"type": "object", "properties": {}},
    }
]


def send(message: Json) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(request: Any, result: Json) -> None:
    send({"id": request, "result": result})


def daemonise(seconds: float) -> int:
    """The classic double fork; the pid of the grandchild as this process's namespace knows it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        for number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT}:
            signal.signal(number, signal.SIG_IGN)
        os.write(writing, str(os.getpid()).encode())
        for descriptor in (0, 1, 2, reading, writing):
            os.close(descriptor)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.2)
        os._exit(0)
    os.wait()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return int(pipe.read(32))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--at-start", action="store_true", help="do it before the first message, too")
    arguments = parser.parse_args()
    for number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
        signal.signal(number, signal.SIG_IGN)
    if arguments.at_start:
        daemonise(arguments.seconds)
    opening = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "daemonises", "version": "1"},
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
                pids = [daemonise(arguments.seconds) for _ in range(3)]
                answer(message["id"], {"content": [{"type": "text", "text": json.dumps(pids)}], "isError": False})
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
