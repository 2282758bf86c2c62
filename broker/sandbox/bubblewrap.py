"""A SandboxSpec as a bwrap command: the options as data, and every descriptor that must be passed with them.

The root is built up from nothing.  Options travel in a nameless file, so that neither grants nor values show in the
process list.
"""

import os
import platform
import stat
from pathlib import Path
from typing import Final

from broker.model import Mount, SandboxSpec
from broker.sandbox import seccomp
from broker.sandbox.browsing import OPENER, SCRIPT, SHOWN_AS
from broker.sandbox.commands import ARGUMENTS, GATE, GATE_SCRIPT, INFO, Command, Ends, Identity, rlimits_of
from broker.sandbox.hosts import PROXY_PORT
from broker.sandbox.kernel import memory_file
from broker.sandbox.mounting import Options, add_mounts, opened
from broker.sandbox.plan import HOME, TRUST
from broker.sandbox.roots import Programs, image_words, machine_words, programs_for
from broker.sandbox.state import give

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


UNTOLD: Final = ("/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats")
"""Of the whole machine or of the user outside, whoever reads them."""
PATIENCE: Final = "timeout:6 attempts:2"  # our own lookups take up to ten seconds
NO_PATIENCE: Final = "timeout:1 attempts:1"  # without hosts nobody answers


def command(
    spec: SandboxSpec,
    bwrap: Path,
    identity: Identity,
    ends: Ends,
    trust: bytes = b"",
    listener: Path | None = None,
    pages: Path | None = None,
    *,
    watched: bool = False,
) -> Command:
    """The command that starts `spec`; takes `ends` over, also when it fails.  `trust`: the authorities of its TLS.

    `listener` is the Python that makes its listener from inside, where that is the only way; `pages` the box into which
    it drops the address of a page to open.  `watched`: what the filter refuses is told to those who watch.

    Raises:
        SandboxError: something to be mounted is not there, is behind a link, or would be unreadable inside.
        MachineError: there is no system-call filter for this processor.
    """
    options = Options(spec.server, (ends.stdin, ends.stdout, ends.stderr, ends.gate))
    try:
        _own_streams(identity, ends)
        options.place(-1)  # the arguments themselves, known last
        options.place(ends.info)
        filter_bytes = seccomp.assemble(platform.machine(), unix_sockets=spec.unix_sockets, watched=watched)
        options.add("--add-seccomp-fd", options.place(memory_file("filter", filter_bytes)))
        options.add("--info-fd", str(INFO))
        _walls(options, identity)
        own = programs_for(spec, identity.setpriv, listener)
        _system(options, spec, own)
        _home(options, spec, identity)
        _written_files(options, identity, PATIENCE if spec.hosts else NO_PATIENCE, trust)
        if pages is not None:
            _opener(options, spec, pages)
        warnings = add_mounts(options, spec, identity)
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


def _own_streams(identity: Identity, ends: Ends) -> None:
    """Give the pipes to the server's own user: programs open /dev/stderr by its name."""
    for stream in (ends.stdin, ends.stdout, ends.stderr):
        if identity.setpriv is not None and stat.S_ISFIFO(os.fstat(stream).st_mode):
            os.fchown(stream, identity.uid, identity.gid)


def _walls(options: Options, identity: Identity) -> None:
    options.add(*(NAMESPACES_OF_USER if identity.setpriv is None else NAMESPACES_OF_ROOT))
    options.add("--die-with-parent", "--new-session", "--hostname", "mcp")


def _system(options: Options, spec: SandboxSpec, own: Programs) -> None:
    limits = spec.limits
    if spec.image is None:
        _folders_of_this_machine(options)
    else:
        number = options.place(opened(spec, Mount(spec.image.source, Path("/"))))
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


def _folders_of_this_machine(options: Options) -> None:
    options.add(*machine_words())
    for name in ETC:
        options.add_parents(Path("/etc", name))
        options.add("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _home(options: Options, spec: SandboxSpec, identity: Identity) -> None:
    """Empty and in memory, or what the server keeps."""
    options.add_parents(HOME)
    if spec.state is None:
        options.add("--perms", "0700", "--size", str(spec.limits.home_size), "--tmpfs", str(HOME))
        return
    if identity.setpriv is not None:
        give(spec.state, identity.uid)
    options.add("--bind-fd", options.place(opened(spec, Mount(spec.state, HOME, writable=True))), str(HOME))


def _written_files(options: Options, identity: Identity, patience: str, trust: bytes) -> None:
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


def _opener(options: Options, spec: SandboxSpec, pages: Path) -> None:
    """What asks for a page in the browser, and the box it drops the address into."""
    options.add_parents(OPENER)
    options.add("--perms", "0555", "--ro-bind-data", options.place(memory_file("xdg-open", SCRIPT)), str(OPENER))
    options.add("--ro-bind-fd", options.place(opened(spec, Mount(pages, SHOWN_AS))), str(SHOWN_AS))


def _drop(identity: Identity) -> tuple[str, ...]:
    """From root to the link's own user, with nothing left to come back."""
    uid, gid = str(identity.uid), str(identity.gid)
    return (
        *("--reuid", uid, "--regid", gid, "--clear-groups"),
        *("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"),
    )
