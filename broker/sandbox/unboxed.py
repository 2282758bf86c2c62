"""A SandboxSpec as a program without namespaces: behind Landlock and a filter, or with nothing around it at all.

Landlock only where namespaces cannot be had, and never with a network.  With nothing around it only where a person
wrote so for that very server.  Both see the machine as it is, so what has a place of its own in a sandbox is named by
its real place here.
"""

import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from broker.errors import SandboxError
from broker.model import Mount, SandboxSpec
from broker.sandbox import seccomp
from broker.sandbox.bubblewrap import ETC
from broker.sandbox.commands import GATE_SCRIPT, Command, Ends, rlimits_of
from broker.sandbox.kernel import memory_file, open_without_links
from broker.sandbox.landlock import DEVICE, READING, WRITING
from broker.sandbox.plan import HOME, OF_THE_NETWORK
from broker.sandbox.sweep import mark_of

SHOWN: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", *(f"/etc/{name}" for name in ETC))
ASKED_FOR: Final = (
    *("/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/host.conf"),
    *("/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"),
)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def behind_landlock(spec: SandboxSpec, ends: Ends, box: Path) -> Command:
    """The command that starts `spec` behind Landlock; `box` is its home.  Takes `ends` over, also when it fails.

    Raises:
        SandboxError: it needs a network, or something it may see cannot be opened.
    """
    os.close(ends.info)
    descriptors = [ends.stdin, ends.stdout, ends.stderr, ends.gate]
    rules: list[int] = []
    try:
        if spec.hosts:
            raise SandboxError(
                f"{spec.server} may reach hosts, and this machine cannot filter a network (tier B)",
                hint="bulkhead doctor says what a full sandbox needs here; without hosts it starts",
            )
        here = in_place(spec, box)
        descriptors.append(memory_file("filter", seccomp.assemble(platform.machine(), network=False)))
        for path, access in _rules(here, box):
            descriptors.append(path)
            rules.append(access)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return Command(
        argv=("/bin/sh", "-c", GATE_SCRIPT, "gate", *here.argv),
        env=here.env,
        descriptors=tuple(descriptors),
        rlimits=(*rlimits_of(spec.limits, early_processes=False), (resource.RLIMIT_MSGQUEUE, mark_of(box))),
        warnings=(f"{spec.server} runs behind Landlock only: it can see which files and processes exist",),
        cwd=str(here.cwd),
        landlock=tuple(rules),
    )


def with_nothing_around(spec: SandboxSpec, ends: Ends, home: Path) -> Command:
    """The command that starts `spec` as any program of the user is started."""
    os.close(ends.info)
    here = in_place(spec, home)
    return Command(
        argv=("/bin/sh", "-c", GATE_SCRIPT, "gate", *here.argv),
        env=here.env,
        descriptors=(ends.stdin, ends.stdout, ends.stderr, ends.gate),
        rlimits=rlimits_of(spec.limits, early_processes=False),
        warnings=(f"{spec.server} runs without a sandbox, as you chose: it can do all that you can",),
        cwd=str(here.cwd),
    )


def in_place(spec: SandboxSpec, home: Path) -> SandboxSpec:
    """The same with every place of the sandbox's own named as it is on this machine.

    Raises:
        SandboxError: it is an image, which is a machine of its own.
    """
    if spec.image is not None:
        raise SandboxError(
            f"{spec.server} is an image, and only a full sandbox (tier A) can hold one",
            hint="bulkhead doctor says what a full sandbox needs here",
        )
    moved = [(mount.target, mount.source) for mount in spec.mounts if mount.target != mount.source] + [(HOME, home)]
    ours = OF_THE_NETWORK.items()
    env = {name: _moved(value, moved) for name, value in spec.env.items() if (name, value) not in ours}
    return replace(
        spec,
        argv=tuple(_moved(word, moved) for word in spec.argv),
        env=MappingProxyType({**env, "HOME": str(home), "TMPDIR": str(home)}),
        cwd=Path(_moved(str(spec.cwd), moved)),
        mounts=tuple(Mount(mount.source, mount.source, mount.writable) for mount in spec.mounts),
    )


def _moved(text: str, moved: list[tuple[Path, Path]]) -> str:
    """`text` with each path in it (one, or several between colons) that lies in a moved folder."""

    def one(part: str) -> str:
        for target, source in moved:
            if part == str(target) or part.startswith(f"{target}/"):
                return f"{source}{part[len(str(target)) :]}"
        return part

    return ":".join(map(one, text.split(":")))


def _rules(here: SandboxSpec, box: Path) -> Iterator[tuple[int, int]]:
    for name in (*SHOWN, *ASKED_FOR):
        try:
            path = os.open(name, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        yield path, READING
    for name in DEVICES:
        yield os.open(name, os.O_PATH | os.O_CLOEXEC), DEVICE
    for mount in (*here.mounts, Mount(box, box, writable=True)):
        try:
            yield open_without_links(mount.source), WRITING if mount.writable else READING
        except OSError as cause:
            raise SandboxError(
                f"{mount.source} cannot be shown to {here.server}: {cause.strerror}",
                hint="restore it, or change the grant",
            ) from cause
