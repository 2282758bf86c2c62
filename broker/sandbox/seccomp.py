"""The system-call filter as bytes, assembled here so that no library is needed.

Everything is allowed that is not refused below: the sandbox's namespaces are the wall, this takes away the tools for
climbing it.  Calls that newer programs try first answer ENOSYS, so that they fall back; the rest answers EPERM.
The filter of another architecture's calls kills.
"""

import errno
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.errors import MachineError

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

OFFSET_NUMBER: Final = 0
OFFSET_ARCHITECTURE: Final = 4
OFFSET_ARGUMENTS: Final = 16  # eight bytes each; the low half comes first on both architectures

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT: Final = 0x40000000


class Numbers(NamedTuple):
    """A call's number on each architecture; None where it does not exist."""

    x86_64: int | None
    aarch64: int | None


CALLS: Final = {
    "_sysctl": Numbers(156, None),
    "acct": Numbers(163, 89),
    "add_key": Numbers(248, 217),
    "adjtimex": Numbers(159, 171),
    "bpf": Numbers(321, 280),
    "chmod": Numbers(90, None),
    "chown": Numbers(92, None),
    "chroot": Numbers(161, 51),
    "clock_adjtime": Numbers(305, 266),
    "clock_settime": Numbers(227, 112),
    "clone": Numbers(56, 220),
    "clone3": Numbers(435, 435),
    "delete_module": Numbers(176, 106),
    "fanotify_init": Numbers(300, 262),
    "fchmod": Numbers(91, 52),
    "fchmodat": Numbers(268, 53),
    "fchmodat2": Numbers(452, 452),
    "fchown": Numbers(93, 55),
    "fchownat": Numbers(260, 54),
    "file_setattr": Numbers(469, 469),
    "finit_module": Numbers(313, 273),
    "fremovexattr": Numbers(199, 16),
    "fsconfig": Numbers(431, 431),
    "fsmount": Numbers(432, 432),
    "fsopen": Numbers(430, 430),
    "fsetxattr": Numbers(190, 7),
    "fspick": Numbers(433, 433),
    "futimesat": Numbers(261, None),
    "get_mempolicy": Numbers(239, 236),
    "init_module": Numbers(175, 105),
    "io_uring_enter": Numbers(426, 426),
    "io_uring_register": Numbers(427, 427),
    "io_uring_setup": Numbers(425, 425),
    "ioctl": Numbers(16, 29),
    "ioperm": Numbers(173, None),
    "iopl": Numbers(172, None),
    "kcmp": Numbers(312, 272),
    "kexec_file_load": Numbers(320, 294),
    "kexec_load": Numbers(246, 104),
    "keyctl": Numbers(250, 219),
    "lchown": Numbers(94, None),
    "listmount": Numbers(458, 458),
    "listns": Numbers(470, 470),
    "lookup_dcookie": Numbers(212, 18),
    "lremovexattr": Numbers(198, 15),
    "lsetxattr": Numbers(189, 6),
    "mbind": Numbers(237, 235),
    "memfd_secret": Numbers(447, 447),
    "migrate_pages": Numbers(256, 238),
    "mknod": Numbers(133, None),
    "mknodat": Numbers(259, 33),
    "modify_ldt": Numbers(154, None),
    "mount": Numbers(165, 40),
    "mount_setattr": Numbers(442, 442),
    "move_mount": Numbers(429, 429),
    "move_pages": Numbers(279, 239),
    "mq_open": Numbers(240, 180),
    "mq_unlink": Numbers(241, 181),
    "msgget": Numbers(68, 186),
    "name_to_handle_at": Numbers(303, 264),
    "nfsservctl": Numbers(180, 42),
    "open_by_handle_at": Numbers(304, 265),
    "open_tree": Numbers(428, 428),
    "open_tree_attr": Numbers(467, 467),
    "perf_event_open": Numbers(298, 241),
    "personality": Numbers(135, 92),
    "pidfd_getfd": Numbers(438, 438),
    "pivot_root": Numbers(155, 41),
    "prctl": Numbers(157, 167),
    "process_vm_readv": Numbers(310, 270),
    "process_vm_writev": Numbers(311, 271),
    "prlimit64": Numbers(302, 261),
    "ptrace": Numbers(101, 117),
    "quotactl": Numbers(179, 60),
    "quotactl_fd": Numbers(443, 443),
    "reboot": Numbers(169, 142),
    "removexattr": Numbers(197, 14),
    "removexattrat": Numbers(466, 466),
    "request_key": Numbers(249, 218),
    "semget": Numbers(64, 190),
    "set_mempolicy": Numbers(238, 237),
    "set_mempolicy_home_node": Numbers(450, 450),
    "setdomainname": Numbers(171, 162),
    "sethostname": Numbers(170, 161),
    "setrlimit": Numbers(160, 164),
    "setns": Numbers(308, 268),
    "settimeofday": Numbers(164, 170),
    "setxattr": Numbers(188, 5),
    "setxattrat": Numbers(463, 463),
    "shmget": Numbers(29, 194),
    "socket": Numbers(41, 198),
    "socketpair": Numbers(53, 199),
    "statmount": Numbers(457, 457),
    "swapoff": Numbers(168, 225),
    "swapon": Numbers(167, 224),
    "sysfs": Numbers(139, None),
    "syslog": Numbers(103, 116),
    "umount2": Numbers(166, 39),
    "unshare": Numbers(272, 97),
    "uselib": Numbers(134, None),
    "userfaultfd": Numbers(323, 282),
    "ustat": Numbers(136, None),
    "utime": Numbers(132, None),
    "utimensat": Numbers(280, 88),
    "utimes": Numbers(235, None),
    "vhangup": Numbers(153, 58),
}

