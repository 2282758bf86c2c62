"""More of the escape probe: what is known to have worked against other sandboxes, and the ways round a filter."""

import array
import ctypes
import fcntl
import mmap
import os
import pty
import resource
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.sandbox.inside import LIBC, MACHINE, NEW_MOUNTS, NEW_USER, Attempt, appends, call, connects, in_child, reads

ATTEMPTS: dict[str, Attempt] = {}
CONTROLS: dict[str, Attempt] = {}

Facts = dict[str, Any]

NEW_PIDS, NEW_NET, NEW_TIME = 0x20000000, 0x40000000, 0x80
HIGH = 1 << 32  # a bit the kernel does not look at, and a filter that compares whole words would
FAKE_KEYS, LINE_DISCIPLINE, PASTE = 0x5412, 0x5423, 0x541C  # TIOCSTI, TIOCSETD, TIOCLINUX


def attempt(what: str) -> Callable[[Attempt], Attempt]:
    return lambda function: ATTEMPTS.setdefault(what, function)


def control(what: str) -> Callable[[Attempt], Attempt]:
    return lambda function: CONTROLS.setdefault(what, function)


def runs(*argv: str) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False).returncode == 0


# ---- files


@attempt("read cloud credentials in the home")
def _(facts: Facts) -> object:
    return reads(facts["home"] + "/.aws/credentials")


@attempt("learn of a private key in the home")
def _(facts: Facts) -> object:
    return os.stat(facts["home"] + "/.ssh/id_ed25519").st_size


@attempt("list the daemon's own folder")
def _(facts: Facts) -> object:
    return os.listdir(facts["home"] + "/.local/state/bulkhead")


@attempt("have a program start with the desktop")
def _(facts: Facts) -> object:
    return appends(facts["home"] + "/.config/autostart/x.desktop")


@attempt("change the mode of a file outside its grants")
def _(facts: Facts) -> object:
    os.chmod(facts["home"] + "/.ssh/id_ed25519", 0o644)
    return True


@attempt("change the times of a file outside its grants")
def _(facts: Facts) -> object:
    os.utime(facts["home"] + "/.ssh/id_ed25519")
    return True


@attempt("move a file out of a grant")
def _(facts: Facts) -> object:
    Path(facts["write"], "moving").write_text("x")
    os.rename(facts["write"] + "/moving", facts["home"] + "/moved")
    return True


@attempt("hard-link a secret into the writable grant")
def _(facts: Facts) -> object:
    os.link(facts["home"] + "/.ssh/id_ed25519", facts["write"] + "/secret")
    return reads(facts["write"] + "/secret")


@attempt("look through the root of its parent")
def _(facts: Facts) -> object:
    return reads(f"/proc/{os.getppid()}/root{facts['home']}/.ssh/id_ed25519")


@attempt("open a file from a folder that was left open")
def _(facts: Facts) -> object:
    for name in os.listdir("/proc/self/fd"):
        for way in (".ssh/id_ed25519", "../" * 12 + facts["home"].lstrip("/") + "/.ssh/id_ed25519"):
            try:
                return os.open(way, os.O_RDONLY, dir_fd=int(name)) > 0
            except OSError:
                continue
    return False


@attempt("win a race against a link")
def _(facts: Facts) -> object:
    """A path is looked up while one of its parts turns from a folder into a link that leads out, and back."""
    folder, until = Path(facts["write"], "race"), time.monotonic() + 0.5
    (folder / "plain").mkdir(parents=True)
    os.symlink(facts["home"], folder / "out")

    def swap() -> None:
        while time.monotonic() < until:
            for target in ("plain", "out"):
                os.symlink(target, folder / "new")
                os.rename(folder / "new", folder / "way")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        while time.monotonic() < until:
            try:
                return reads(folder / "way/.ssh/id_ed25519")
            except OSError:
                continue
        return False
    finally:
        thread.join()


@attempt("give a program of its own root's rights")
def _(facts: Facts) -> object:
    path = Path(facts["write"], "rights")
    path.write_bytes(Path("/usr/bin/id").read_bytes())
    os.chown(path, 0, -1)
    os.chmod(path, 0o4755)
    return os.stat(path).st_mode & stat.S_ISUID


