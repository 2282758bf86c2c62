"""The system-call filter as bytes, assembled here so that no library is needed.

Everything is allowed that is not refused below: the sandbox's namespaces are the wall, this takes away the tools for
climbing it.  Calls that newer programs try first answer ENOSYS, so that they fall back; the rest answers EPERM.
The filter of another architecture's calls kills.

For a server that is watched there are two filters that refuse the same: `waiting` has each refused call wait for
whoever watches, who says no, and the sandbox's own answers ENOSYS when nobody does.
"""

import errno
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.errors import MachineError
from broker.sandbox.syscalls import ABSENT, CALLS, FORBIDDEN, OUTSIDE

# Instructions and answers of the kernel's classic BPF (linux/bpf_common.h, linux/seccomp.h).
LOAD: Final = 0x20
JUMP_EQUAL: Final = 0x15
JUMP_AT_LEAST: Final = 0x35
JUMP_ANY_BIT: Final = 0x45
MASK: Final = 0x54
RETURN: Final = 0x06
ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
REFUSE: Final = 0x00050000  # plus the errno
TELL: Final = 0x7FC00000  # the call waits for the answer of whoever holds the filter's listener
TRACE: Final = 0x7FF00000  # without a tracer, which nothing here can be: ENOSYS; gives way to all but ALLOW

OFFSET_NUMBER: Final = 0
OFFSET_ARCHITECTURE: Final = 4
OFFSET_ARGUMENTS: Final = 16  # eight bytes each; the low half comes first on both architectures

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT: Final = 0x40000000


AF_UNIX: Final = 1
AF_INET: Final = 2
AF_INET6: Final = 10
AF_NETLINK: Final = 16
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCKET_TYPE: Final = 0xF  # the rest are flags such as SOCK_CLOEXEC
IPPROTO_TCP: Final = 6

NEW_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW* that clone() takes
TIOCSTI: Final = 0x5412
TIOCLINUX: Final = 0x541C
TIOCSETD: Final = 0x5423
PR_SET_PDEATHSIG: Final = 1
SIGKILL: Final = 9
MARKED_LIMIT: Final = 12  # RLIMIT_MSGQUEUE
PERSONALITY_QUERY: Final = 0xFFFFFFFF
FILE_TYPE: Final = 0xF000
CHARACTER_DEVICE: Final = 0x2000
BLOCK_DEVICE: Final = 0x6000


class Answers(NamedTuple):
    """What a filter says to a call that is refused: in general, for a family of sockets, for sockets between processes.

    Programs that only look up a user's name try the last, so it is told to nobody.
    """

    forbidden: bytes
    family: bytes
    unix: bytes


