"""Find the daemon of this home, or start it and wait until it says that it is ready."""

import asyncio
import os
import pwd
import select
import subprocess
import sys
import time
from collections.abc import Mapping

from broker.api.client import DeskClient
from broker.config import Paths
from broker.errors import DaemonUnreachable
from broker.home import write_conf

START_SECONDS = 30.0  # the first start may wait for a keychain's unlock prompt


def daemon_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a daemon runs with: the passwd entry, the session bus of the person who starts it, and OTEL_*."""
    entry = pwd.getpwuid(os.getuid())
    constructed = {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    bus = environment.get("DBUS_SESSION_BUS_ADDRESS")
    if bus:
        constructed["DBUS_SESSION_BUS_ADDRESS"] = bus
    return constructed | {name: value for name, value in environment.items() if name.startswith("OTEL_")}


def daemon_argv(paths: Paths, *options: str) -> list[str]:
    return [sys.executable, "-I", "-m", "broker.daemon", "--home", str(paths.home), *options]


def start(paths: Paths, environment: Mapping[str, str], *options: str) -> None:
    """Start a daemon apart from this process.

    Raises:
        DaemonUnreachable: it refused to start; the text is its own reason.
    """
    write_conf(paths, environment)
    ready, tell = os.pipe()
    try:
        subprocess.Popen(
            daemon_argv(paths, "--ready-fd", str(tell), *options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=daemon_environment(environment),
            cwd="/",
            pass_fds=(tell,),
            start_new_session=True,
        )
        os.close(tell)
        said = _first_line(ready)
    finally:
        os.close(ready)
    if said == "ready":
        return
    what, _, hint = said.removeprefix("no ").partition("\t")
    raise DaemonUnreachable(what or "the daemon could not be started", hint=hint or "bulkhead up --foreground")


def _first_line(descriptor: int) -> str:
    said = b""
    deadline = time.monotonic() + START_SECONDS
    while b"\n" not in said and len(said) < 8192:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return "no the daemon did not say that it is ready in time\tbulkhead up --foreground"
        piece = os.read(descriptor, 4096)
        if not piece:
            break
        said += piece
    return said.split(b"\n")[0].decode("utf-8", "replace")


async def reachable(paths: Paths) -> bool:
    """True when a daemon answers on this home's control socket."""
    try:
        async with DeskClient(paths.control_socket):
            return True
    except DaemonUnreachable:
        return False


async def ensure(paths: Paths, environment: Mapping[str, str]) -> None:
    """Have a daemon: the running one, or a new one."""
    if not await reachable(paths):
        await asyncio.to_thread(start, paths, environment)
