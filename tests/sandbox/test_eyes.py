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


REFUSED: Final = """
import ctypes, errno, json, os, platform, socket, threading
libc = ctypes.CDLL(None, use_errno=True)
results = []
def tried(call, *words):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(call), *map(ctypes.c_ulong, words))
    results.append(errno.errorcode.get(ctypes.get_errno(), "done"))
def made(*words):
    try:
        socket.socket(*words).close()
        results.append("done")
    except OSError as refused:
        results.append(errno.errorcode[refused.errno])
x86 = platform.machine() == "x86_64"
tried(101 if x86 else 117, 0, 0, 0, 0)
tried(272 if x86 else 97, 0x10000000)
tried(272 if x86 else 97, 0x10000000)
tried(56 if x86 else 220, 0x10000011, 0, 0, 0, 0)
tried(165 if x86 else 40, 0, 0, 0, 0, 0)
tried(425, 1, 0)
made(socket.AF_INET, socket.SOCK_RAW, 1)
made(17, socket.SOCK_RAW, 0)
made(socket.AF_UNIX, socket.SOCK_STREAM, 0)
made(socket.AF_INET, socket.SOCK_STREAM, 0)
thread = threading.Thread(target=tried, args=(250 if x86 else 219, 0, 0, 0, 0, 0))
thread.start()
thread.join()
print(json.dumps(results))
"""


def test_a_call_that_the_filter_refuses_fails_the_same_way_and_is_noted_when_somebody_watches(yard: Yard) -> None:
    words = [PYTHON_INSIDE, "-I", "-S", "-c", REFUSED]
    plain, watched = yard.run(words), yard.run(words, watched=True)
    no_family = "EAFNOSUPPORT"
    assert json.loads(plain["out"]) == [
        *("EPERM", "EPERM", "EPERM", "EPERM", "EPERM", "ENOSYS", "EPERM", no_family, no_family, "done", "EPERM")
    ]
    assert watched["out"] == plain["out"]
    assert watched["refused"] == {"ptrace": 1, "unshare": 2, "clone": 1, "mount": 1, "socket": 2, "keyctl": 1}
    assert plain["refused"] == {}


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