def assemble(machine: str, *, unix_sockets: bool = False, network: bool = True, watched: bool = False) -> bytes:
    """The filter for `machine` (as `platform.machine()` names it), in the form bwrap and the kernel read.

    Without `network` it is the one that goes with Landlock: no sockets at all, and none of the calls that a mount
    would refuse on what is outside of the grants.  `watched`: it lets the filter of `waiting` answer first.

    Raises:
        MachineError: the filter is not known for this architecture.
    """
    if machine not in ARCHITECTURES:
        raise MachineError(
            f"no system-call filter is known for the processor architecture {machine}",
            hint=f"sandboxes work on {' and '.join(ARCHITECTURES)}",
        )
    program = [
        _load(OFFSET_ARCHITECTURE),
        step(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0),
        _answer(KILL),
        _load(OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program += [step(JUMP_AT_LEAST, X32_BIT, 0, 1), _refusal(errno.ENOSYS)]
    plain = Answers(_refusal(errno.EPERM), _refusal(errno.EAFNOSUPPORT), _refusal(errno.EAFNOSUPPORT))
    answers = plain._replace(forbidden=_answer(TRACE), family=_answer(TRACE)) if watched else plain
    forbidden = FORBIDDEN if network else (*FORBIDDEN, *OUTSIDE)
    for names, answer in ((ABSENT, _refusal(errno.ENOSYS)), (forbidden, answers.forbidden)):
        for name in names:
            program += _when_called(machine, name, [answer])
    looked_into = _looked_into(answers, unix_sockets)
    if not network:
        looked_into["socket"] = [_refusal(errno.EAFNOSUPPORT)]
        # By this limit a process is known that outlived its daemon; asking for it changes nothing, and may be refused.
        for name, place in (("setrlimit", 0), ("prlimit64", 1)):
            looked_into[name] = [_argument(place), *_if_any((MARKED_LIMIT,), _refusal(errno.EPERM))]
    for name, body in looked_into.items():
        program += _when_called(machine, name, [*body, _answer(ALLOW)])
    program.append(_answer(ALLOW))
    return b"".join(program)


def waiting(machine: str) -> list[bytes]:
    """Instructions by which each refused call waits, once its number is loaded; they fall through for others."""
    tell = _answer(TELL)
    program: list[bytes] = []
    for name in FORBIDDEN:
        program += _when_called(machine, name, [tell])
    for name, body in _looked_into(Answers(tell, tell, _answer(ALLOW)), unix_sockets=False).items():
        program += _when_called(machine, name, [*body, _answer(ALLOW)])
    return program


def refused(machine: str) -> dict[int, str]:
    """The calls that `waiting` may tell of, by their number."""
    names = (*FORBIDDEN, *_looked_into(Answers(b"", b"", b""), unix_sockets=False))
    numbered = ((CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64, name) for name in names)
    return {number: name for number, name in numbered if number is not None}


def error_of(name: str, first: int) -> int:
    """The errno of a refused call with this first argument, as the plain filter answers it."""
    if name == "socketpair" or (name == "socket" and first & 0xFFFFFFFF not in (AF_INET, AF_INET6, AF_NETLINK)):
        return errno.EAFNOSUPPORT
    return errno.EPERM


def _looked_into(answers: Answers, unix_sockets: bool) -> dict[str, list[bytes]]:
    """Calls whose arguments decide.  A body that does not answer falls through to ALLOW.

    Only the low half of each argument is compared: the kernel itself looks at 32 bits of all of these, so setting
    bits above them changes nothing.
    """
    not_permitted = answers.forbidden
    return {
        "socket": _socket(answers, unix_sockets),
        "socketpair": [_argument(0), step(JUMP_EQUAL, AF_UNIX, 1, 0), answers.family],
        "ioctl": [_argument(1), *_if_any((TIOCSTI, TIOCLINUX, TIOCSETD), not_permitted)],
        "clone": [_argument(0), step(JUMP_ANY_BIT, NEW_NAMESPACES, 0, 1), not_permitted],
        # Without this rule sandboxed code could make bwrap's own process 1 disarm the signal that ends it with us.
        "prctl": [
            _argument(0),
            step(JUMP_EQUAL, PR_SET_PDEATHSIG, 0, 3),
            _argument(1),
            step(JUMP_EQUAL, SIGKILL, 1, 0),
            not_permitted,
        ],
        "personality": [
            _argument(0),
            step(JUMP_EQUAL, 0, 2, 0),
            step(JUMP_EQUAL, PERSONALITY_QUERY, 1, 0),
            not_permitted,
        ],
        "mknod": _no_device(1, not_permitted),
        "mknodat": _no_device(2, not_permitted),
    }


def _socket(answers: Answers, unix_sockets: bool) -> list[bytes]:
    """TCP and UDP, netlink's routing family, nothing else.

    AF_UNIX is off because a read-only mount does not stop connect() to a socket inside a granted folder; AF_VSOCK
    would reach the hypervisor; MPTCP and SCTP escape filters written for TCP.
    """
    allow = _answer(ALLOW)
    return [
        _argument(0),
        step(JUMP_EQUAL, AF_UNIX, 0, 1),
        allow if unix_sockets else answers.unix,
        step(JUMP_EQUAL, AF_NETLINK, 0, 4),
        _argument(2),
        step(JUMP_EQUAL, 0, 0, 1),
        allow,
        answers.forbidden,
        step(JUMP_EQUAL, AF_INET, 1, 0),
        step(JUMP_EQUAL, AF_INET6, 0, 10),
        _argument(1),
        step(MASK, SOCKET_TYPE),
        step(JUMP_EQUAL, SOCK_STREAM, 2, 0),
        step(JUMP_EQUAL, SOCK_DGRAM, 0, 5),
        allow,
        _argument(2),
        step(JUMP_EQUAL, 0, 1, 0),
        step(JUMP_EQUAL, IPPROTO_TCP, 0, 1),
        allow,
        answers.forbidden,
        answers.family,
    ]


def _no_device(mode_argument: int, answer: bytes) -> list[bytes]:
    return [
        _argument(mode_argument),
        step(MASK, FILE_TYPE),
        *_if_any((CHARACTER_DEVICE, BLOCK_DEVICE), answer),
    ]


def _if_any(values: Sequence[int], answer: bytes) -> list[bytes]:
    """Give `answer` when the loaded word is one of `values`."""
    last = len(values) - 1
    tests = [step(JUMP_EQUAL, value, last - place, 0 if place < last else 1) for place, value in enumerate(values)]
    return [*tests, answer]


def _when_called(machine: str, name: str, body: list[bytes]) -> list[bytes]:
    """Run `body`, which must answer, for one system call; nothing where the machine does not have it."""
    number = CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64
    if number is None:
        return []
    return [step(JUMP_EQUAL, number, 0, len(body)), *body]


def _argument(place: int) -> bytes:
    return _load(OFFSET_ARGUMENTS + 8 * place)


def _load(offset: int) -> bytes:
    return step(LOAD, offset)


def _answer(value: int) -> bytes:
    return step(RETURN, value)


def _refusal(number: int) -> bytes:
    return _answer(REFUSE | number)


def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: what to do, with which value, and how many to leave out after a test."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
