"""What is inside Python packages: the tree they make, and the program uvx would run."""

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.errors import TrustError
from broker.trust.members import Unpacking
from broker.trust.pypi_client import Release
from broker.trust.wheel import SITE, unpack_wheel

_SCRIPT = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*:\s*"
    r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*(?:\[[\w\s,.-]*\])?"
)
_SCRIPT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One wheel that went into the tree."""

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Built:
    """The tree's wheels, the console scripts of each package, and what was noticed."""

    files: tuple[WheelFile, ...]
    scripts: Mapping[str, Mapping[str, str]]
    findings: tuple[str, ...]


def build_tree(packages: list[Release], wheels: Mapping[Path, str], root: Path) -> Built:
    """Unpack exactly one wheel for each release, each with a locked hash.

    Raises:
        TrustError: bytes, names or contents that are not acceptable.
    """
    (root / SITE).mkdir(parents=True, mode=0o755)
    unpacking = Unpacking(root)
    owners = {sha256: package for package in packages for sha256 in package.hashes}
    files: dict[str, WheelFile] = {}
    scripts: dict[str, Mapping[str, str]] = {}
    findings: list[str] = []
    for path, sha256 in sorted(wheels.items()):
        package = owners.get(sha256)
        if package is None:
            raise TrustError(f"{path.name[:120]!a} has other bytes than were resolved")
        if package.name in files:
            raise TrustError(f"{package.name} was downloaded twice")
        try:
            wheel = unpack_wheel(path, unpacking)
            if wheel.name != package.name:
                raise TrustError(f"its wheel calls itself {wheel.name[:80]!a}")
            scripts[package.name] = _console_scripts(wheel.entry_points)
        except TrustError as cause:
            raise TrustError(f"{package.name} {package.version}: {cause}", hint=cause.hint) from cause
        files[package.name] = WheelFile(package.name, package.version, path.name, sha256)
        findings += [
            f"{package.name} wants {hook!a} to run at every start of Python; it does not" for hook in wheel.hooks
        ]
    for package in packages:
        if package.name not in files:
            raise TrustError(f"{package.name} {package.version} was not downloaded")
    return Built(tuple(files.values()), scripts, tuple(findings))


def release(packages: list[Release], name: str) -> str:
    return next(each.version for each in packages if each.name == name)


def find_script(
    scripts: Mapping[str, Mapping[str, str]], packages: list[str], wanted: str | None
) -> tuple[str, tuple[str, str]]:
    """The console script uvx would run: the one asked for, else the one named like the package; as (module, attribute).

    Raises:
        TrustError: there is no such script, or it is more than a function of a module.
    """
    main = packages[0]
    offered = scripts.get(main, {})
    name = wanted or (main if main in offered else next(iter(offered), "") if len(offered) == 1 else main)
    target = next((scripts[each][name] for each in packages if name in scripts.get(each, {})), None)
    if target is None:
        listed = ", ".join(sorted(offered)[:8]) or "none"
        hint = f"name one: uvx --from {main} PROGRAM" if offered else "it may be a library and no program"
        raise TrustError(f"{main} has no program {name!r}; it has: {listed}", hint=hint)
    match = _SCRIPT.fullmatch(target.strip())
    if match is None or not _SCRIPT_NAME.fullmatch(name):
        raise TrustError(f"the program {name[:80]!a} of {main} is {target[:120]!a}, which is no function of a module")
    return name, (match[1], match[2])


def _console_scripts(text: str) -> Mapping[str, str]:
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are case-sensitive
    try:
        parser.read_string(text)
    except configparser.Error as cause:
        raise TrustError("its entry points cannot be read") from cause
    return dict(parser["console_scripts"]) if parser.has_section("console_scripts") else {}
