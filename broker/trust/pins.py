"""The pin as a value, as text, and as what a person is shown before saying yes.

The command that is shown is the command that runs: both come from `command`.
"""

import dataclasses
import hashlib
import json
import shlex
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import tomli_w

from broker.errors import TrustError
from broker.model import ArtifactKind
from broker.pin import GitSource, LaunchRequest, Pin, PinnedArtifact
from broker.trust.builds import about_built
from broker.trust.oci_words import about_image
from broker.trust.pin_reading import build, check_sound
from broker.trust.spoken import about_publisher, plain

PACKAGE = "/opt/bulkhead/package"
"""Where every sandbox sees the store object of its server."""
LAUNCHER: Final = "launch.py"
"""The file in a store object of Python packages that Python starts with."""

MAX_TEXT = 8 * 1024 * 1024  # a closure of 2,000 packages makes about 300 KiB
_VERSION = 1
PYTHON_FLAGS = ("-I", "-S", "-B")  # no user site, no .pth files, no PYTHON* variables, no .pyc files written


def command(artifact: PinnedArtifact, launch: LaunchRequest) -> tuple[str, ...]:
    """The exact argv inside the sandbox."""
    interpreter = str(artifact.interpreter.path) if artifact.interpreter else ""
    match artifact.kind:
        case "npm":
            return (interpreter, f"{PACKAGE}/{artifact.entry}", *launch.args)
        case "pypi":
            return (interpreter, *PYTHON_FLAGS, f"{PACKAGE}/{artifact.entry}", *launch.args)
        case "script":
            flags = () if launch.kind == "binary" else launch.extra
            return (interpreter, *flags, artifact.entry, *launch.args)
        case "binary":
            return (artifact.entry, *launch.args)
        case "remote":
            return (artifact.entry,)
        case "project":
            return (interpreter, *artifact.program, *launch.args)
        case "image":
            return artifact.program
        case "bundle":
            return (*((interpreter,) if interpreter else ()), *artifact.program, *launch.args)


