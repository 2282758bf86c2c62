"""What npm resolved, judged before anything is downloaded.

Only packages by name from the configured registries, each with a SHA-512, each at a place inside the tree.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import TrustError
from broker.trust.launchers.npx import NAME
from broker.trust.npm_settings import origin, shown

MAX_PACKAGES = 5000  # 13 times the largest closure seen in the field
_SHA512 = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_TOP: Final = "node_modules/"


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of the closure: where it goes, what it is, and the hash its tarball must have."""

    path: str
    name: str
    version: str
    integrity: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What packages may ask of a machine, in npm's words."""

    os: str
    cpu: str
    libc: str


def read_lock(lock: Mapping[str, Any], origins: frozenset[str], machine: Machine) -> tuple[list[Locked], list[str]]:
    """The packages to unpack, sorted so that a folder comes before what is nested in it, and what was noticed.

    Raises:
        TrustError: the first package that is not acceptable, and why.
    """
    entries = lock.get("packages")
    if lock.get("lockfileVersion") not in (2, 3) or not isinstance(entries, dict):
        raise TrustError("npm wrote a lock file of an unknown kind", hint="update npm to version 9 or newer")
    if len(entries) > MAX_PACKAGES:
        raise TrustError(f"it needs more than {MAX_PACKAGES} packages")
    packages: list[Locked] = []
    findings: list[str] = []
    for path, entry in sorted(entries.items()):
        if path == "":
            continue
        if not isinstance(entry, dict):
            raise TrustError(f"the lock entry {path!a} is no package")
        name = _place(path, entry)
        if entry.get("inBundle"):
            findings.append(f"{name!a} is bundled inside another package and has no hash of its own")
            continue
        if not _fits(entry, machine):
            if entry.get("optional"):
                continue
            findings.append(f"{name!a} says it is not made for this machine")
        packages.append(_judge(path, name, entry, origins))
        if entry.get("deprecated"):
            findings.append(f"{name!a} is deprecated by its author")
    return packages, findings


def _place(path: object, entry: Mapping[str, Any]) -> str:
    """The package's name, from a path that is `node_modules/NAME` once or nested."""
    if entry.get("link"):
        raise TrustError(f"{path!a} is a link to a folder, not a package")
    if not isinstance(path, str) or not path.startswith(_TOP):
        raise TrustError(f"the package path {path!a} lies outside the tree")
    folders = path.removeprefix(_TOP).split(f"/{_TOP}")
    if not all(NAME.fullmatch(folder) and ".." not in folder.split("/") for folder in folders):
        raise TrustError(f"the package path {path!a} lies outside the tree")
    name = entry.get("name", folders[-1])  # differs for an alias
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise TrustError(f"{name!a} is not the name of an npm package")
    return name


def _judge(path: str, name: str, entry: Mapping[str, Any], origins: frozenset[str]) -> Locked:
    version, resolved, integrity = entry.get("version"), entry.get("resolved"), entry.get("integrity")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise TrustError(f"{name!a} has no version from a registry (it may come from git, a file or an address)")
    if not isinstance(resolved, str) or origin(resolved) not in origins:
        where = shown(str(resolved)) if resolved else "nowhere"
        raise TrustError(
            f"{name} {version} would come from {where[:120]!a}, which is not a registry you configured",
            hint="only packages of the configured registries can be pinned",
        )
    hashes = [each for each in str(integrity or "").split() if _SHA512.fullmatch(each)]
    if len(hashes) != 1:
        raise TrustError(f"{name} {version} has no SHA-512 in the registry, so its bytes cannot be checked")
    return Locked(path, name, version, hashes[0])


def _fits(entry: Mapping[str, Any], machine: Machine) -> bool:
    return (
        _allows(entry.get("os"), machine.os)
        and _allows(entry.get("cpu"), machine.cpu)
        and (not machine.libc or _allows(entry.get("libc"), machine.libc))
    )


def _allows(listed: object, value: str) -> bool:
    """npm's rule: `!x` excludes x; a list with any plain name includes only these."""
    if not listed:
        return True
    names = [str(each) for each in listed] if isinstance(listed, list) else [str(listed)]
    plain = [name for name in names if not name.startswith("!")]
    return f"!{value}" not in names and (not plain or value in plain or "any" in plain)
