"""Running the ecosystem's own tools: a built environment, a limit on time and on output, and no survivor.

Whoever resolves is given `Run` as an argument, so that a sandbox can take the place of `run_command`.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, Process

from broker.errors import TrustError

MAX_OUTPUT = 8 * 1024 * 1024  # npm's whole configuration is 20 KiB, a resolver's complaint seldom 50
_REAP = 5.0  # seconds for the kernel to hand over a killed process

CERTIFICATES: Final = frozenset({
    "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "NIX_SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "PIP_CERT", "GIT_SSL_CAINFO",
})  # fmt: skip
"""Variables whose value is the path of what a tool must read."""
PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"})
_PASSED: Final = CERTIFICATES - {"GIT_SSL_CAINFO"} | PROXIES | {"PATH", "LANG", "LC_ALL", "NO_PROXY", "no_proxy"}


@dataclass(frozen=True, slots=True)
class Command:
    """One run of a tool.  It needs to write nowhere but under `work`, and to reach nothing but `hosts` (`HOST:PORT`).

    `reads` is what it reads beside the system: its own runtime, and files its settings name.  With `asks` it is the
    user's own program, asked about itself or its settings: it needs the user's home, gets nothing from outside, and
    reaches nothing.
    """

    argv: tuple[str, ...]
    work: Path
    cwd: Path
    env: Mapping[str, str]
    hosts: tuple[str, ...] = ()
    timeout: float = 60.0
    limit: int = MAX_OUTPUT
    reads: tuple[Path, ...] = ()
    asks: bool = False
    tool: str = ""

    @property
    def name(self) -> str:
        """The tool as people call it: `tool`, where an interpreter runs it."""
        return self.tool or Path(self.argv[0]).name


@dataclass(frozen=True, slots=True)
class Finished:
    """What a tool said.  Its words come from outside: search them, never show them whole."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        return (self.stderr + b"\n" + self.stdout).decode("utf-8", "replace")


class Run(Protocol):
    """Runs one command to its end.

    Raises:
        TrustError: it could not be started, took too long, or said too much.
    """

    async def __call__(self, command: Command) -> Finished: ...


def tool_environment(environment: Mapping[str, str], work: Path) -> dict[str, str]:
    """What a tool gets of the user's environment: the PATH, the proxies and certificates, and a HOME of its own."""
    kept = {name: value for name, value in environment.items() if name in _PASSED}
    home, temporary = work / "home", work / "tmp"
    for folder in (home, temporary):
        folder.mkdir(mode=0o700, exist_ok=True)
    return {"PATH": os.defpath, **kept, "HOME": str(home), "TMPDIR": str(temporary)}


def host_and_port(url: str) -> str:
    """What an address leads to, as `HOST:PORT`; empty for a file and for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname and port else ""


async def run_command(command: Command) -> Finished:
    """The default `Run`: a process group of its own, killed whole when the wait ends for whatever reason."""
    name = command.name
    if not os.access(command.argv[0], os.X_OK):  # asyncio leaks a transport when it finds that out itself
        raise TrustError(f"{name} cannot be started: it is missing or not executable", hint=f"check {command.argv[0]}")
    try:
        process = await anyio.open_process(
            command.argv,
            stdin=subprocess.DEVNULL,
            cwd=command.cwd,
            env=dict(command.env),
            start_new_session=True,
        )
    except OSError as cause:
        raise TrustError(f"{name} cannot be started: {cause.strerror}", hint=f"check that {name} works") from cause
    outputs = (bytearray(), bytearray())
    try:
        with anyio.fail_after(command.timeout):
            async with anyio.create_task_group() as tasks:
                for stream, output in zip((process.stdout, process.stderr), outputs, strict=True):
                    assert stream is not None
                    tasks.start_soon(_collect, stream, output, command.limit, name)
            code = await process.wait()
    except TimeoutError as cause:
        hint = "check the connection, then try again"
        raise TrustError(f"{name} did not finish within {command.timeout:.0f} seconds", hint=hint) from cause
    except BaseExceptionGroup as group:
        said_too_much, others = group.split(TrustError)
        if said_too_much is None or others is not None:
            raise
        raise TrustError(f"{name} wrote more than {command.limit} bytes") from group
    finally:
        await _end(process)
    return Finished(code, bytes(outputs[0]), bytes(outputs[1]))


async def _collect(stream: ByteReceiveStream, output: bytearray, limit: int, name: str) -> None:
    async for block in stream:
        output += block
        if len(output) > limit:
            raise TrustError(f"{name} wrote more than {limit} bytes")


async def _end(process: Process) -> None:
    """Kill what is left of the group and close our ends; a cancelled caller waits for this too."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended between the look and the kill
        with anyio.move_on_after(_REAP):
            await process.wait()
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                async for _ in stream:
                    pass  # asyncio lets go of a pipe only at its end; the dead write no more than it holds
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            await stream.aclose()
