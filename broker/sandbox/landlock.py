"""Landlock: what a process may do with files and signals, given up by itself before it becomes the server.

For machines that let nobody make namespaces.  It can only allow below what is named, hides nothing, and knows no
address, so it comes with a system-call filter that gives no network at all.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Sequence
from typing import Final

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_QUESTION: Final = 1
LEAST_ABI: Final = (
    6  # Linux 6.12: signals and abstract sockets stay inside; without it every process of the user is open
)

(EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE, MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO,
 MAKE_BLOCK, MAKE_SYM, REFER, TRUNCATE, IOCTL_DEV) = (1 << bit for bit in range(16))  # fmt: skip
EVERYTHING: Final = (1 << 16) - 1
READING: Final = EXECUTE | READ_FILE | READ_DIR
WRITING: Final = EVERYTHING & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)
DEVICE: Final = READ_FILE | WRITE_FILE | IOCTL_DEV
OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
ALL_TCP: Final = 3  # bind and connect
ALL_SCOPES: Final = 3  # abstract sockets and signals
PATH_BENEATH: Final = 1

PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_SECCOMP: Final = 22
MODE_FILTER: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Which version of Landlock the kernel has; 0 for none."""
    return max(0, int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(VERSION_QUESTION))))


def restrict(rules: Sequence[tuple[int, int]], program: bytes) -> None:
    """Give up everything but `rules` (an opened path and what may be done below it), then load the filter `program`.

    There is no way back, not through exec either.

    Raises:
        OSError: the kernel refused; the caller must not go on.
    """
    attributes = struct.pack("QQQ", EVERYTHING, ALL_TCP, ALL_SCOPES)
    ruleset = _call(_libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)))
    for path, access in rules:
        possible = EVERYTHING if stat.S_ISDIR(os.fstat(path).st_mode) else OF_FILES
        rule = struct.pack("=Qi", access & possible, path)
        _call(_libc.syscall(ADD_RULE, ruleset, ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint(0)))
    _no_new_privileges()
    _call(_libc.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint(0)))
    os.close(ruleset)
    load_filter(program)


def load_filter(program: bytes) -> None:
    """Have the kernel answer our system calls by `program` from now on.

    Raises:
        OSError: it does not take it.
    """
    _no_new_privileges()
    instructions = ctypes.create_string_buffer(program, len(program))
    loaded = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    zero = ctypes.c_ulong(0)
    _call(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), loaded, zero, zero))


def _no_new_privileges() -> None:
    zero = ctypes.c_ulong(0)
    _call(_libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero))


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {os.strerror(number)}")
    return int(result)
