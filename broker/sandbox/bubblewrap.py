"""A SandboxSpec as a bwrap command: the options as data, and every descriptor that must be passed with them.

The root is built up from nothing.  Options travel in a nameless file, so that neither grants nor values show in the
process list; what is mounted is what was opened here without following a link.  The program starts only after the
daemon answered the gate, so that no server ever runs without one: bwrap's own `--block-fd` cannot promise that.
"""

import os
import platform
import resource
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import Limits, Mount, SandboxSpec
from broker.sandbox import seccomp
from broker.sandbox.hosts import PROXY_PORT
from broker.sandbox.kernel import memory_file, open_without_links
from broker.sandbox.plan import HOME, TRUST
from broker.sandbox.protect import guards_of
from broker.sandbox.roots import Programs, image_words, machine_words, programs_for, seen_at
from broker.sandbox.state import give

# What each number means to the program bwrap is; mounts follow after them.
GATE, ARGUMENTS, INFO, FILTER = 3, 4, 5, 6
MAX_DESCRIPTORS: Final = 240  # one message carries 253 (SCM_MAX_FD); the supervisor adds one

GATE_SCRIPT: Final = f'echo r >&{GATE}; read _ <&{GATE} || exit 125; exec {GATE}<&-; exec "$@"'
"""Runs inside, after bwrap armed its parent-death signal: says it is there, waits for a line, becomes the server.
End of file means that the daemon is gone: then the server never starts."""
LISTENER_SCRIPT: Final = f"""
import os, socket, sys
proxy = socket.socket()
proxy.bind(("127.0.0.1", {PROXY_PORT}))
proxy.listen(64)
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 0))
with socket.socket(fileno=os.dup({GATE})) as gate:
    socket.send_fds(gate, [b"l"], [proxy.fileno(), names.fileno()])
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs inside before the gate where nobody may enter a network from outside: makes the proxy's listener there and hands
it to the daemon through the gate.  Ports of the web and of names are not for us then, so nothing else is captured."""
AS_ROOT_SCRIPT: Final = f'{{chown}} "$1:$1" {HOME} && shift && exec "$@"'

NAMESPACES_OF_USER: Final = ("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL")
NAMESPACES_OF_ROOT: Final = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"),
    # What setpriv needs to give all of them up; the server has none.
    *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_CHOWN"),
)
ETC: Final = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs", "ssl/openssl.cnf", "ca-certificates"),
    *("pki", "localtime", "timezone", "mime.types", "services", "protocols", "crypto-policies"),
)


DATA_FACTOR: Final = 2
"""The kernel refuses a single process so many times the memory of its sandbox: a wall behind the watch, which looks
at all processes together and can say what happened."""
UNTOLD: Final = ("/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats")
"""Of the whole machine or of the user outside, whoever reads them."""
PATIENCE: Final = "timeout:6 attempts:2"  # our own lookups take up to ten seconds
NO_PATIENCE: Final = "timeout:1 attempts:1"  # without hosts nobody answers


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is to the kernel.  `setpriv` is the program that changes to it when we are root ourselves."""

    uid: int
    gid: int
    setpriv: Path | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """The sandbox's ends of what connects it with the daemon; owned by whoever made them until a Command has them."""

    stdin: int
    stdout: int
    stderr: int
    gate: int
    info: int


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: descriptor number i inside is `descriptors[i]`.  Whoever holds it closes it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    descriptors: tuple[int, ...]
    rlimits: tuple[tuple[int, int], ...]
    warnings: tuple[str, ...] = ()
    cwd: str = "/"
    watched: bool = False
    """Its calls are told to whoever holds the other end of its last descriptor, which it does not keep."""
    landlock: tuple[int, ...] | None = None
    """For a program behind Landlock: what it may do below each path, the descriptors after the gate and the filter."""

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class _Options:
    """Options and the descriptors they name, collected side by side."""

    def __init__(self, server: str, given: tuple[int, ...]) -> None:
        self._server = server
        self._made: set[Path] = set()
        self.words: list[str] = []
        self.descriptors = list(given)

    def add(self, *words: str) -> None:
        self.words += words

    def add_parents(self, target: Path) -> None:
        """Make the folders above `target`: left to itself, bwrap makes them so that only root may enter."""
        for folder in reversed(target.parents[:-1]):
            if folder not in self._made:
                self._made.add(folder)
                self.add("--dir", str(folder))

    def place(self, descriptor: int) -> str:
        """Take `descriptor` over; answer the number it will have."""
        self.descriptors.append(descriptor)
        if len(self.descriptors) > MAX_DESCRIPTORS:
            raise SandboxError(
                f"{self._server} needs more than {MAX_DESCRIPTORS} mounts", hint="grant fewer or smaller folders"
            )
        return str(len(self.descriptors) - 1)


