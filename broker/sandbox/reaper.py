"""What the supervisor process does: start, reap, and never let anything outlive it or the daemon.

Nothing here runs in the daemon.  There is one thread and no event loop, so that a child between fork and exec finds
no lock held and no thread missing.
"""

import contextlib
import fcntl
import json
import os
import platform
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from broker.sandbox import notices
from broker.sandbox.kernel import adopt_orphans, arm_parent_death, hide_memory, memory_file
from broker.sandbox.landlock import READING, restrict
from broker.sandbox.netns import send_connection, send_listeners

SPAWN, LISTEN, REACH = b"spawn", b"listen", b"reach"
"""What can be asked for.  Descriptors come along: the request's own words first."""
INSIDE: Final = {LISTEN: send_listeners, REACH: send_connection}
"""What is done by a fork that enters the network of a sandbox."""
MAX_ANSWER: Final = 4096
MAX_REQUEST: Final = 8 << 20  # one execve takes 2 MiB, and JSON writes a byte with at most six
MAX_PASSED: Final = 253  # SCM_MAX_FD
MAX_OPEN: Final = 65_536  # one descriptor per sandbox and what one message carries
GATE: Final = 3
MAX_FILTER: Final = 64 * 1024  # the kernel takes 4096 instructions of 8 bytes
STATUS: Final = struct.Struct("=i")
MAX_PROGRAM: Final = 64 << 20  # bwrap has 70 KiB
ELF: Final = b"\x7fELF"  # the kernel cannot run a script from a descriptor that is closed by running it
KILL_PAUSE: Final = 0.005
CANNOT_START: Final = 127


@dataclass(frozen=True, slots=True)
class Begun:
    """A process we started: the pipe that takes its status, and the file that must be written before it can be killed
    while it is held still (empty: none)."""

    told: int
    thawing: str = ""


def supervise(channel: int, daemon: int) -> NoReturn:
    """Serve requests from `channel` until it ends or `daemon` dies; then kill everything and exit."""
    started: dict[int, Begun] = {}
    try:
        wakeups = _settle(channel)
        if os.getppid() == daemon:
            _serve(socket.socket(fileno=channel), wakeups, daemon, started)
    except BaseException:  # noqa: BLE001 - the top of this process: it reports and ends, with everything it started
        traceback.print_exc(file=sys.stderr)
    finally:
        _end_everything(started)
        os._exit(0)