@attempt("gain rights by a program that root marked")
def _(facts: Facts) -> object:
    done = subprocess.run([facts["marked"], "-u"], capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() == "0"


@attempt("become root by su")
def _(facts: Facts) -> object:
    return runs("su", "-c", "id")


# ---- what would run later, on the host


@attempt("write a shell environment file")
def _(facts: Facts) -> object:
    return appends(facts["write"] + "/.envrc")


@attempt("leave a new file that a client would obey")
def _(facts: Facts) -> object:
    return appends(facts["write"] + "/.mcp.json")


# ---- processes


@attempt("end a process of the host")
def _(facts: Facts) -> object:
    os.kill(facts["victim"], signal.SIGTERM)
    return True


@attempt("read the command of a process of the host")
def _(facts: Facts) -> object:
    return facts["victim_mark"].encode() in Path(f"/proc/{facts['traced']}/cmdline").read_bytes()


@attempt("trace a process of the host")
def _(facts: Facts) -> object:
    traced = call(101, 117, 16, facts["traced"], 0, 0) == 0
    os.waitpid(facts["traced"], 0)
    call(101, 117, 17, facts["traced"], 0, 0)
    return traced


@attempt("read the memory of a process of the host")
def _(facts: Facts) -> object:
    first = next(iter(Path(f"/proc/{facts['traced']}/maps").read_text().splitlines()))
    buffer = ctypes.create_string_buffer(8)
    ours = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    its = (ctypes.c_size_t * 2)(int(first.split("-")[0], 16), 8)
    return call(310, 270, facts["traced"], ctypes.byref(ours), 1, ctypes.byref(its), 1, 0) > 0


@attempt("take a descriptor from a process of the host")
def _(facts: Facts) -> object:
    return call(438, 438, os.pidfd_open(facts["traced"]), 0, 0) >= 0


@attempt("find any process that is not its own")
def _(facts: Facts) -> object:
    """By number, whatever /proc lists."""
    own = set(filter(str.isdigit, os.listdir("/proc")))
    found = []
    for pid in {*range(1, 4096), facts["victim"], facts["traced"]}:
        try:
            os.close(os.pidfd_open(pid))
        except OSError:
            continue
        if str(pid) not in own or pid == facts["traced"]:
            found.append(pid)
    return found


@attempt("be spared when memory runs out")
def _(facts: Facts) -> object:
    Path("/proc/self/oom_score_adj").write_text("-1000")
    return True


@attempt("rewrite process 1 in memory")
def _(facts: Facts) -> object:
    code = next(line for line in Path("/proc/1/maps").read_text().splitlines() if "r-xp" in line)
    with open("/proc/1/mem", "r+b", 0) as memory:
        memory.seek(int(code.split("-")[0], 16))
        word = memory.read(4)
        memory.seek(-4, os.SEEK_CUR)
        return memory.write(word)


@attempt("change the program of process 1")
def _(facts: Facts) -> object:
    """The file that runs as process 1 lies outside, on a mount that was never made read-only."""
    try:
        return os.open("/proc/1/exe", os.O_WRONLY) >= 0
    except OSError:
        os.chmod("/proc/1/exe", os.stat("/proc/1/exe").st_mode & 0o7777)
        return True


@attempt("look through the descriptors of process 1")
def _(facts: Facts) -> object:
    led = []
    for name in os.listdir("/proc/1/fd"):
        target = os.readlink(f"/proc/1/fd/{name}")
        if int(name) > 2 and not target.startswith(("anon_inode:", "/proc/")):
            led.append(target)
    return led


@attempt("leave by the folder or the root of any process")
def _(facts: Facts) -> object:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for way in ("root", "cwd", "task/" + pid + "/root"):
            try:
                found.append(reads(f"/proc/{pid}/{way}{facts['home']}/.ssh/id_ed25519"))
            except OSError:
                continue
    return found


# ---- talking to others on the machine


@attempt("be told where the agent of ssh is")
def _(facts: Facts) -> object:
    return [name for name in ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST") if name in os.environ]


for _what in ("ssh", "session bus", "docker", "X11", "Wayland", "gpg", "system bus"):

    @attempt(f"connect to the {_what} socket")
    def _(facts: Facts, what: str = _what) -> object:
        return connects(facts["sockets"][what])


@attempt("connect to a socket, its family written with a high bit")
def _(facts: Facts) -> object:
    return call(41, 198, 1 | HIGH, 1, 0) >= 0


@attempt("open the host's message queue")
def _(facts: Facts) -> object:
    return call(240, 180, facts["queue"].encode(), 0, 0, 0) >= 0


@attempt("use the host's SysV semaphores and messages")
def _(facts: Facts) -> object:
    return LIBC.semget(facts["shm_key"], 1, 0) >= 0 or LIBC.msgget(facts["shm_key"], 0) >= 0


@attempt("search the user's keyring")
def _(facts: Facts) -> object:
    return call(250, 219, 10, -4, b"user", facts["key"].encode(), 0) > 0 or call(250, 219, 0, -3, 1) > 0


@attempt("read the list of the user's keys")
def _(facts: Facts) -> object:
    return facts["key"] in Path("/proc/keys").read_text()


@attempt("pass a descriptor out over its standard streams")
def _(facts: Facts) -> object:
    for stream in (0, 1, 2):
        try:
            with socket.socket(fileno=os.dup(stream)) as line:
                return line.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]) >= 0
        except OSError:
            continue
    return False