def command(
    spec: SandboxSpec,
    bwrap: Path,
    identity: Identity,
    ends: Ends,
    trust: bytes = b"",
    listener: Path | None = None,
) -> Command:
    """The command that starts `spec`; takes `ends` over, also when it fails.  `trust`: the authorities of its TLS.

    `listener` is the Python that makes its listener from inside, where that is the only way.

    Raises:
        SandboxError: something to be mounted is not there, is behind a link, or would be unreadable inside.
        MachineError: there is no system-call filter for this processor.
    """
    options = _Options(spec.server, (ends.stdin, ends.stdout, ends.stderr, ends.gate))
    try:
        _own_streams(identity, ends)
        options.place(-1)  # the arguments themselves, known last
        options.place(ends.info)
        filter_bytes = seccomp.assemble(platform.machine(), unix_sockets=spec.unix_sockets)
        options.add("--add-seccomp-fd", options.place(memory_file("filter", filter_bytes)))
        options.add("--info-fd", str(INFO))
        _walls(options, identity)
        own = programs_for(spec, identity.setpriv, listener)
        _system(options, spec, own)
        _home(options, spec, identity)
        _written_files(options, identity, PATIENCE if spec.hosts else NO_PATIENCE, trust)
        warnings = _mounts(options, spec, identity)
        options.add("--remount-ro", "/", "--chdir", str(spec.cwd))
        packed = b"".join(os.fsencode(word) + b"\0" for word in options.words)
        options.descriptors[ARGUMENTS] = memory_file("arguments", packed)
    except BaseException:
        for descriptor in {*options.descriptors, ends.info} - {-1}:
            os.close(descriptor)
        raise
    inside = (*own.start("sh"), "-c", GATE_SCRIPT, "gate", *spec.argv)
    if listener is not None and spec.hosts:
        inside = (str(listener), "-I", "-S", "-c", LISTENER_SCRIPT, *inside)
    if identity.setpriv is not None:
        drop = (*own.start("setpriv"), *_drop(identity))
        prepare = AS_ROOT_SCRIPT.format(chown=" ".join(own.start("chown")))
        inside = (*own.start("sh"), "-c", prepare, "prepare", str(identity.uid), *drop, *inside)
    return Command(
        argv=(str(bwrap), "--args", str(ARGUMENTS), "--", *inside),
        env=spec.env,
        descriptors=tuple(options.descriptors),
        rlimits=rlimits_of(spec.limits, early_processes=identity.setpriv is not None),
        warnings=warnings,
    )


def unwritable(spec: SandboxSpec, identity: Identity) -> tuple[str, ...]:
    """Writable grants that the server's own user cannot write to (only when started as root)."""
    if identity.setpriv is None:
        return ()
    return tuple(
        f"{mount.target} is not writable for the server, which runs as user {identity.uid}: its owner must allow that"
        for mount in spec.mounts
        if mount.writable and not _permitted(os.stat(mount.source), identity, 0o2)
    )


def _own_streams(identity: Identity, ends: Ends) -> None:
    """Give the pipes to the server's own user: programs open /dev/stderr by its name."""
    for stream in (ends.stdin, ends.stdout, ends.stderr):
        if identity.setpriv is not None and stat.S_ISFIFO(os.fstat(stream).st_mode):
            os.fchown(stream, identity.uid, identity.gid)


def _walls(options: _Options, identity: Identity) -> None:
    options.add(*(NAMESPACES_OF_USER if identity.setpriv is None else NAMESPACES_OF_ROOT))
    options.add("--die-with-parent", "--new-session", "--hostname", "mcp")


def _system(options: _Options, spec: SandboxSpec, own: Programs) -> None:
    limits = spec.limits
    if spec.image is None:
        _folders_of_this_machine(options)
    else:
        number = options.place(_opened(spec, Mount(spec.image.source, Path("/"))))
        options.add(*image_words(spec.image, number, own, limits))
    # bwrap's own cover over /proc/sys is left out when it runs as root.
    options.add("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys")
    for name in filter(os.path.exists, UNTOLD):
        options.add("--ro-bind", os.devnull, name)
    # Process 1 cannot be rewritten through /proc/1/mem then, and nothing there spares itself when memory runs out.
    options.add("--remount-ro", "/proc")
    # Each tmpfs has a size: memory is what it is made of.
    options.add("--dev", "/dev")
    for shared, size in (("/dev/shm", limits.shm_size), ("/tmp", limits.tmp_size)):  # noqa: S108
        options.add("--perms", "1777", "--size", str(size), "--tmpfs", shared)
    options.add("--remount-ro", "/dev")