ABSENT: Final = (
    "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "open_tree_attr", "listmount", "listns", "statmount", "quotactl_fd",
    "memfd_secret",
    "set_mempolicy_home_node",
)  # fmt: skip
"""Answered ENOSYS: glibc and libuv then use the older call, which the filter can look into."""

FORBIDDEN: Final = (
    # other processes' memory, descriptors and keys
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "add_key", "request_key", "keyctl",
    # mounts and namespaces
    "mount", "umount2", "pivot_root", "chroot", "setns", "unshare",
    # the machine itself
    "swapon", "swapoff", "reboot", "sethostname", "setdomainname", "init_module", "finit_module", "delete_module",
    "kexec_load", "kexec_file_load", "acct", "quotactl", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "syslog", "iopl", "ioperm", "modify_ldt", "vhangup", "uselib", "_sysctl", "sysfs", "ustat", "nfsservctl",
    # corners of the kernel that servers do not need and exploits do
    "move_pages", "migrate_pages", "mbind", "set_mempolicy", "get_mempolicy", "lookup_dcookie", "fanotify_init",
    "open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open", "userfaultfd",
    # memory that belongs to no process and no file, so that no limit could count it
    "shmget",
)  # fmt: skip

OUTSIDE: Final = (
    # Landlock does not look at these: they change any file of the user, or reach what others share
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
    "futimesat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat", "semget", "msgget", "mq_open", "mq_unlink", "file_setattr",
)  # fmt: skip

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