@attempt("find a socket that leads out among its descriptors")
def _(facts: Facts) -> object:
    return [name for name in os.listdir("/proc/self/fd") if _is_socket(f"/proc/self/fd/{name}")]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


# ---- network


@attempt("open a socket for pings")
def _(facts: Facts) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)


@attempt("open a socket of a family nobody needs")
def _(facts: Facts) -> object:
    found = []
    for family, kind in ((38, 5), (31, 3), (44, 3), (29, 3), (21, 5), (30, 1), (43, 1), (45, 2)):
        try:
            found.append(socket.socket(family, kind))
        except OSError:
            continue
    return found


@attempt("make a socket pair of another family")
def _(facts: Facts) -> object:
    return call(53, 199, 30, 1, 0, ctypes.create_string_buffer(8)) >= 0


@attempt("connect to a service on the host's loopback by IPv6")
def _(facts: Facts) -> object:
    with socket.create_connection(("::1", facts["tcp6"]), timeout=2):
        return True


@attempt("listen where the host listens")
def _(facts: Facts) -> object:
    with socket.create_server(("0.0.0.0", 0)):
        return os.readlink("/proc/self/ns/net") == facts["net_namespace"]


@attempt("read the host's connections")
def _(facts: Facts) -> object:
    return f":{facts['tcp']:04X} " in Path("/proc/net/tcp").read_text()


# ---- namespaces: what browsers and containers build for themselves


@attempt("build the sandbox of a browser")
def _(facts: Facts) -> object:
    """A user namespace, its maps written, then process and network namespaces in it, as Chromium does."""

    def build() -> object:
        user, group = os.getuid(), os.getgid()
        call(272, 97, NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return call(272, 97, NEW_USER | NEW_PIDS | NEW_NET) == 0

    return in_child(build)


@attempt("clone into the namespaces of a browser")
def _(facts: Facts) -> object:
    pid = call(56, 220, NEW_USER | NEW_PIDS | NEW_NET | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attempt("make the namespaces that need no user namespace")
def _(facts: Facts) -> object:
    flags = (NEW_MOUNTS, NEW_PIDS, NEW_NET, 0x08000000, 0x04000000, 0x02000000)
    return [flag for flag in flags if in_child(lambda flag=flag: call(272, 97, flag) == 0)]  # type: ignore[misc]


@attempt("make a time namespace")
def _(facts: Facts) -> object:
    return in_child(lambda: call(272, 97, NEW_TIME) == 0) or in_child(lambda: call(272, 97, NEW_USER | NEW_TIME) == 0)


@attempt("shift its clocks")
def _(facts: Facts) -> object:
    return in_child(lambda: Path("/proc/self/timens_offsets").write_text("monotonic 1000 0\n") > 0)


@attempt("join the time namespace of process 1")
def _(facts: Facts) -> object:
    return in_child(lambda: call(308, 268, os.open("/proc/1/ns/time", os.O_RDONLY), 0) == 0)


@attempt("allow itself more namespaces")
def _(facts: Facts) -> object:
    return Path("/proc/sys/user/max_user_namespaces").write_text("1000") > 0


@attempt("change any setting of the kernel")
def _(facts: Facts) -> object:
    """Opened for writing and closed again."""
    found = []
    for folder, _, names in os.walk("/proc/sys"):
        for name in names:
            try:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY))
                found.append(name)
            except OSError:
                continue
    return found