def _folders_of_this_machine(options: _Options) -> None:
    options.add(*machine_words())
    for name in ETC:
        options.add_parents(Path("/etc", name))
        options.add("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _home(options: _Options, spec: SandboxSpec, identity: Identity) -> None:
    """Empty and in memory, or what the server keeps."""
    options.add_parents(HOME)
    if spec.state is None:
        options.add("--perms", "0700", "--size", str(spec.limits.home_size), "--tmpfs", str(HOME))
        return
    if identity.setpriv is not None:
        give(spec.state, identity.uid)
    options.add("--bind-fd", options.place(_opened(spec, Mount(spec.state, HOME, writable=True))), str(HOME))


def _written_files(options: _Options, identity: Identity, patience: str, trust: bytes) -> None:
    """Files that would name the host's users and network, written anew."""
    texts = {
        "passwd": f"mcp:x:{identity.uid}:{identity.gid}::{HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "group": f"mcp:x:{identity.gid}:\nnogroup:x:65534:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "resolv.conf": f"nameserver 127.0.0.1\noptions {patience} edns0 no-aaaa\n",
        "host.conf": "multi on\n",
    }
    for name, text in texts.items():
        number = options.place(memory_file(name, text.encode()))
        options.add("--perms", "0444", "--ro-bind-data", number, f"/etc/{name}")
    if trust:
        options.add_parents(TRUST)
        options.add("--perms", "0444", "--ro-bind-data", options.place(memory_file("trust", trust)), str(TRUST))


def _mounts(options: _Options, spec: SandboxSpec, identity: Identity) -> tuple[str, ...]:
    """Code and grants, outer first, then the guards inside the writable ones."""
    for mount in spec.mounts:
        options.add_parents(mount.target)
        descriptor = _opened(spec, mount)
        number = options.place(descriptor)
        if not mount.writable and not _permitted(os.fstat(descriptor), identity, 0o4):
            raise SandboxError(
                f"{mount.source} is not readable for {spec.server}, which runs as user {identity.uid}",
                hint=f"started as root, Bulkhead gives every server its own user: chmod -R o+rX {mount.source}",
            )
        options.add("--bind-fd" if mount.writable else "--ro-bind-fd", number, str(mount.target))
    guarded = guards_of([replace(each, target=each.source) if each.writable else each for each in spec.mounts])
    numbers: list[str] = []
    try:
        for guard in guarded.guards:
            numbers.append(options.place(guard.descriptor))
    except BaseException:
        for guard in guarded.guards[len(numbers) + 1 :]:  # `place` has taken over the one it refused
            os.close(guard.descriptor)
        raise
    for guard, number in zip(guarded.guards, numbers, strict=True):
        options.add("--bind-fd" if guard.pin else "--ro-bind-fd", number, str(seen_at(spec, guard.path)))
    return (*guarded.warnings, *unwritable(spec, identity))


def _opened(spec: SandboxSpec, mount: Mount) -> int:
    try:
        return open_without_links(mount.source)
    except FileNotFoundError as cause:
        raise SandboxError(
            f"{mount.source}, which {spec.server} was granted or runs from, does not exist",
            hint="restore it, or change the grant",
        ) from cause
    except OSError as cause:
        raise SandboxError(
            f"{mount.source} cannot be shown to {spec.server}: {cause.strerror}",
            hint="a folder that was replaced by a link after it was granted is refused; grant the real path",
        ) from cause


def _permitted(status: os.stat_result, identity: Identity, bits: int) -> bool:
    """Whether the server's user has `bits` (4 read, 2 write, 1 search) on what was opened.

    An ordinary user's server is that user, who may do whatever opening it allowed.
    """
    if identity.setpriv is None:
        return True
    if stat.S_ISDIR(status.st_mode):
        bits |= 0o1
    of_others = status.st_mode >> (6 if status.st_uid == identity.uid else 0)
    return of_others & bits == bits


def _drop(identity: Identity) -> tuple[str, ...]:
    """From root to the link's own user, with nothing left to come back."""
    uid, gid = str(identity.uid), str(identity.gid)
    return (
        *("--reuid", uid, "--regid", gid, "--clear-groups"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"),
    )


def rlimits_of(limits: Limits, *, early_processes: bool) -> tuple[tuple[int, int], ...]:
    """Limits to set before bwrap starts.

    The number of processes is counted per user namespace.  Set before bwrap makes its own, it would count everything
    the user runs; so an ordinary user's sandbox gets it later, at the gate.
    """
    chosen = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_DATA, DATA_FACTOR * limits.memory),
        (resource.RLIMIT_MEMLOCK, 8 << 20),  # the kernel's default for users
    ]
    if early_processes:
        chosen.append((resource.RLIMIT_NPROC, limits.processes))
    return tuple(chosen)