def pin_digest(pin: Pin) -> str:
    """SHA-256 (hex) over everything the pin says; independent of how the text is laid out."""
    data = json.dumps(_table(pin), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(data.encode()).hexdigest()


def describe(artifact: PinnedArtifact, launch: LaunchRequest) -> list[str]:
    """The facts a person needs to say yes: the whole command, what was verified and how, what was found."""
    lines = [f"runs: {shlex.join(command(artifact, launch))}"]
    if launch.env:
        lines.append("sets: " + " ".join(f"{name}={shlex.quote(value)}" for name, value in launch.env))
    lines += [*_VERIFIED[artifact.kind](artifact), *about_built(artifact)]
    if artifact.interpreter:
        found = artifact.interpreter
        lines.append(f"interpreter: {found.path} {found.version}, sha256 {found.sha256}")
    if launch.floating:
        lines.append(
            f"note: the line asks for {launch.requirement!r}; {artifact.version} stays until you update the pin"
        )
    lines += [f"note: {warning}" for warning in launch.warnings]
    lines += [f"found: {finding}" for finding in artifact.findings]
    return lines


def development(artifact: PinnedArtifact) -> str:
    """What is said of a development folder wherever it is shown; empty for everything else."""
    return f"development folder, trusted until {artifact.until[:10]}, not verified" if artifact.until else ""


def to_text(pin: Pin) -> str:
    return tomli_w.dumps({"v": _VERSION, **_table(pin)})


def from_text(text: str) -> Pin:
    """Read what `to_text` wrote; what a person typed into it is checked as strictly.

    Raises:
        TrustError: an unknown or missing key, a wrong type, or a value no pin can have.
    """
    if len(text) > MAX_TEXT:
        raise TrustError(f"the pin is larger than {MAX_TEXT} characters")
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise TrustError(f"the pin is not TOML: {str(cause)[:120]}") from cause
    version = data.pop("v", None)
    if version != _VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > _VERSION
        raise TrustError(f"the pin has version {version!r}, this program reads {_VERSION}",
                         hint="it was written by a newer Bulkhead: update this one" if newer else "")  # fmt: skip
    pin = build(Pin, data, "pin")
    check_sound(pin)
    return pin


def _by_tree(artifact: PinnedArtifact) -> list[str]:
    tool = {"npm": "npm, every tarball by its SHA-512", "pypi": "pip, every wheel by its SHA-256"}[artifact.kind]
    return [
        *_by_files(artifact),
        *(_by_commit(artifact.git) if artifact.git else [f"package: {artifact.name} {artifact.version}"]),
        f"verified: {len(artifact.packages)} packages as resolved now, downloaded with {tool}, unpacked without "
        "running anything",
        f"stored: {artifact.file_count} files, {artifact.byte_count} bytes, tree sha256 {artifact.tree}; "
        "every file is hashed again at every start",
        *([] if artifact.git else about_publisher(artifact)),
    ]


def _by_bundle(artifact: PinnedArtifact) -> list[str]:
    said = {"verified": "its signature is by the key of", "missing": "who made it (the bundle is not signed)"}
    lines = [f"bundle: {plain(artifact.name)} {plain(artifact.version)}"]
    for record in artifact.evidence:
        holds = "verified" if record.state == "verified" else "not verified"
        lines.append(f"{holds}: {said.get(record.state, 'who made it')} {plain(record.detail, 400)}".rstrip())
    return [
        *lines,
        f"stored: {artifact.file_count} files, {artifact.byte_count} bytes, tree sha256 {artifact.tree}; "
        "every file is hashed again at every start",
    ]


def _by_commit(source: GitSource) -> list[str]:
    """Whose key it is, nobody here can say; whether it is the one of the last pin, `continuity` can."""
    where = f", folder {source.folder}" if source.folder else ""
    tag = f", through the tag object {source.tag}" if source.tag else ""
    what, _, kind = source.signature.partition(": ")
    if source.signer:
        who = f"verified: the {what} is signed by the {kind} key {source.signer}; whose it is, nobody here knows"
    else:
        signed = (
            f"the {what} carries a signature ({kind}), which was not checked" if what else "nothing in it is signed"
        )
        who = f"not verified: who wrote it ({signed})"
    return [
        f"git: {source.url}{where}: {source.ref} -> commit {source.commit}{tag}",
        f"verified: every file against that commit, content sha256 {source.sha256}; nothing was built",
        who,
    ]


def _by_files(artifact: PinnedArtifact) -> list[str]:
    return [f"verified: {path}, sha256 {sha256}; hashed again at every start" for path, sha256 in artifact.files]


def _by_folders(artifact: PinnedArtifact) -> list[str]:
    lines = [
        f"verified: folder {path}, tree sha256 {tree}; every file is hashed again at every start"
        if tree
        else f"{path}: {development(artifact)}"
        for path, tree in artifact.folders
    ]
    if artifact.tree:
        lines.append(
            f"verified: {len(artifact.packages)} packages it depends on, every wheel by its SHA-256, "
            f"in the store with tree sha256 {artifact.tree}"
        )
    return [*lines, *_by_files(artifact)]


def _by_address(artifact: PinnedArtifact) -> list[str]:
    return [
        f"runs elsewhere: {artifact.name}; what you ask of it leaves this machine",
        "not verified: its code, which nobody here can see; pinned are its address and what it offers",
    ]


_VERIFIED: Final[Mapping[ArtifactKind, Callable[[PinnedArtifact], list[str]]]] = MappingProxyType(
    {
        "npm": _by_tree,
        "pypi": _by_tree,
        "script": _by_files,
        "binary": _by_files,
        "project": _by_folders,
        "bundle": _by_bundle,
        "image": about_image,
        "remote": _by_address,
    }
)


def _table(value: Any) -> Any:
    """Dataclasses to plain TOML values; what is None is left out."""
    if dataclasses.is_dataclass(value):
        pairs = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
        return {name: _table(item) for name, item in pairs if item is not None}
    if isinstance(value, tuple):
        return [_table(item) for item in value]
    return str(value) if isinstance(value, Path) else value
