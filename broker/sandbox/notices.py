"""What the kernel tells of calls that name a path or are refused: the filter that asks it to, and its notices.

Whoever loads the filter gives a descriptor away, through which each such call is told before it is done.  It changes
nothing about what may be done: a path's notice is answered with "go on", and the walls decide as before; a refused
call's with the same "no" that the sandbox's own filter has.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Mapping
from fcntl import ioctl
from typing import Final, Literal, NamedTuple, TypeAlias

from broker.errors import MachineError
from broker.sandbox.seccomp import (
    ALLOW,
    ARCHITECTURES,
    JUMP_EQUAL,
    LOAD,
    OFFSET_ARCHITECTURE,
    OFFSET_NUMBER,
    RETURN,
    TELL,
    refused,
    step,
    waiting,
)

SECCOMP_CALL: Final = {"x86_64": 317, "aarch64": 277}
SET_FILTER: Final = 1
NEW_LISTENER: Final = 1 << 3
WAIT_KILLABLE: Final = 1 << 5  # a signal does not break off what is being told; since Linux 5.19
PR_SET_NO_NEW_PRIVS: Final = 38

NOTICE: Final = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, call, architecture, where, arguments
ANSWER: Final = struct.Struct("=QqiI")
RECEIVE: Final = 0xC0502100
SEND: Final = 0xC0182101
STILL_THERE: Final = 0x40082102
GO_ON: Final = 1

Form: TypeAlias = Literal["look", "open", "how", "change"]
"""What a call wants of its path: to know of it, what its flags say, what its `open_how` says, to change it."""


class Told(NamedTuple):
    """One call: its number on each architecture, where its arguments hold the folder (-1: none), path and flags."""

    x86_64: int | None
    aarch64: int | None
    folder: int
    path: int
    form: Form
    flags: int = -1


CALLS: Final = (
    Told(2, None, -1, 0, "open", 1),
    Told(257, 56, 0, 1, "open", 2),
    Told(437, 437, 0, 1, "how", 2),
    Told(85, None, -1, 0, "change"),
    *(Told(number, None, -1, 0, "look") for number in (4, 6, 21)),
    Told(262, 79, 0, 1, "look"),
    Told(332, 291, 0, 1, "look"),
    Told(269, 48, 0, 1, "look"),
    Told(439, 439, 0, 1, "look"),
    *(Told(number, None, -1, 0, "change") for number in (82, 83, 84, 87)),
    Told(258, 34, 0, 1, "change"),
    Told(263, 35, 0, 1, "change"),
    Told(264, 38, 0, 1, "change"),
    Told(316, 276, 0, 1, "change"),
)
"""open, openat, openat2, creat; stat, lstat, access, newfstatat, statx, faccessat(2); rename, mkdir, rmdir, unlink, and
what takes a folder of them."""


class Notice(NamedTuple):
    """A call that waits for its answer."""

    id: int
    pid: int
    call: Told | str
    """How it names its path; or the name of a call that is refused."""
    arguments: tuple[int, ...]


def of_machine(machine: str) -> dict[int, Told | str]:
    """Every call that is told, by its number."""
    if machine not in ARCHITECTURES:
        raise MachineError(f"a server cannot be watched on the processor architecture {machine}")
    return {**_paths(machine), **refused(machine)}


def telling(machine: str) -> bytes:
    """The filter.  Calls of another architecture are killed by the sandbox's own."""
    program = [step(LOAD, OFFSET_ARCHITECTURE), step(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0), step(RETURN, ALLOW)]
    program.append(step(LOAD, OFFSET_NUMBER))
    for number in _paths(machine):
        program += [step(JUMP_EQUAL, number, 0, 1), step(RETURN, TELL)]
    return b"".join([*program, *waiting(machine), step(RETURN, ALLOW)])


def load(machine: str, program: bytes) -> int:
    """Have our own calls told from now on, and those of all we become; the descriptor through which they are.

    Raises:
        OSError: this kernel does not do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    libc.prctl(ctypes.c_int(PR_SET_NO_NEW_PRIVS), ctypes.c_ulong(1), zero, zero, zero)
    instructions = ctypes.create_string_buffer(program, len(program))
    loaded = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    for more in (WAIT_KILLABLE, 0):
        found = libc.syscall(
            ctypes.c_long(SECCOMP_CALL[machine]), ctypes.c_uint(SET_FILTER), ctypes.c_uint(NEW_LISTENER | more), loaded
        )
        if found >= 0:
            return int(found)
        if ctypes.get_errno() != errno.EINVAL:
            break
    raise OSError(ctypes.get_errno(), f"calls cannot be watched here: {os.strerror(ctypes.get_errno())}")


def receive(listener: int, calls: Mapping[int, Told | str]) -> Notice | None:
    """The next call; None if whoever made it is gone."""
    room = bytearray(NOTICE.size)
    try:
        ioctl(listener, RECEIVE, room)
    except OSError as cause:
        if cause.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, pid, _, call, _, _, *arguments = NOTICE.unpack(room)
    return Notice(number, pid, calls[call], tuple(arguments))


def is_waiting(listener: int, notice: Notice) -> bool:
    """Whether its process still waits: only then is what was read about that pid about this process."""
    try:
        ioctl(listener, STILL_THERE, struct.pack("=Q", notice.id))
    except OSError:
        return False
    return True


def go_on(listener: int, notice: Notice) -> None:
    """Let it be done, or refused, as if nobody had looked."""
    _answer(listener, ANSWER.pack(notice.id, 0, 0, GO_ON))


def say_no(listener: int, notice: Notice, error: int) -> None:
    """Have it fail with this errno."""
    _answer(listener, ANSWER.pack(notice.id, 0, -error, 0))


def _paths(machine: str) -> dict[int, Told]:
    numbered = ((told.x86_64 if machine == "x86_64" else told.aarch64, told) for told in CALLS)
    return {number: told for number, told in numbered if number is not None}


def _answer(listener: int, words: bytes) -> None:
    try:
        ioctl(listener, SEND, words)
    except OSError as cause:
        if cause.errno not in (errno.ENOENT, errno.EINPROGRESS):
            raise
