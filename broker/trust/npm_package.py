"""What is inside npm packages: the tree they make, what their manifests say, and the program npx would run."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from broker.errors import TrustError
from broker.files import read_bounded
from broker.trust.members import Unpacking
from broker.trust.npm_lock import Locked
from broker.trust.tarball import unpack_tarball

MAX_TARBALL = 512 << 20
MAX_MANIFEST = 4 * 1024 * 1024
_SCRIPTS: Final = ("preinstall", "install", "postinstall")
_SHEBANG = re.compile(rb"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(?:/[\w./-]+/)?node(?:js)?(\s+[^\r\n]*)?\r?\n?")


def build_tree(packages: list[Locked], cache: Path, root: Path) -> list[str]:
    """Unpack only bytes whose SHA-512 equals the lock; what is notable comes back."""
    root.mkdir(mode=0o755)
    unpacking = Unpacking(root)
    findings: list[str] = []
    for package in packages:
        try:
            unpack_tarball(_tarball(cache, package.integrity), package.path, unpacking)
            findings += _manifest_notes(package, read_manifest(root / package.path))
            if (root / package.path / "binding.gyp").exists():
                findings.append(f"{package.name} {package.version} would build native code; it was not built")
        except TrustError as cause:
            raise TrustError(f"{package.name} {package.version}: {cause}", hint=cause.hint) from cause
    return findings


def _tarball(cache: Path, integrity: str) -> bytes:
    digest = base64.b64decode(integrity.removeprefix("sha512-")).hex()
    try:
        data = read_bounded(cache / "_cacache/content-v2/sha512" / digest[:2] / digest[2:4] / digest[4:], MAX_TARBALL)
    except FileNotFoundError as cause:
        raise TrustError("the registry served no bytes with the announced SHA-512") from cause
    if hashlib.sha512(data).hexdigest() != digest:
        raise TrustError("the downloaded bytes do not have the announced SHA-512")
    return data


def read_manifest(folder: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(read_bounded(folder / "package.json", MAX_MANIFEST))
    except (ValueError, RecursionError, FileNotFoundError) as cause:
        raise TrustError("its package.json is missing or cannot be read") from cause
    if not isinstance(manifest, dict):
        raise TrustError("its package.json is not an object")
    return manifest


def _manifest_notes(package: Locked, manifest: Mapping[str, Any]) -> list[str]:
    """A tarball must be what the registry says it is; its install scripts are reported and never run."""
    if manifest.get("name") != package.name:
        raise TrustError(f"its tarball calls itself {str(manifest.get('name'))[:80]!a}")
    version = str(manifest.get("version")).lstrip("v=")
    if version.partition("+")[0] != package.version.partition("+")[0]:
        raise TrustError(f"its tarball calls itself version {version[:80]!a}")
    return [
        f"{package.name} {package.version} has a script {name!r}, which was not run: {script[:120]!a}"
        for name, script in install_scripts(manifest).items()
    ]


def install_scripts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What npm would run when the package is installed, by the name of the script."""
    scripts = manifest.get("scripts")
    return {name: str(scripts[name]) for name in _SCRIPTS if scripts.get(name)} if isinstance(scripts, dict) else {}


def find_entry(root: Path, names: list[str], program: str | None) -> tuple[str, list[str]]:
    """The file npx would run, by npx's own rule: the only program, or the one named like the package.

    Raises:
        TrustError: there is none, several, or it is not a node program inside its package.
    """
    offered: list[str] = []
    for name in names:
        programs = _programs(name, read_manifest(root / "node_modules" / name))
        offered += programs
        chosen = program or _default_program(name, programs)
        if chosen in programs:
            return _entry(root, f"node_modules/{name}", programs[chosen])
        if program is None:
            break
    listed = ", ".join(ascii(each)[1:-1] for each in sorted(offered)[:8])
    if not offered:
        raise TrustError(f"{names[0]} has no program to run", hint="check that it is a server and not a library")
    if program is not None:
        raise TrustError(f"{names[0]} has no program {program!r}; it has: {listed}")
    hint = f"name one: npx -p {names[0]} PROGRAM"
    raise TrustError(f"{names[0]} has no program of its own name; it has: {listed}", hint=hint)


def _programs(name: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    listed = manifest.get("bin")
    if isinstance(listed, str):
        return {name.rpartition("/")[2]: listed}
    if not isinstance(listed, dict):
        return {}
    return {str(key): value for key, value in listed.items() if isinstance(value, str)}


def _default_program(name: str, programs: Mapping[str, str]) -> str | None:
    if len(set(programs.values())) == 1:
        return next(iter(programs))
    return name.rpartition("/")[2]


def _entry(root: Path, package: str, target: str) -> tuple[str, list[str]]:
    parts = [part for part in target.split("/") if part not in {"", "."}]
    if target.startswith("/") or "\\" in target or ".." in parts or not parts:
        raise TrustError(f"its program {target[:120]!a} lies outside the package")
    base = f"{package}/{'/'.join(parts)}"
    for path in (base, f"{base}.js", f"{base}/index.js"):
        if (root / path).is_file():
            with (root / path).open("rb") as file:
                return path, _shebang(file.readline(512), target)
    raise TrustError(f"its program {target[:120]!a} is not in the package")


def _shebang(first: bytes, target: str) -> list[str]:
    if not first.startswith(b"#!"):
        if not target.endswith((".js", ".cjs", ".mjs")):
            raise TrustError(f"its program {target[:120]!a} does not say that node runs it")
        return []
    match = _SHEBANG.fullmatch(first)
    if match is None:
        raise TrustError(f"its program {target[:120]!a} is run by something else than node: {first[:60]!r}")
    flags = (match[1] or b"").strip()
    return [f"its program asks node for {flags[:80]!r}, which is not passed on"] if flags else []
