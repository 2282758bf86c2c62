"""Watches which paths a server asks for that its sandbox does not show it, and which system calls it is refused.

One thread for one sandbox.  Each call that names a path waits until this thread lets it go on: it decides nothing, and
what a process writes over its own memory meanwhile fools nobody but the list that a person reads.  Each refused call
waits until it is told no; only before the server is let go, while bwrap builds the walls, is it let on.
"""

import contextlib
import os
import platform
import select
import socket
import stat
import struct
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from broker.errors import SandboxError
from broker.model import ServerName
from broker.sandbox.commands import Command
from broker.sandbox.kernel import open_in_root
from broker.sandbox.notices import Notice, Told, go_on, is_waiting, of_machine, receive, say_no
from broker.sandbox.seccomp import error_of
from broker.sandbox.supervisor import readable

Want: TypeAlias = Literal["look", "read", "write"]
WANTS: Final[tuple[Want, ...]] = ("look", "read", "write")

MAX_PATH: Final = 4096  # the kernel's own
MAX_SEEN: Final = 4096
AT_FDCWD: Final = 0xFFFFFF9C
END_LIMIT: Final = 5.0
STEP: Final = 1000  # ms between two looks at whether we should end, should the kernel not say so
FILTERS: Final = b"\nSeccomp_filters:\t"
NOISE: Final = tuple(
    f"/{name}/"
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "etc", "proc", "sys", "dev", "run", "boot", "var",
                 "opt/bulkhead", "home/mcp", "newroot", "oldroot")
)  # fmt: skip
"""Of the system, of the sandbox, or of a server's own code: nothing that a person would grant."""


@dataclass(slots=True)
class Seen:
    """Paths that were asked for in vain, each with the most that was wanted of it, and refused calls with how often.

    Bounded; used by many threads.
    """

    paths: dict[str, Want]
    more: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    def note(self, path: str, want: Want) -> None:
        known = self.paths.get(path)
        if known is None and len(self.paths) >= MAX_SEEN:
            self.more += 1
        elif known is None or WANTS.index(want) > WANTS.index(known):
            self.paths[path] = want


def watched(command: Command) -> tuple[Command, socket.socket]:
    """The same command, whose calls are told through the socket's message.  Its own end goes with the command."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return replace(command, descriptors=(*command.descriptors, theirs.detach()), watched=True), ours


class Eyes:
    """Open from the sandbox's first instruction to its last."""

    def __init__(self, listener: int, seen: Seen) -> None:
        self._listener = listener
        self._seen = seen
        self._calls = of_machine(platform.machine())
        self._closing = threading.Event()
        self.collecting = False
        """Not before the server runs: until then it is bwrap that looks around and builds.  Never taken back."""
        self._thread = threading.Thread(target=self._run, name="eyes", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, ours: socket.socket, server: ServerName, seen: Seen) -> "Eyes":
        """Take the listener that the starting process sends.

        Raises:
            SandboxError: it sent none, for this kernel gives none.
        """
        with ours:
            await readable(ours.fileno(), None)
            _, passed, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if not passed:
            raise SandboxError(
                f"{server} cannot be watched: this kernel does not tell of system calls",
                hint=f"without it: bulkhead blocked {server}, and bulkhead grant {server} --read PATH",
            )
        return cls(passed[0], seen)

    def close(self) -> None:
        """Once the sandbox is gone.  Before that its calls would fail from now on, closed and not open."""
        self._closing.set()
        self._thread.join(END_LIMIT)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        try:
            while not self._closing.is_set():
                events = poll.poll(STEP)
                if any(what & select.POLLIN for _, what in events):
                    notice = receive(self._listener, self._calls)
                    if notice is not None:
                        self._answer(notice)
                elif events:
                    return  # nobody is left whose calls could be told
        finally:
            os.close(self._listener)

    def _answer(self, notice: Notice) -> None:
        told = notice.call
        if isinstance(told, str) and self.collecting:
            self._seen.calls[told] = self._seen.calls.get(told, 0) + 1
            say_no(self._listener, notice, error_of(told, notice.arguments[0]))
            return
        if not isinstance(told, str) and self.collecting:
            self._look(notice, told)
        go_on(self._listener, notice)

    def _look(self, notice: Notice, told: Told) -> None:
        with contextlib.suppress(OSError, ValueError, OverflowError):  # it ended meanwhile, or its path is none
            path, want = asked(notice, told)
            if f"{path}/".startswith(NOISE) or path == "/" or not is_waiting(self._listener, notice):
                return
            if _in_vain(notice.pid, path, want):
                self._seen.note(path, want)


def asked(notice: Notice, told: Told) -> tuple[str, Want]:
    """Which path a call names, from the root of its sandbox, and what it wants of it.

    Raises:
        OSError: its process is gone.
        ValueError: it names none.
    """
    with open(f"/proc/{notice.pid}/mem", "rb", buffering=0) as memory:
        name = _text(memory.fileno(), notice.arguments[told.path])
        flags = _flags(told, notice, memory.fileno())
    if not name:
        raise ValueError("an empty path")
    if not name.startswith("/"):
        folder = notice.arguments[told.folder] & 0xFFFFFFFF if told.folder >= 0 else AT_FDCWD
        place = "cwd" if folder == AT_FDCWD else f"fd/{folder}"
        name = os.path.join(os.readlink(f"/proc/{notice.pid}/{place}"), name)
    if told.form == "look":
        want: Want = "look"
    elif told.form == "change" or flags & (os.O_ACCMODE | os.O_CREAT):
        want = "write"
    else:
        want = "look" if flags & os.O_PATH else "read"
    return os.path.normpath(name), want


def loaded_filters(status: bytes) -> int:
    """How many filters a process has, from what the kernel says of it."""
    _, _, rest = status.partition(FILTERS)
    return int(rest.split(b"\n", 1)[0] or b"0")


def _text(memory: int, address: int) -> str:
    """A string of another process; its pages are read one by one, for the next may not be there."""
    found = b""
    while len(found) < MAX_PATH:
        part = os.pread(memory, 4096 - address % 4096, address)
        if not part:
            break
        text, end, _ = part.partition(b"\0")
        found += text
        if end:
            return os.fsdecode(found)
        address += len(part)
    raise ValueError("a path without an end")


def _flags(told: Told, notice: Notice, memory: int) -> int:
    if told.form == "open":
        return notice.arguments[told.flags]
    if told.form == "how":
        return int(struct.unpack("=Q", os.pread(memory, 8, notice.arguments[told.flags]))[0])
    return 0


def _in_vain(pid: int, path: str, want: Want) -> bool:
    """Whether the sandbox does not show it, or not for that."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        for place in (path, str(Path(path).parent)):
            try:
                found = open_in_root(root, place)
            except FileNotFoundError:
                if want != "write":
                    return True
                continue
            except OSError:
                return False  # it is there, and something else is the matter
            try:
                return want == "write" and bool(os.fstatvfs(found).f_flag & os.ST_RDONLY) and _is_plain(found)
            finally:
                os.close(found)
        return True
    finally:
        os.close(root)


def _is_plain(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
