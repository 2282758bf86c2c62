"""The system calls that the filter knows: their numbers, which it refuses, and what each refused one is for.

Those of `SORTS` are what a person is told of when a server asks for them; none of them is a grant, so each sort has the
advice that leads on without it.
"""

from typing import Final, NamedTuple


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


class Sort(NamedTuple):
    """Refused calls that are for the same: what that is, and what a person can do instead."""

    name: str
    calls: tuple[str, ...]
    advice: str


SORTS: Final = (
    Sort(
        "other processes",
        ("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
        "debuggers and profilers look into other processes; start it without them",
    ),
    Sort(
        "mounts and namespaces",
        ("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "clone"),
        "browsers and container tools build a sandbox of their own so; tell it to do without (--no-sandbox), "
        "for it runs in this one",
    ),
    Sort(
        "sockets beyond TCP and UDP",
        ("socket", "socketpair"),
        "raw packets and sockets of the machine are given to no server; what pings or scans needs TCP or UDP instead",
    ),
    Sort("keys of the kernel", ("add_key", "request_key", "keyctl"), "keep its secret with bulkhead secret set"),
    Sort(
        "the machine itself",
        (
            "swapon", "swapoff", "reboot", "sethostname", "setdomainname", "init_module", "finit_module",
            "delete_module", "kexec_load", "kexec_file_load", "acct", "quotactl", "settimeofday", "clock_settime",
            "clock_adjtime", "adjtimex", "syslog", "iopl", "ioperm", "modify_ldt", "vhangup", "uselib", "_sysctl",
            "sysfs", "ustat", "nfsservctl", "personality",
        ),
        "a server has no business with the clock, the modules or the name of this machine",
    ),
    Sort(
        "placement of memory",
        ("move_pages", "migrate_pages", "mbind", "set_mempolicy", "get_mempolicy"),
        "libraries for numbers ask which memory is near and go on without",
    ),
    Sort(
        "corners of the kernel",
        (
            "lookup_dcookie", "fanotify_init", "open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open",
            "userfaultfd",
        ),
        "tracing, watching a whole file system and handling page faults are refused to every server",
    ),
    Sort("shared memory of System V", ("shmget",), "shared memory of POSIX (/dev/shm) is there"),
    Sort("devices", ("mknod", "mknodat"), "a sandbox has the devices it needs in /dev"),
    Sort("typing into a terminal", ("ioctl",), "servers speak through their streams"),
    Sort("outliving the sandbox", ("prctl",), "every process of a sandbox ends with it"),
)  # fmt: skip