@attempt("start a sandbox in its sandbox")
def _(facts: Facts) -> object:
    return runs("bwrap", "--ro-bind", "/", "/", "--unshare-user", "true") or runs("bwrap", "--bind", "/", "/", "true")


@attempt("start a container by the system's tools")
def _(facts: Facts) -> object:
    return runs("unshare", "--user", "--map-root-user", "--mount", "true") or runs("unshare", "--user", "true")


@attempt("enter the namespaces of process 1 by the system's tools")
def _(facts: Facts) -> object:
    return not facts["bare"] and (
        runs("nsenter", "-t", "1", "-m", "-n", "true") or runs("nsenter", "-t", "1", "-U", "true")
    )


@attempt("bring a mount from another namespace")
def _(facts: Facts) -> object:
    return call(428, 428, -100, b"/", 1) >= 0 or call(429, 429, -100, b"/", -100, b"/tmp", 0) == 0


@attempt("configure a new file system")
def _(facts: Facts) -> object:
    return call(430, 430, b"tmpfs", 0) >= 0


@attempt("exchange its root")
def _(facts: Facts) -> object:
    return in_child(lambda: call(155, 41, b".", b".") == 0)


# ---- the kernel


@attempt("set up, enter or register a ring of io_uring")
def _(facts: Facts) -> object:
    answers: list[int | None] = []
    for number, arguments in ((425, (4, ctypes.create_string_buffer(120))), (426, (0, 0, 0, 0)), (427, (0, 0, 0, 0))):
        try:
            answers.append(call(number, number, *arguments))
        except OSError as refusal:
            answers.append(refusal.errno)
    return [answer for answer in answers if answer != 38]


@attempt("handle its own page faults")
def _(facts: Facts) -> object:
    return call(323, 282, 1) >= 0


@attempt("watch the processor's counters")
def _(facts: Facts) -> object:
    wanted = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 1) + bytes(96))
    return call(298, 241, wanted, 0, -1, -1, 0) >= 0


@attempt("load another kernel")
def _(facts: Facts) -> object:
    return call(246, 104, 0, 0, 0, 0) == 0


@attempt("read the kernel's messages")
def _(facts: Facts) -> object:
    return LIBC.klogctl(3, ctypes.create_string_buffer(4096), 4096) > 0


@attempt("learn where the kernel lies")
def _(facts: Facts) -> object:
    with open("/proc/kallsyms") as symbols:
        return any(int(symbols.readline().split()[0], 16) for _ in range(5))


@attempt("read the kernel's memory")
def _(facts: Facts) -> object:
    return reads("/proc/kcore")


@attempt("turn off the randomness of its addresses")
def _(facts: Facts) -> object:
    return in_child(lambda: call(135, 92, 0x40000) >= 0) or in_child(lambda: call(135, 92, 0x40000 | HIGH) >= 0)


@attempt("speak another architecture by an interrupt")
def _(facts: Facts) -> object:
    """`int 0x80` with the number of getpid for 32 bits; the filter ends whoever does that."""
    if MACHINE != "x86_64":
        return False

    def interrupt() -> object:
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("b814000000cd80c3"))
        return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() > 0

    return in_child(interrupt)


