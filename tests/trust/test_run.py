"""Tools run with a built environment and end with the wait for them, whatever happens."""

import os
import signal
import sys
import time
from pathlib import Path

import anyio
import pytest

from broker.errors import TrustError
from broker.trust.run import Command, run_command, tool_environment

FORKS = """
import os, sys, time
if os.fork() == 0:
    open(sys.argv[1], "w").write(str(os.getpid()))
    os.rename(sys.argv[1], sys.argv[2])
time.sleep(600)
"""


def python(tmp_path: Path, code: str, *more: str, timeout: float = 30.0, limit: int = 1 << 20) -> Command:
    return Command((sys.executable, "-c", code, *more), tmp_path, tmp_path, {"A": "1"}, timeout=timeout, limit=limit)


async def appears(path: Path) -> int:
    with anyio.fail_after(20):
        while not await anyio.Path(path).exists():
            await anyio.lowlevel.checkpoint()
    return int(await anyio.Path(path).read_text())


async def is_gone(pid: int) -> bool:
    """Killed, and reaped by whoever inherits it; a zombie counts as gone."""
    stop = time.monotonic() + 10
    while time.monotonic() < stop:
        try:
            os.kill(pid, 0)
            state = (await anyio.Path(f"/proc/{pid}/stat").read_text()).rpartition(")")[2].split()[0]
            if state == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        await anyio.lowlevel.checkpoint()
    os.kill(pid, signal.SIGKILL)
    return False


async def test_a_tool_sees_only_the_environment_it_is_given_and_no_input(tmp_path: Path) -> None:
    code = "import os, sys; print(sorted(set(os.environ) - {'LC_CTYPE'})); print(sys.stdin.read()); sys.exit(3)"
    finished = await run_command(python(tmp_path, code))
    assert (finished.code, finished.stdout.decode().split()) == (3, ["['A']"])


async def test_a_tool_that_takes_too_long_is_ended_with_everything_it_started(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="did not finish within 1 seconds"):
        await run_command(python(tmp_path, FORKS, str(tmp_path / "a"), str(tmp_path / "pid"), timeout=1.0))
    assert await is_gone(await appears(tmp_path / "pid"))


async def test_a_cancelled_wait_ends_the_tool_with_everything_it_started(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_command, python(tmp_path, FORKS, str(tmp_path / "a"), str(tmp_path / "pid")))
        child = await appears(tmp_path / "pid")
        tasks.cancel_scope.cancel()
    assert await is_gone(child)


async def test_a_tool_that_writes_without_end_is_ended(tmp_path: Path) -> None:
    for stream in ("stdout", "stderr"):
        code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
        with pytest.raises(TrustError, match="wrote more than 1000000 bytes"):
            await run_command(python(tmp_path, code, limit=1_000_000))


async def test_a_tool_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no-such-tool cannot be started"):
        await run_command(Command(("/no-such-tool",), tmp_path, tmp_path, {}))


def test_a_tool_gets_a_home_of_its_own_and_none_of_the_users_secrets(tmp_path: Path) -> None:
    given = {"PATH": "/usr/bin", "HOME": "/home/ada/", "TOKEN": "s3cret", "NODE_OPTIONS": "-r x", "LD_PRELOAD": "x",
             "PYTHONPATH": "x", "npm_config_registry": "x", "SSL_CERT_FILE": "/ca", "HTTPS_PROXY": "p"}  # fmt: skip
    assert tool_environment(given, tmp_path) == {
        "PATH": "/usr/bin", "SSL_CERT_FILE": "/ca", "HTTPS_PROXY": "p",
        "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"),
    }  # fmt: skip
