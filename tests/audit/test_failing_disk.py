"""A disk that is full, read-only or broken closes the log, and the next one goes on from what was written.

The kernel itself fails the calls: a child gets a filter that answers them for one descriptor with an error, as such a
disk would.
"""

import ctypes
import errno
import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from broker.audit.verify import verify
from broker.errors import AuditError
from tests.audit.facts import KEY, ORIGIN, called, lines_of, opened

PROJECT: Final = Path(__file__).resolve().parents[2]
CALLS: Final = {
    "x86_64": {"write": 1, "pwrite64": 18, "fdatasync": 75},
    "aarch64": {"write": 64, "pwrite64": 68, "fdatasync": 83},
}
CASES: Final = [
    ("write", errno.ENOSPC), ("write", errno.EROFS), ("write", errno.EIO), ("write", errno.EDQUOT),
    ("fdatasync", errno.EIO), ("pwrite64", errno.EIO),
]  # fmt: skip


def fail(call: str, descriptor: int, error: int) -> None:
    """From now on `call` on `descriptor` answers `error` in this process."""
    number = CALLS[platform.machine()][call]
    program = [
        (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16), (0x15, 0, 1, descriptor),
        (0x06, 0, 0, 0x00050000 | error), (0x06, 0, 0, 0x7FFF0000),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    assert libc.prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0, os.strerror(ctypes.get_errno())


def suffer(folder: Path, call: str, error: int) -> dict[str, Any]:
    """What a log whose disk fails says; runs in a process of its own."""
    log = opened(folder)
    for _ in range(3):
        log.append(ORIGIN, called())
    log.sync()
    fail(call, log._head_file._descriptors[0] if call == "pwrite64" else log._segment, error)
    said = []
    for _ in range(2):
        try:
            anyio.run(log.append_durable, ORIGIN, called())
            said.append("")
        except AuditError as problem:
            said.append(f"{problem}; {problem.hint}")
    return {"said": said, "failure": log.failure, "synced": log.synced_seq}


@pytest.fixture(scope="module")
def suffered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Every case, each in a child of one process, since a filter cannot be taken off again."""
    root = tmp_path_factory.mktemp("disks")
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.test_failing_disk", str(root)],
        cwd=PROJECT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: (root / name, found) for name, found in json.loads(done.stdout).items()}


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in CALLS, reason="the numbers of system calls are known for two"
)
@pytest.mark.claim("C43")
@pytest.mark.parametrize(("call", "error"), CASES)
def test_a_disk_that_fails_closes_the_log_and_the_next_goes_on_from_what_was_written(
    suffered: dict[str, tuple[Path, dict[str, Any]]], call: str, error: int
) -> None:
    folder, found = suffered[f"{call}-{error}"]
    assert os.strerror(error) in found["said"][0] and "free some space" in found["said"][0]
    assert "nothing can be recorded" in found["said"][1], "closed, never open"
    assert os.strerror(error) in found["failure"] and found["synced"] == 3
    assert verify(folder, KEY).ok
    written = len(lines_of(folder))
    assert written == (3 if call == "write" else 4), "what was not forwarded may be on record, never the reverse"
    log = opened(folder)
    assert log.append(ORIGIN, called()).seq == written + 1
    log.close()
    assert verify(folder, KEY).ok and verify(folder, KEY).vouched == written + 1


def main(root: Path) -> None:
    told: dict[str, Any] = {}
    for call, error in CASES:
        name = f"{call}-{error}"
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            os.write(write, json.dumps(suffer(root / name, call, error)).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as answer:
            told[name] = json.loads(answer.read() or b"null")
        os.waitpid(child, 0)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
