"""A server that answers a call with a line which is no strict JSON-RPC message, of the kind the caller names.

The tool `go` takes `how`, one of `WAYS`; after the bad line comes a good answer to the same request.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any, Final

Json = dict[str, Any]

DEPTH: Final = 5000
WAYS: Final[dict[str, Callable[[str], bytes]]] = {
    "duplicate-key": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":1},"result":{"a":2}}' % i.encode(),
    "deep": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":' % i.encode() + b"[" * DEPTH + b"]" * DEPTH + b"}}",
    "nan": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":NaN}}' % i.encode(),
    "infinity": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":1e999}}' % i.encode(),
    "null-id": lambda _: b'{"jsonrpc":"2.0","id":null,"result":{}}',
    "null-id-request": lambda _: b'{"jsonrpc":"2.0","id":null,"method":"roots/list"}',
    "float-id": lambda _: b'{"jsonrpc":"2.0","id":1.0,"result":{}}',
    "bool-id": lambda _: b'{"jsonrpc":"2.0","id":true,"result":{}}',
    "object-id": lambda _: b'{"jsonrpc":"2.0","id":{},"result":{}}',
    "not-json": lambda _: b"Server listening on port 8080",
    "not-utf8": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":"\xff\xfe"}}' % i.encode(),
    "surrogate": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":"\\ud800"}}' % i.encode(),
    "batch": lambda i: b'[{"jsonrpc":"2.0","id":%s,"result":{}}]' % i.encode(),
    "array-params": lambda _: b'{"jsonrpc":"2.0","method":"notifications/message","params":[1]}',
    "result-and-error": lambda i: (
        b'{"jsonrpc":"2.0","id":%s,"result":{},"error":{"code":1,"message":"x"}}' % i.encode()
    ),
    "no-version": lambda i: b'{"id":%s,"result":{}}' % i.encode(),
    "scalar": lambda _: b"42",
    "two-on-a-line": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{}}{"jsonrpc":"2.0"}' % i.encode(),
    "big-number": lambda i: b'{"jsonrpc":"2.0","id":%s,"result":{"a":%s}}' % (i.encode(), b"9" * 100_000),
}
HOW = {"type": "object", "properties": {"how": {"type": "string", "enum": list(WAYS)}}, "required": ["how"]}
TOOLS = [{"name": "go", "description": "Answer with a bad line, then with a good one.", "inputSchema": HOW}]


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
        "serverInfo": {"name": "bad-json", "version": "1"},
    }
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        match message["method"]:
            case "initialize":
                answer(message["id"], opening)
            case "tools/list":
                answer(message["id"], {"tools": TOOLS})
            case "ping":
                answer(message["id"], {})
            case "tools/call":
                how = message["params"]["arguments"]["how"]
                sys.stdout.buffer.write(WAYS[how](json.dumps(message["id"])) + b"\n")
                answer(message["id"], {"content": [{"type": "text", "text": f"after {how}"}], "isError": False})
            case _:
                send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