@attempt("open a file by handle, the handle made inside")
def _(facts: Facts) -> object:
    handle, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128)), ctypes.c_int()
    call(303, 264, -100, facts["write"].encode(), handle, ctypes.byref(mount), 0)
    return call(304, 265, os.open("/", os.O_RDONLY), handle, 0) >= 0


@attempt("watch the whole file system")
def _(facts: Facts) -> object:
    return call(300, 262, 0, 0) >= 0


@attempt("set the machine's clock")
def _(facts: Facts) -> object:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return True


# ---- terminals


def at_terminal(*requests: tuple[int, bytes]) -> bool:
    """Whether one of the requests gets through on a controlling terminal of its own."""

    def push() -> bool:
        _, terminal = pty.openpty()
        os.setsid()
        fcntl.ioctl(terminal, 0x540E, 0)
        return any(LIBC.ioctl(terminal, ctypes.c_ulong(number), word) == 0 for number, word in requests)

    return in_child(push)


@attempt("push keys into a terminal, the request written with a high bit")
def _(facts: Facts) -> object:
    return at_terminal((FAKE_KEYS | HIGH, b"x"), (FAKE_KEYS | 1 << 63, b"x"))


@attempt("paste into a terminal")
def _(facts: Facts) -> object:
    return at_terminal((PASTE, b"\3"), (PASTE, b"\2"), (PASTE | HIGH, b"\3"))


@attempt("change the discipline of a terminal")
def _(facts: Facts) -> object:
    return at_terminal((LINE_DISCIPLINE, struct.pack("i", 2)), (LINE_DISCIPLINE | HIGH, struct.pack("i", 2)))


@attempt("push keys into the terminal of its standard streams")
def _(facts: Facts) -> object:
    return [
        stream for stream in (0, 1, 2) if os.isatty(stream) or LIBC.ioctl(stream, ctypes.c_ulong(FAKE_KEYS), b"x") == 0
    ]


# ---- what a dying or a limited process may do


@attempt("disarm the parent-death signal by another spelling")
def _(facts: Facts) -> object:
    spellings = ((1 | HIGH, 0), (1, HIGH), (1, 15), (1, 9 | HIGH))
    return [s for s in spellings if in_child(lambda s=s: call(157, 167, *s, 0, 0, 0) == 0)]  # type: ignore[misc]


@attempt("choose where its core goes")
def _(facts: Facts) -> object:
    return Path("/proc/sys/kernel/core_pattern").write_text("|/tmp/evil") > 0


@attempt("raise its own limits")
def _(facts: Facts) -> object:
    raised = []
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        hard = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (hard + 1 if hard >= 0 else hard, hard + 1 if hard >= 0 else hard))
        except (OSError, ValueError):
            continue
        raised.append(kind)
    return raised


@attempt("go before everybody else")
def _(facts: Facts) -> object:
    def hurry() -> object:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        return True

    return in_child(hurry)


@attempt("see the machine's other devices")
def _(facts: Facts) -> object:
    usual = {"console", "core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
             "tty", "urandom", "zero"}  # fmt: skip
    return set(os.listdir("/dev")) - usual


@attempt("write to /sys")
def _(facts: Facts) -> object:
    return os.access("/sys/kernel/uevent_helper", os.W_OK)


@attempt("learn the host's paths from its mounts")
def _(facts: Facts) -> object:
    return facts["write"] in Path("/proc/self/mountinfo").read_text()


# ---- what must work


@control("write what it writes to its standard streams by their names")
def _(facts: Facts) -> object:
    with open("/dev/stderr", "a") as stream:
        return stream.write("\n")


@control("name its threads, and set its own parent-death signal")
def _(facts: Facts) -> object:
    return LIBC.prctl(15, b"thread") == 0 and in_child(lambda: LIBC.prctl(1, signal.SIGKILL, 0, 0, 0) == 0)


@control("pass a descriptor to its own child")
def _(facts: Facts) -> object:
    one, other = socket.socketpair()
    with one, other:
        socket.send_fds(one, [b"x"], [0])
        _, (got,), _, _ = socket.recv_fds(other, 1, 1)
        os.close(got)
    return got > 2