def _settle(channel: int) -> int:
    """Leave the daemon's terminal, descriptors and signals behind; answer the descriptor that wakes us."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what servers are given passes through here
    hide_memory()
    adopt_orphans()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    _close_all_but({0, 1, 2, channel})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_at_most(MAX_OPEN, hard), hard))
    wakeups, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    # A service manager's SIGTERM to the whole group is the daemon's to obey, in its own order.  Ours, from the kernel
    # at the daemon's death, only wakes us to look.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    arm_parent_death(signal.SIGTERM)
    return wakeups


def _serve(channel: socket.socket, wakeups: int, daemon: int, started: dict[int, Begun]) -> None:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wakeups, select.POLLIN)
    while os.getppid() == daemon:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wakeups in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeups, 4096)
        _reap(started)
        if channel.fileno() in ready and not _answer_one(channel, started):
            return


def _answer_one(channel: socket.socket, started: dict[int, Begun]) -> bool:
    """Take one request and answer it; False when the daemon is gone."""
    message, passed, _, _ = socket.recv_fds(channel, 64, MAX_PASSED, socket.MSG_CMSG_CLOEXEC)
    if not message:
        return False
    answered: list[int] = []
    try:
        try:
            if message in INSIDE:
                _inside(INSIDE[message], channel, passed)
                return True
            pid, status = _start(passed, started)
            answered = [os.pidfd_open(pid), status]
            reply: dict[str, object] = {"pid": pid}
        except (OSError, ValueError, KeyError) as cause:
            reply = {"error": f"{type(cause).__name__}: {cause}"[:500]}
        try:
            socket.send_fds(channel, [json.dumps(reply).encode()], answered)
        except OSError:
            return False
    finally:
        for descriptor in (*passed, *answered):
            os.close(descriptor)
    return True


def _request(body: int) -> Any:
    with os.fdopen(os.dup(body), "rb") as file:
        data = file.read(MAX_REQUEST + 1)
    if len(data) > MAX_REQUEST:
        raise ValueError("the request is too large")
    return json.loads(data)


def _inside(work: Callable[[int, int, Sequence[int]], None], channel: socket.socket, passed: Sequence[int]) -> None:
    """Fork, and let the child answer from inside the sandbox's network.  It ends in seconds, whatever happens.

    Raises:
        OSError: it could not, in its words.
    """
    body, namespace = passed
    ports = [int(port) for port in _request(body)["ports"]]
    said, saying = os.pipe2(os.O_CLOEXEC)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            arm_parent_death(signal.SIGKILL)
            if os.getppid() == supervisor:
                work(channel.fileno(), namespace, ports)
                os._exit(0)
        except BaseException as cause:  # noqa: BLE001 - nothing may run on in a forked copy of the supervisor
            os.write(saying, str(cause).encode()[:500])
        finally:
            os._exit(CANNOT_START)
    os.close(saying)
    try:
        _, status = os.waitpid(child, 0)
        if status:
            raise OSError(os.read(said, 500).decode(errors="replace") or f"it ended with status {status}")
    finally:
        os.close(said)


def _start(passed: Sequence[int], started: dict[int, Begun]) -> tuple[int, int]:
    """Fork and execute; the new process and the pipe its status will come through."""
    body, *descriptors = passed
    request = _request(body)
    status, told = os.pipe2(os.O_CLOEXEC)
    supervisor = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(status)
        os.close(told)
        raise
    if pid == 0:
        _become(request, descriptors, supervisor)
    started[pid] = Begun(told, request.get("thawing", ""))
    return pid, status


def _become(request: dict[str, Any], descriptors: Sequence[int], supervisor: int) -> NoReturn:
    """In the child: turn into the requested program, with exactly these descriptors and nothing else of ours."""
    try:
        arm_parent_death(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(CANNOT_START)
        signal.set_wakeup_fd(-1)
        for entry in request.get("groups", ()):
            with open(entry, "wb", buffering=0) as group:
                group.write(b"0")  # whoever writes; all that it starts is in there with it
        for sort in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(sort, signal.SIG_DFL)  # Python ignores SIGPIPE, and exec would keep that
        above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, MAX_PASSED) for descriptor in descriptors]
        for number, descriptor in enumerate(above):
            os.dup2(descriptor, number)
        _close_all_but(set(range(len(descriptors))))
        for kind, limit in request["rlimits"]:
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (_at_most(limit, hard), _at_most(limit, hard)))
        os.umask(0o022)
        os.chdir(request.get("cwd", "/"))
        if (rules := request.get("landlock")) is not None:
            _shut_in(rules)
        program = _beyond_reach(request["argv"][0])
        if request.get("watched"):
            _be_watched(len(descriptors) - 1)
        os.execve(program, request["argv"], request["env"])  # noqa: S606 - no shell
    except BaseException as cause:  # noqa: BLE001 - nothing may run on in a forked copy of the supervisor
        os.write(2, f"{request['argv'][0]}: {cause}\n".encode(errors="replace"))
    finally:
        os._exit(CANNOT_START)


def _beyond_reach(program: str) -> str | int:
    """What to execute for `program`: a nameless copy of it where its file belongs to the user.

    What runs as process 1 of a sandbox can be reached from inside as /proc/1/exe, outside of every mount that was made
    read-only, and whoever owns a file can change its mode.
    """
    with open(program, "rb") as file:
        if os.getuid() == 0 or os.fstat(file.fileno()).st_uid != os.getuid():
            return program
        data = file.read(MAX_PROGRAM)
    return memory_file("bwrap", data) if data.startswith(ELF) else program


def _be_watched(channel: int) -> None:
    """Have every call that names a path told from here on; nothing of ours may name one any more."""
    machine = platform.machine()
    program = notices.telling(machine)
    with socket.socket(fileno=channel) as away:
        listener = notices.load(machine, program)
        socket.send_fds(away, [b"w"], [listener])
    os.close(listener)


def _shut_in(rules: Sequence[int]) -> None:
    """Behind Landlock, for good: each rule's path is a descriptor, after the gate and the filter."""
    above = range(GATE + 2, GATE + 2 + len(rules))
    own = os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)  # what this is, only the process itself can say
    restrict([*zip(above, rules, strict=True), (own, READING)], os.read(GATE + 1, MAX_FILTER))
    for descriptor in (GATE + 1, *above):
        os.close(descriptor)


def _reap(started: dict[int, Begun]) -> None:
    """Collect the dead and pass their status on; kill whatever a dead sandbox left to us."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if (begun := started.pop(pid, None)) is None:
            continue
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(begun.told, STATUS.pack(status))
        os.close(begun.told)
        # A child we did not start was adopted: the rest of a sandbox whose outer process died.
        for orphan in _children() - set(started):
            _kill(orphan)


def _end_everything(started: dict[int, Begun]) -> None:
    while True:
        for begun in started.values():
            with contextlib.suppress(OSError), open(begun.thawing or os.devnull, "wb", buffering=0) as file:
                file.write(b"THAWED")
        for pid in _children() | set(started):
            _kill(pid)
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(KILL_PAUSE)
        else:
            started.pop(pid, None)


def _children() -> set[int]:
    """Our direct children, by the kernel's own list; where it keeps none, only those we started are known."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return {int(word) for word in file.read().split()}
    except OSError:
        return set()


def _kill(child: int) -> None:
    """Our own child's number is not given away before we reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def _at_most(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)
