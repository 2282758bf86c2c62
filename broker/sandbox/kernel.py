"""The few Linux calls the standard library lacks.  Thin, and each says what it failed at."""

import ctypes
import os
import struct

OPENAT2 = 437  # the same number on every architecture
AT_FDCWD = -100
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def open_without_links(path: os.PathLike[str] | str) -> int:
    """A descriptor that only names `path`; refuses (ELOOP) a symbolic link anywhere in it.

    What is mounted is then what was opened, however the path changes meanwhile.
    """
    return _named(AT_FDCWD, path, RESOLVE_NO_SYMLINKS)


def open_in_root(root: int, path: os.PathLike[str] | str) -> int:
    """A descriptor that only names what `path` is to a process whose root is `root`: no link leads out of there."""
    return _named(root, path, RESOLVE_IN_ROOT)


def _named(folder: int, path: os.PathLike[str] | str, resolve: int) -> int:
    how = struct.pack("QQQ", os.O_PATH | os.O_CLOEXEC, 0, resolve)
    descriptor = int(
        _libc.syscall(ctypes.c_long(OPENAT2), ctypes.c_int(folder), os.fsencode(path), how, ctypes.c_size_t(len(how)))
    )
    if descriptor < 0:
        raise _failure(os.fspath(path))
    return descriptor


def arm_parent_death(signal_number: int) -> None:
    """Have the kernel send us `signal_number` when the thread that started us ends.

    The caller must compare `os.getppid()` afterwards: a parent that is gone already sends nothing.
    """
    _prctl(PR_SET_PDEATHSIG, int(signal_number))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Keep other processes of this user from reading our memory and environment, and a crash from writing it down.

    Programs we start are not hidden by it: the kernel takes it back at `exec`.
    """
    _prctl(PR_SET_DUMPABLE, 0)


def enter_namespace(descriptor: int, kind: int) -> None:
    """Become part of a namespace of this kind; there is no way back."""
    if _libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)) != 0:
        raise _failure("setns")


def memory_file(name: str, data: bytes) -> int:
    """A descriptor of a nameless file holding `data`, ready to be read from its start."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        raise _failure("prctl")


def _failure(about: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), about)
