"""The escape probe: runs as a server would, tries to get out, and says what came of each attempt.

An attempt returns true (or something that is) when it got through; an exception means that it was held.  Facts about
the outside come on standard input as JSON, results go to standard output the same way.  What else is tried of the same
kind stands in `deeper`; `probe` runs both.
"""

import ctypes
import errno
import fcntl
import json
import os
import pty
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Attempt = Callable[[dict[str, Any]], object]
ATTEMPTS: dict[str, Attempt] = {}
CONTROLS: dict[str, Attempt] = {}

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000


def attempt(what: str) -> Callable[[Attempt], Attempt]:
    def enter(function: Attempt) -> Attempt:
        ATTEMPTS[what] = function
        return function

    return enter


def control(what: str) -> Callable[[Attempt], Attempt]:
    def enter(function: Attempt) -> Attempt:
        CONTROLS[what] = function
        return function

    return enter


def call(x86_64: int, aarch64: int, *arguments: Any) -> int:
    """A system call by number; raises what the kernel answers."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = int(LIBC.syscall(ctypes.c_long(x86_64 if MACHINE == "x86_64" else aarch64), *words))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_child(work: Callable[[], object]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if work() else 1
        except OSError:
            pass  # held, and told by the exit code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def reads(path: str | Path) -> bool:
    return bool(Path(path).read_bytes())


def command_of(pid: str) -> bytes:
    """Its command; none if it is gone meanwhile."""
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


def appends(path: str | Path) -> bool:
    with open(path, "a") as file:
        file.write("x")
    return True


# ---- files


@attempt("read a private key in the home")
def _(facts: dict[str, Any]) -> object:
    return reads(facts["home"] + "/.ssh/id_ed25519")


@attempt("list the home")
def _(facts: dict[str, Any]) -> object:
    return os.listdir(facts["home"])


@attempt("write the shell's start file")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["home"] + "/.bashrc")


@attempt("read a file in the host's /tmp")
def _(facts: dict[str, Any]) -> object:
    return reads(facts["temporary"])


@attempt("read another session's folder")
def _(facts: dict[str, Any]) -> object:
    return reads(facts["other_session"] + "/secret")


@attempt("list what lies beside a grant")
def _(facts: dict[str, Any]) -> object:
    return set(os.listdir(os.path.dirname(facts["read"]))) - {"read", "write"}


@attempt("read the list of the host's users")
def _(facts: dict[str, Any]) -> object:
    return "root:" in Path("/etc/passwd").read_text() or reads("/etc/shadow")


@attempt("read the machine's id")
def _(facts: dict[str, Any]) -> object:
    return reads("/etc/machine-id")


@attempt("write into the read-only grant")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["read"] + "/notes.txt")


@attempt("create a file in the read-only grant")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["read"] + "/new.txt")


@attempt("change the system's programs")
def _(facts: dict[str, Any]) -> object:
    return appends("/usr/local/bin/evil")


@attempt("write to /etc")
def _(facts: dict[str, Any]) -> object:
    return appends("/etc/evil")


@attempt("write to the root folder")
def _(facts: dict[str, Any]) -> object:
    return appends("/evil")


@attempt("change its own code")
def _(facts: dict[str, Any]) -> object:
    return appends(__file__)


@attempt("follow a link out of a grant")
def _(facts: dict[str, Any]) -> object:
    link = facts["write"] + "/link"
    os.symlink(facts["home"] + "/.ssh/id_ed25519", link)
    return reads(link)


@attempt("climb out of a grant with ..")
def _(facts: dict[str, Any]) -> object:
    return reads(facts["write"] + "/.." * 12 + facts["home"] + "/.ssh/id_ed25519")


@attempt("hard-link a read-only file into the writable grant and write it")
def _(facts: dict[str, Any]) -> object:
    os.link(facts["read"] + "/notes.txt", facts["write"] + "/hard")
    return appends(facts["write"] + "/hard")


@attempt("look through /proc/1/root")
def _(facts: dict[str, Any]) -> object:
    return reads("/proc/1/root" + facts["home"] + "/.ssh/id_ed25519")


@attempt("use a descriptor that was left open")
def _(facts: dict[str, Any]) -> object:
    left = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if int(name) > 2 and not target.startswith("/proc/"):
            left.append(target)
    return left


@attempt("open a file by handle")
def _(facts: dict[str, Any]) -> object:
    try:
        call(304, 265, -100, ctypes.create_string_buffer(128), 0)
    except OSError as refusal:
        return refusal.errno not in (errno.EPERM, errno.ENOSYS)
    return True


# ---- what would run later, on the host


@attempt("write a git hook")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["write"] + "/.git/hooks/pre-commit")


@attempt("write git's configuration")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["write"] + "/.git/config")


@attempt("put a commondir into .git")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["write"] + "/.git/commondir")


@attempt("rename .git away and bring its own")
def _(facts: dict[str, Any]) -> object:
    os.rename(facts["write"] + "/.git", facts["write"] + "/.git.old")
    return True


@attempt("write the hook of a repository further down")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["write"] + "/company/repository/.git/hooks/pre-commit")


@attempt("rename a repository further down")
def _(facts: dict[str, Any]) -> object:
    os.rename(facts["write"] + "/company/repository", facts["write"] + "/company/old")
    return True


@attempt("rename the folder of a repository")
def _(facts: dict[str, Any]) -> object:
    os.rename(facts["write"] + "/company", facts["write"] + "/old")
    return True


@attempt("write an editor's task")
def _(facts: dict[str, Any]) -> object:
    return appends(facts["write"] + "/.vscode/tasks.json")


@attempt("replace a shell environment file")
def _(facts: dict[str, Any]) -> object:
    Path(facts["write"] + "/.envrc.new").write_text("x")
    os.rename(facts["write"] + "/.envrc.new", facts["write"] + "/.envrc")
    return True


# ---- processes


@attempt("see a process of the host")
def _(facts: dict[str, Any]) -> object:
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if facts["victim_mark"].encode() in command_of(pid)]


@attempt("read the environment of a process of the host")
def _(facts: dict[str, Any]) -> object:
    return facts["secret"].encode() in Path("/proc", str(facts["victim"]), "environ").read_bytes()


@attempt("signal a process of the host")
def _(facts: dict[str, Any]) -> object:
    os.kill(facts["victim"], 0)
    return True


@attempt("trace another process")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: call(101, 117, 0, 0, 0, 0) == 0)


@attempt("read another process's memory")
def _(facts: dict[str, Any]) -> object:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    return call(310, 270, os.getpid(), ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0)


@attempt("take a descriptor from another process")
def _(facts: dict[str, Any]) -> object:
    return call(438, 438, os.pidfd_open(os.getpid()), 0, 0) >= 0


@attempt("disarm the parent-death signal")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: LIBC.prctl(1, 0, 0, 0, 0) == 0)


@attempt("read a secret of the daemon's environment")
def _(facts: dict[str, Any]) -> object:
    return any(facts["secret"] in value for value in os.environ.values())


@attempt("read a secret of process 1's environment")
def _(facts: dict[str, Any]) -> object:
    return facts["secret"].encode() in Path("/proc/1/environ").read_bytes()


# ---- talking to others on the machine


def connects(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
    return True


@attempt("connect to a socket in the home")
def _(facts: dict[str, Any]) -> object:
    return connects(facts["agent_socket"])


@attempt("connect to a socket inside the writable grant")
def _(facts: dict[str, Any]) -> object:
    return connects(facts["write_socket"])


@attempt("connect to a socket inside the read-only grant")
def _(facts: dict[str, Any]) -> object:
    return connects(facts["read_socket"])


@attempt("connect to an abstract socket")
def _(facts: dict[str, Any]) -> object:
    return connects(facts["abstract_socket"])


@attempt("attach the host's SysV shared memory")
def _(facts: dict[str, Any]) -> object:
    return LIBC.shmget(facts["shm_key"], 0, 0) >= 0


@attempt("open the host's POSIX shared memory")
def _(facts: dict[str, Any]) -> object:
    return reads(facts["shared_memory"])


@attempt("use the kernel's keyring")
def _(facts: dict[str, Any]) -> object:
    return call(248, 217, b"user", b"name", b"value", 5, -4)


# ---- network


def says_hello(address: str, port: int) -> bool:
    with socket.create_connection((address, port), timeout=2):
        return True


@attempt("connect to a service on the host's loopback")
def _(facts: dict[str, Any]) -> object:
    return says_hello("127.0.0.1", facts["tcp"])


@attempt("connect to a service by 0.0.0.0")
def _(facts: dict[str, Any]) -> object:
    return says_hello("0.0.0.0", facts["tcp"])


@attempt("send a datagram to the host's loopback")
def _(facts: dict[str, Any]) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.sendto(b"hello", ("127.0.0.1", facts["udp"]))
        return client.recv(64)


@attempt("reach the network")
def _(facts: dict[str, Any]) -> object:
    return not facts["bare"] and says_hello("192.0.2.1", 80)


@attempt("resolve a name")
def _(facts: dict[str, Any]) -> object:
    return not facts["bare"] and socket.getaddrinfo("stolen.example.com", 80)


@attempt("see the host's network interfaces")
def _(facts: dict[str, Any]) -> object:
    return [name for _, name in socket.if_nameindex() if name != "lo"]


@attempt("stay in the host's network namespace")
def _(facts: dict[str, Any]) -> object:
    return os.readlink("/proc/self/ns/net") == facts["net_namespace"]


@attempt("open a raw socket")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)


@attempt("open a packet socket")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(17, socket.SOCK_RAW, 0)


@attempt("open a socket to the hypervisor")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(40, socket.SOCK_STREAM)


@attempt("open a netlink socket other than routing")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)


@attempt("open a multipath socket")
def _(facts: dict[str, Any]) -> object:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)


# ---- the kernel


@attempt("make a user namespace")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: call(272, 97, NEW_USER) == 0)


@attempt("make a mount namespace")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: call(272, 97, NEW_MOUNTS) == 0)


@attempt("clone into a user namespace")
def _(facts: dict[str, Any]) -> object:
    pid = call(56, 220, NEW_USER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return True


@attempt("clone3 into a user namespace")
def _(facts: dict[str, Any]) -> object:
    arguments = ctypes.create_string_buffer(struct.pack("8Q", NEW_USER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0))
    pid = call(435, 435, arguments, 64)
    if pid == 0:
        os._exit(0)
    return True


@attempt("mount something")
def _(facts: dict[str, Any]) -> object:
    return call(165, 40, b"none", b"/tmp", b"tmpfs", 0, None) == 0


@attempt("remount the read-only grant writable")
def _(facts: dict[str, Any]) -> object:
    return call(165, 40, None, facts["read"].encode(), None, 0x20 | 0x1000, None) == 0


@attempt("unmount a guard")
def _(facts: dict[str, Any]) -> object:
    return call(166, 39, (facts["write"] + "/.git").encode(), 2) == 0


@attempt("use the new mount calls")
def _(facts: dict[str, Any]) -> object:
    return call(428, 428, -100, b"/", 1) >= 0


@attempt("change its root")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: call(161, 51, b"/tmp") == 0)


@attempt("join process 1's namespaces")
def _(facts: dict[str, Any]) -> object:
    return call(308, 268, os.open("/proc/1/ns/mnt", os.O_RDONLY), 0) == 0


@attempt("make a device")
def _(facts: dict[str, Any]) -> object:
    os.mknod("/tmp/null", 0o20666, os.makedev(1, 3))
    return True


@attempt("use io_uring")
def _(facts: dict[str, Any]) -> object:
    return call(425, 425, 4, ctypes.create_string_buffer(120)) >= 0


@attempt("load a BPF program")
def _(facts: dict[str, Any]) -> object:
    return call(321, 280, 0, ctypes.create_string_buffer(struct.pack("IIIII", 1, 4, 4, 1, 0) + bytes(100)), 72) >= 0


@attempt("push keys into a terminal")
def _(facts: dict[str, Any]) -> object:
    def push() -> object:
        _, terminal = pty.openpty()
        os.setsid()
        fcntl.ioctl(terminal, 0x540E, 0)
        pushed = LIBC.ioctl(terminal, ctypes.c_ulong(0x5412), b"x") == 0
        return pushed or LIBC.ioctl(terminal, ctypes.c_ulong(0x5412 | 1 << 32), b"x") == 0

    return in_child(push)


@attempt("open the controlling terminal")
def _(facts: dict[str, Any]) -> object:
    return os.open("/dev/tty", os.O_RDWR) >= 0


@attempt("use the calls of another architecture")
def _(facts: dict[str, Any]) -> object:
    return in_child(lambda: call(0x40000000 + 39, 0x40000000 + 39) > 0)


@attempt("write core_pattern")
def _(facts: dict[str, Any]) -> object:
    with open("/proc/sys/kernel/core_pattern", "r+"):
        return True


@attempt("write sysrq-trigger")
def _(facts: dict[str, Any]) -> object:
    with open("/proc/sysrq-trigger", "r+"):
        return True


@attempt("see the machine's devices")
def _(facts: dict[str, Any]) -> object:
    return [name for name in ("mem", "kmsg", "kvm", "fuse", "vda", "net/tun") if Path("/dev", name).exists()]


@attempt("read /sys")
def _(facts: dict[str, Any]) -> object:
    return os.listdir("/sys")


@attempt("hold a capability or gain one")
def _(facts: dict[str, Any]) -> object:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return any(int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")) or (
        fields["NoNewPrivs"].strip() != "1"
    )


@attempt("run as root")
def _(facts: dict[str, Any]) -> object:
    return 0 in (*os.getresuid(), *os.getresgid(), *os.getgroups())


@attempt("become root")
def _(facts: dict[str, Any]) -> object:
    os.setuid(0)
    return True


@attempt("learn the host's name")
def _(facts: dict[str, Any]) -> object:
    return os.uname().nodename == facts["host_name"] and facts["host_name"] != "mcp"


# ---- using things up


@attempt("dump core")
def _(facts: dict[str, Any]) -> object:
    return resource.getrlimit(resource.RLIMIT_CORE) != (0, 0)


def fills(path: str, size: int) -> bool:
    block = bytes(1 << 20)
    try:
        with open(path, "wb") as file:
            for _ in range(size >> 20):
                file.write(block)
    finally:
        os.unlink(path)
    return True


@attempt("fill /tmp beyond its size")
def _(facts: dict[str, Any]) -> object:
    return fills("/tmp/fill", 24 << 20)


@attempt("fill its home beyond its size")
def _(facts: dict[str, Any]) -> object:
    return fills(os.environ["HOME"] + "/fill", 24 << 20)


@attempt("fill /dev/shm beyond its size")
def _(facts: dict[str, Any]) -> object:
    return fills("/dev/shm/fill", 24 << 20)


@attempt("fill /dev")
def _(facts: dict[str, Any]) -> object:
    return fills("/dev/fill", 1 << 20)


# ---- what must work


@control("read a granted file")
def _(facts: dict[str, Any]) -> object:
    return Path(facts["read"], "notes.txt").read_text() == "granted"


@control("write a granted folder")
def _(facts: dict[str, Any]) -> object:
    Path(facts["write"], "made-inside.txt").write_text("made inside")
    return True


@control("read a guarded file")
def _(facts: dict[str, Any]) -> object:
    return Path(facts["write"], ".git/config").read_text() == "[core]\n"


@control("use home and /tmp")
def _(facts: dict[str, Any]) -> object:
    Path("/home/mcp/x").write_text("x")
    Path("/tmp/x").write_text("x")
    return os.environ["HOME"] == "/home/mcp" and os.stat("/home/mcp").st_mode & 0o777 == 0o700


@control("make a socket pair, a pipe and a thread")
def _(facts: dict[str, Any]) -> object:
    import threading

    one, other = socket.socketpair()
    thread = threading.Thread(target=one.send, args=(b"hello",))
    thread.start()
    thread.join()
    return other.recv(5) == b"hello"


@control("serve its own loopback")
def _(facts: dict[str, Any]) -> object:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=2):
        return True


@control("know who it is")
def _(facts: dict[str, Any]) -> object:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name == "mcp"


def run(attempts: dict[str, Attempt], controls: dict[str, Attempt]) -> None:
    """Try all of it, the controls first, and say what came of it."""
    facts = json.load(sys.stdin)
    signal.signal(signal.SIGALRM, _too_slow)
    results: dict[str, dict[str, list[object]]] = {"attempts": {}, "controls": {}}
    for kind, table in (("controls", controls), ("attempts", attempts)):
        for what, function in table.items():
            signal.alarm(15)
            try:
                came = function(facts)
                results[kind][what] = [bool(came), repr(came)[:200]]
            except Exception as refusal:  # noqa: BLE001 - whatever stopped it is the answer
                results[kind][what] = [False, f"{type(refusal).__name__}: {refusal}"[:200]]
            finally:
                signal.alarm(0)
    json.dump(results, sys.stdout)


def _too_slow(*_: object) -> None:
    raise TimeoutError("too slow")
