"""A server that is watched: what it asks for in vain is noted, and it is walled in as ever."""

import asyncio
import json
import socket
from typing import Any, Final

import pytest

from broker.errors import SandboxError
from broker.model import ServerName
from broker.sandbox.eyes import Eyes, Seen
from tests.sandbox.conftest import PYTHON_INSIDE, Yard

pytestmark = pytest.mark.sandbox

TOY: Final = """
import json, os, subprocess, sys
told = json.load(sys.stdin)
def tried(what, *words):
    try:
        what(*words)
        return "done"
    except OSError as refused:
        return type(refused).__name__
os.chdir("/home/mcp")
results = [
    tried(open, told["file"]),
    tried(os.listdir, told["folder"]),
    tried(open, told["fixed"], "a"),
    tried(os.mkdir, told["fixed"] + ".d"),
    tried(open, told["given"]),
    tried(open, "own", "w"),
    tried(os.stat, "../../" + told["relative"].lstrip("/")),
    tried(open, "/tmp/own", "w"),
]
child = "import sys\\ntry: open(sys.argv[1])\\nexcept OSError: pass"
subprocess.run([sys.executable, "-c", child, told["child"]], check=True)
print(json.dumps(results))
"""


def test_what_a_watched_server_asks_for_in_vain_is_noted_and_nothing_else(yard: Yard) -> None:
    given = yard.file("given/file", "something")
    told = {name: str(yard.work / name) for name in ("file", "folder", "relative", "child")}
    told |= {"given": str(given), "fixed": str(given.parent / "new")}
    job: dict[str, Any] = {"input": json.dumps(told), "read": [str(given.parent)]}
    result = yard.run([PYTHON_INSIDE, "-I", "-S", "-c", TOY], watched=True, **job)
    assert result.get("code") == 0, result
    missing = "FileNotFoundError"
    assert json.loads(result["out"]) == [missing, missing, "OSError", "OSError", "done", "done", missing, "done"]
    assert result["seen"] == {
        told["file"]: "read",
        told["folder"]: "read",
        told["fixed"]: "write",
        told["fixed"] + ".d": "write",
        told["relative"]: "look",
        told["child"]: "read",
    }


def test_a_server_that_is_not_watched_meets_the_same_walls(yard: Yard) -> None:
    given = yard.file("given/file", "something")
    told = {name: str(yard.work / name) for name in ("file", "folder", "relative", "child")}
    told |= {"given": str(given), "fixed": str(given.parent / "new")}
    job: dict[str, Any] = {"input": json.dumps(told), "read": [str(given.parent)]}
    plain = yard.run([PYTHON_INSIDE, "-I", "-S", "-c", TOY], **job)
    assert plain["out"] == yard.run([PYTHON_INSIDE, "-I", "-S", "-c", TOY], watched=True, **job)["out"]
    assert plain["seen"] == {}


def test_a_kernel_that_tells_nothing_is_named_and_nothing_runs_unwatched() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    with pytest.raises(SandboxError, match="notes cannot be watched") as refused:
        asyncio.run(Eyes.open(ours, ServerName("notes"), Seen({})))
    assert "bulkhead blocked notes" in refused.value.hint


def test_what_is_noted_is_bounded_and_the_most_that_was_wanted_counts() -> None:
    seen = Seen({})
    seen.note("/a", "look")
    seen.note("/a", "write")
    seen.note("/a", "read")
    assert seen.paths == {"/a": "write"}
    for number in range(5000):
        seen.note(f"/{number}", "look")
    assert len(seen.paths) == 4096 and seen.more == 905
