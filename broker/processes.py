"""Who is at the other end, as the kernel tells it.

Facts about processes are recorded and used to refuse; they never prove who somebody is (a client's secret does that).
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.errors import ConfigError
from broker.model import Peer

MAX_ANCESTORS = 64  # deeper trees were never seen; a bound against a moving /proc
LAUNCHERS = frozenset(
    {"sh", "bash", "dash", "zsh", "fish", "ksh", "tcsh", "csh", "busybox"}
    | {"env", "timeout", "nohup", "setsid", "sudo", "su", "doas", "nice", "ionice", "stdbuf", "script", "time"}
    | {"uv", "uvx", "npm", "npx", "xargs", "strace", "bulkhead"}
)
"""Programs that only start others: the application behind a shim is the nearest ancestor that is none of these."""
HOSTS = frozenset({"sshd", "sshd-session", "sshd-auth"})
"""Programs that run as the user, let nobody look into them, and only let the user in."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: `started` is clock ticks since boot, which with the pid names it for good."""

    pid: int
    parent: int
    name: str
    terminal: int
    started: int


def process(pid: int) -> Process | None:
    """Facts about one process, or None if it is gone or not ours to see."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, parent=int(fields[1]), name=name, terminal=int(fields[4]), started=int(fields[19]))


def ancestry(pid: int) -> Iterator[Process]:
    """The process itself, its parent, and so on up to the first."""
    for _ in range(MAX_ANCESTORS):
        found = process(pid)
        if found is None:
            return
        yield found
        if found.parent <= 0:
            return
        pid = found.parent


def whole_ancestry(pid: int) -> list[Process]:
    """The ancestry up to the first process; empty where a part is missing, in which anybody may stand.

    A part is missing of a line deeper than our bound, or one of whose processes ended meanwhile.  Where the system
    hides the processes of others, it is whole as far as our own go.
    """
    line = list(ancestry(pid))
    if not line or line[-1].parent <= 0:
        return line
    return [] if len(line) == MAX_ANCESTORS or process(1) is not None else line


def executable(pid: int) -> str:
    """The real path of what a process runs; empty if it cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def peer_of(connection: socket.socket, cwd: str = "") -> Peer:
    """Who connected, by the kernel's word, and the application behind it.

    Raises:
        ConfigError: the system does not tell (then nobody is let in).
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise ConfigError("this system does not tell who connects to a socket", hint="run Bulkhead on Linux")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    return peer_of_process(pid, uid, gid, cwd)


def peer_of_process(pid: int, uid: int, gid: int, cwd: str = "") -> Peer:
    """A process that connected, and the application behind it."""
    root = application(pid)
    return Peer(
        pid=pid,
        uid=uid,
        gid=gid,
        executable=executable(pid),
        root_pid=root.pid if root else pid,
        root_executable=executable(root.pid) if root else "",
        root_started=root.started if root else 0,
        cwd=cwd,
    )


def application_itself(pid: int, uid: int, cwd: str = "") -> Peer:
    """A process that is itself the application, as one is that connects without a shim."""
    found = process(pid)
    path = executable(pid)
    return Peer(pid, uid, os.getgid(), path, pid, path, found.started if found else 0, cwd)


def application(pid: int) -> Process | None:
    """The program that caused `pid`: its nearest ancestor that is no shell and no launcher.

    With nothing but shells above, it is the topmost shell below the first process, or below whatever let the user in:
    a login, su, a container's tool, sshd.
    """
    line = list(ancestry(pid))
    above = [found for found in line[1:] if found.pid > 1]
    for number, found in enumerate(above):
        program = executable(found.pid)
        if found.name not in LAUNCHERS and Path(program).name not in LAUNCHERS:
            return found if program or not _lets_in(found) else _topmost_seen(above[:number]) or found
    if above:
        return _topmost_seen(above) or above[-1]
    return line[0] if line else None


def _topmost_seen(line: list[Process]) -> Process | None:
    return next((found for found in reversed(line) if executable(found.pid)), None)


def _lets_in(found: Process) -> bool:
    """Whether a process whose program cannot be seen is another user's, or a known door."""
    try:
        status = Path(f"/proc/{found.pid}/status").read_text(errors="replace")
    except OSError:
        return False
    real = next((line.split()[1] for line in status.splitlines() if line.startswith("Uid:")), "")
    return found.name in HOSTS or real != str(os.getuid())


def same_program(pid: int) -> Iterator[Process]:
    """The process and those above it that run the same program.

    An application of several processes launches servers from one of them and shells from another.
    """
    program = executable(pid)
    for found in ancestry(pid):
        if found.pid == pid or (program and executable(found.pid) == program):
            yield found


def boot_id() -> str:
    """Names this boot of the machine: process ids and start times mean something only within one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