def assemble(machine: str, *, unix_sockets: bool = False, network: bool = True) -> bytes:
    """The filter for `machine` (as `platform.machine()` names it), in the form bwrap and the kernel read.

    Without `network` it is the one that goes with Landlock: no sockets at all, and none of the calls that a mount
    would refuse on what is outside of the grants.

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
        _step(JUMP_EQUAL, ARCHITECTURES[machine], 1, 0),
        _answer(KILL),
        _load(OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program += [_step(JUMP_AT_LEAST, X32_BIT, 0, 1), _refusal(errno.ENOSYS)]
    forbidden = FORBIDDEN if network else (*FORBIDDEN, *OUTSIDE)
    for names, answer in ((ABSENT, errno.ENOSYS), (forbidden, errno.EPERM)):
        for name in names:
            program += _when_called(machine, name, [_refusal(answer)])
    looked_into = _looked_into(unix_sockets)
    if not network:
        looked_into["socket"] = [_refusal(errno.EAFNOSUPPORT)]
        # By this limit a process is known that outlived its daemon; asking for it changes nothing, and may be refused.
        for name, place in (("setrlimit", 0), ("prlimit64", 1)):
            looked_into[name] = [_argument(place), *_if_any((MARKED_LIMIT,), _refusal(errno.EPERM))]
    for name, body in looked_into.items():
        program += _when_called(machine, name, [*body, _answer(ALLOW)])
    program.append(_answer(ALLOW))
    return b"".join(program)


def _looked_into(unix_sockets: bool) -> dict[str, list[bytes]]:
    """Calls whose arguments decide.  A body that does not answer falls through to ALLOW.

    Only the low half of each argument is compared: the kernel itself looks at 32 bits of all of these, so setting
    bits above them changes nothing.
    """
    not_permitted = _refusal(errno.EPERM)
    return {
        "socket": _socket(unix_sockets),
        "socketpair": [_argument(0), _step(JUMP_EQUAL, AF_UNIX, 1, 0), _refusal(errno.EAFNOSUPPORT)],
        "ioctl": [_argument(1), *_if_any((TIOCSTI, TIOCLINUX, TIOCSETD), not_permitted)],
        "clone": [_argument(0), _step(JUMP_ANY_BIT, NEW_NAMESPACES, 0, 1), not_permitted],
        # Without this rule sandboxed code could make bwrap's own process 1 disarm the signal that ends it with us.
        "prctl": [
            _argument(0),
            _step(JUMP_EQUAL, PR_SET_PDEATHSIG, 0, 3),
            _argument(1),
            _step(JUMP_EQUAL, SIGKILL, 1, 0),
            not_permitted,
        ],
        "personality": [
            _argument(0),
            _step(JUMP_EQUAL, 0, 2, 0),
            _step(JUMP_EQUAL, PERSONALITY_QUERY, 1, 0),
            not_permitted,
        ],
        "mknod": _no_device(1),
        "mknodat": _no_device(2),
    }


def _socket(unix_sockets: bool) -> list[bytes]:
    """TCP and UDP, netlink's routing family, nothing else.

    AF_UNIX is off because a read-only mount does not stop connect() to a socket inside a granted folder; AF_VSOCK
    would reach the hypervisor; MPTCP and SCTP escape filters written for TCP.
    """
    allow = _answer(ALLOW)
    body = [_argument(0)]
    if unix_sockets:
        body += [_step(JUMP_EQUAL, AF_UNIX, 0, 1), allow]
    return [
        *body,
        _step(JUMP_EQUAL, AF_NETLINK, 0, 4),
        _argument(2),
        _step(JUMP_EQUAL, 0, 0, 1),
        allow,
        _refusal(errno.EPERM),
        _step(JUMP_EQUAL, AF_INET, 1, 0),
        _step(JUMP_EQUAL, AF_INET6, 0, 10),
        _argument(1),
        _step(MASK, SOCKET_TYPE),
        _step(JUMP_EQUAL, SOCK_STREAM, 2, 0),
        _step(JUMP_EQUAL, SOCK_DGRAM, 0, 5),
        allow,
        _argument(2),
        _step(JUMP_EQUAL, 0, 1, 0),
        _step(JUMP_EQUAL, IPPROTO_TCP, 0, 1),
        allow,
        _refusal(errno.EPERM),
        _refusal(errno.EAFNOSUPPORT),
    ]


def _no_device(mode_argument: int) -> list[bytes]:
    return [
        _argument(mode_argument),
        _step(MASK, FILE_TYPE),
        *_if_any((CHARACTER_DEVICE, BLOCK_DEVICE), _refusal(errno.EPERM)),
    ]


def _if_any(values: Sequence[int], answer: bytes) -> list[bytes]:
    """Give `answer` when the loaded word is one of `values`."""
    last = len(values) - 1
    tests = [_step(JUMP_EQUAL, value, last - place, 0 if place < last else 1) for place, value in enumerate(values)]
    return [*tests, answer]


def _when_called(machine: str, name: str, body: list[bytes]) -> list[bytes]:
    """Run `body`, which must answer, for one system call; nothing where the machine does not have it."""
    number = CALLS[name].x86_64 if machine == "x86_64" else CALLS[name].aarch64
    if number is None:
        return []
    return [_step(JUMP_EQUAL, number, 0, len(body)), *body]


def _argument(place: int) -> bytes:
    return _load(OFFSET_ARGUMENTS + 8 * place)


def _load(offset: int) -> bytes:
    return _step(LOAD, offset)


def _answer(value: int) -> bytes:
    return _step(RETURN, value)


def _refusal(number: int) -> bytes:
    return _answer(REFUSE | number)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
