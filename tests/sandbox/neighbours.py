"""What one live sandbox tries on another: with `neighbour` as its argument it is the one that is attacked.

The neighbour puts up everything that two programs of one user could share, says READY and waits; the attacker is told
all of it, and tries each.
"""

import ctypes
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sandbox import inside
from tests.sandbox.inside import LIBC, Attempt, call, command_of, reads, says_hello

ATTEMPTS: dict[str, Attempt] = {}
CONTROLS: dict[str, Attempt] = {}

Facts = dict[str, Any]

SECRET = "the-secret-of-the-neighbour"
MARK = "bulkhead-neighbour"
KEY = 0x42_49
PORT, PORT_OF_DATAGRAMS = 23_411, 23_412  # below those the kernel gives to whoever dials
CREATE, REMOVE = 0o1000, 0


def attempt(what: str) -> Callable[[Attempt], Attempt]:
    return lambda function: ATTEMPTS.setdefault(what, function)


def places() -> tuple[Path, ...]:
    """What both would find at the same path, if it were the same folder."""
    return tuple(Path(folder, MARK) for folder in (os.environ["HOME"], "/tmp", "/dev/shm", "/var/tmp", "/run"))


def be_a_neighbour() -> None:
    for place in places():
        try:
            place.write_text(SECRET)
        except OSError:
            continue
    memory = LIBC.shmget(KEY, 4096, CREATE | 0o666)
    semaphores = LIBC.semget(KEY, 1, CREATE | 0o666)
    messages = LIBC.msgget(KEY, CREATE | 0o666)
    queues = ctypes.CDLL("librt.so.1")
    queues.mq_open(f"/{MARK}".encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
    try:
        call(248, 217, b"user", MARK.encode(), SECRET.encode(), len(SECRET), -4)
    except OSError:
        pass
    listener = socket.create_server(("0.0.0.0", PORT))
    echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo.bind(("0.0.0.0", PORT_OF_DATAGRAMS))
    threading.Thread(target=_answer, args=(echo,), daemon=True).start()
    try:
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0{MARK}")
        abstract.listen()
    except OSError:
        abstract = listener  # no such sockets here
    print("READY", flush=True)
    sys.stdin.read()
    for one in (listener, echo, abstract):
        one.close()
    for place in places():
        place.unlink(missing_ok=True)
    LIBC.shmctl(memory, REMOVE, None)
    LIBC.semctl(semaphores, 0, REMOVE)
    LIBC.msgctl(messages, REMOVE, None)
    queues.mq_unlink(f"/{MARK}".encode())


def _answer(echo: socket.socket) -> None:
    while True:
        data, sender = echo.recvfrom(512)
        echo.sendto(data, sender)


# ---- files


@attempt("read what a neighbour left at a shared path")
def _(facts: Facts) -> object:
    return [str(place) for place in places() if place.exists() and reads(place)]


@attempt("find what a neighbour left in /tmp")
def _(facts: Facts) -> object:
    return [name for folder in ("/tmp", "/dev/shm", "/run") for name in os.listdir(folder) if MARK in name]


# ---- processes


@attempt("see a neighbour's processes")
def _(facts: Facts) -> object:
    own = {str(os.getpid()), str(os.getppid())}
    pids = (name for name in os.listdir("/proc") if name.isdigit() and name not in own)
    return [pid for pid in pids if b"neighbours" in command_of(pid)]


@attempt("read a neighbour's environment")
def _(facts: Facts) -> object:
    return [pid for pid in facts["pids"] if reads(f"/proc/{pid}/environ")]


@attempt("look through a neighbour's root")
def _(facts: Facts) -> object:
    return [pid for pid in facts["pids"] if os.listdir(f"/proc/{pid}/root")]


@attempt("signal a neighbour")
def _(facts: Facts) -> object:
    for pid in facts["pids"]:
        os.kill(pid, 0)
    return True


@attempt("end a neighbour and all of its group")
def _(facts: Facts) -> object:
    if facts["bare"]:
        os.killpg(os.getpgid(facts["pids"][0]), 0)
        return True
    for pid in facts["pids"]:
        os.killpg(pid, signal.SIGKILL)
    return True


@attempt("hold a neighbour by a descriptor")
def _(facts: Facts) -> object:
    return [pid for pid in facts["pids"] if os.pidfd_open(pid) >= 0]


@attempt("trace a neighbour")
def _(facts: Facts) -> object:
    traced = call(101, 117, 0x4206, facts["pids"][0], 0, 0) == 0  # PTRACE_SEIZE does not stop it
    call(101, 117, 17, facts["pids"][0], 0, 0)
    return traced


@attempt("read a neighbour's memory")
def _(facts: Facts) -> object:
    return os.open(f"/proc/{facts['pids'][0]}/mem", os.O_RDONLY) >= 0


@attempt("enter a neighbour's namespaces")
def _(facts: Facts) -> object:
    return os.open(f"/proc/{facts['pids'][0]}/ns/net", os.O_RDONLY) >= 0


@attempt("learn a neighbour's user or wait for its end")
def _(facts: Facts) -> object:
    return os.stat(f"/proc/{facts['pids'][0]}").st_uid


@attempt("slow a neighbour down")
def _(facts: Facts) -> object:
    os.setpriority(os.PRIO_PROCESS, facts["pids"][0], os.getpriority(os.PRIO_PROCESS, facts["pids"][0]))
    return True


@attempt("limit a neighbour")
def _(facts: Facts) -> object:
    import resource

    return resource.prlimit(facts["pids"][0], resource.RLIMIT_NOFILE)


# ---- what the kernel keeps for a user


@attempt("attach a neighbour's SysV shared memory")
def _(facts: Facts) -> object:
    return LIBC.shmget(KEY, 0, 0) >= 0


@attempt("use a neighbour's semaphores")
def _(facts: Facts) -> object:
    return LIBC.semget(KEY, 1, 0) >= 0


@attempt("read a neighbour's SysV messages")
def _(facts: Facts) -> object:
    return LIBC.msgget(KEY, 0) >= 0


@attempt("open a neighbour's message queue")
def _(facts: Facts) -> object:
    return call(240, 180, MARK.encode(), 0, 0, 0) >= 0


@attempt("list what the kernel shares between processes")
def _(facts: Facts) -> object:
    return [name for name in ("shm", "sem", "msg") if len(Path("/proc/sysvipc", name).read_text().splitlines()) > 1]


@attempt("find a neighbour's key")
def _(facts: Facts) -> object:
    try:
        return call(250, 219, 10, -4, b"user", MARK.encode(), 0) > 0
    except OSError:
        return MARK in Path("/proc/keys").read_text()


# ---- network


@attempt("connect to a neighbour's port")
def _(facts: Facts) -> object:
    return says_hello("127.0.0.1", PORT)


@attempt("send a datagram to a neighbour")
def _(facts: Facts) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.sendto(b"hello", ("127.0.0.1", PORT_OF_DATAGRAMS))
        return one.recv(10)


@attempt("keep a neighbour's port from it")
def _(facts: Facts) -> object:
    """Where it is the same network, the port is taken; here it must be free."""
    try:
        with socket.create_server(("0.0.0.0", PORT)):
            return False
    except OSError as refusal:
        return refusal.errno == errno.EADDRINUSE


@attempt("connect to a neighbour's abstract socket")
def _(facts: Facts) -> object:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(f"\0{MARK}")
    return True


@attempt("see a neighbour's connections")
def _(facts: Facts) -> object:
    return f":{PORT:04X} " in Path("/proc/net/tcp").read_text()


@attempt("share a namespace with a neighbour")
def _(facts: Facts) -> object:
    ours = {kind: os.stat(f"/proc/self/ns/{kind}").st_ino for kind in facts["namespaces"]}
    return [kind for kind, number in facts["namespaces"].items() if ours[kind] == number]


if __name__ == "__main__":
    if sys.argv[1:] == ["neighbour"]:
        be_a_neighbour()
    else:
        inside.run(ATTEMPTS, CONTROLS)
