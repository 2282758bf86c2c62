"""The pin as a value, as text, and as what a person is shown before saying yes.

The command that is shown is the command that runs: both come from `command`.
"""

import dataclasses
import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, get_args

import tomli_w

from broker.errors import TrustError
from broker.model import ArtifactKind
from broker.pin import (
    EvidenceKind,
    EvidenceRecord,
    EvidenceState,
    GitSource,
    Interpreter,
    LaunchRequest,
    PackageRef,
    Pin,
    PinnedArtifact,
    Publisher,
)
from broker.trust.spoken import about_publisher, plain

PACKAGE = "/opt/bulkhead/package"
"""Where every sandbox sees the store object of its server."""
LAUNCHER: Final = "launch.py"
"""The file in a store object of Python packages that Python starts with."""

MAX_TEXT = 8 * 1024 * 1024  # a closure of 2,000 packages makes about 300 KiB
_VERSION = 1
_HEX = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
PYTHON_FLAGS = ("-I", "-S", "-B")  # no user site, no .pth files, no PYTHON* variables, no .pyc files written

_T = TypeVar("_T")


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
        case "project":
            return (interpreter, *artifact.program, *launch.args)
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
    lines += _VERIFIED[artifact.kind](artifact)
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
        raise TrustError(f"the pin has version {version!r}, this program reads {_VERSION}")
    pin = _build(Pin, data, "pin")
    _sound(pin)
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
    """Whose signature it is, nobody here can say: no key is trusted, so none is called checked."""
    where = f", folder {source.folder}" if source.folder else ""
    tag = f", through the tag object {source.tag}" if source.tag else ""
    what, _, kind = source.signature.partition(": ")
    signed = f"the {what} carries a signature ({kind}), which was not checked" if what else "nothing in it is signed"
    return [
        f"git: {source.url}{where}: {source.ref} -> commit {source.commit}{tag}",
        f"verified: every file against that commit, content sha256 {source.sha256}; nothing was built",
        f"not verified: who wrote it ({signed})",
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


_VERIFIED: Final[Mapping[ArtifactKind, Callable[[PinnedArtifact], list[str]]]] = MappingProxyType(
    {
        "npm": _by_tree,
        "pypi": _by_tree,
        "script": _by_files,
        "binary": _by_files,
        "project": _by_folders,
        "bundle": _by_bundle,
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


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TrustError(f"{where} of the pin must be text")
    return value


def _time(value: object, where: str) -> str:
    text = _text(value, where)
    try:
        aware = not text or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise TrustError(f"{where} of the pin must be a time with its zone")
    return text


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TrustError(f"{where} of the pin must be a number, not below 0")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise TrustError(f"{where} of the pin must be true or false")
    return value


def _path(value: object, where: str) -> Path:
    path = Path(_text(value, where))
    if not path.is_absolute() or ".." in path.parts:
        raise TrustError(f"{where} of the pin must be an absolute path")
    return path


def _one_of(words: object) -> Callable[[object, str], str]:
    """A reader for a `Literal`."""
    allowed = get_args(words)

    def word(value: object, where: str) -> str:
        if value not in allowed:
            raise TrustError(f"{where} of the pin must be one of {', '.join(allowed)}")
        return cast(str, value)

    return word


def _list_of(read: Callable[[object, str], _T]) -> Callable[[object, str], tuple[_T, ...]]:
    def items(value: object, where: str) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise TrustError(f"{where} of the pin must be a list")
        return tuple(read(item, where) for item in value)

    return items


def _pair(value: object, where: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise TrustError(f"{where} of the pin must hold pairs")
    return _text(value[0], where), _text(value[1], where)


def _nested(kind: type[_T]) -> Callable[[object, str], _T]:
    return lambda value, where: _build(kind, value, where)


_texts, _pairs = _list_of(_text), _list_of(_pair)

_READERS: Final[Mapping[type, Mapping[str, Callable[[object, str], object]]]] = MappingProxyType({
    Pin: {"server": _text, "created": _text, "launch": _nested(LaunchRequest), "artifact": _nested(PinnedArtifact),
          "catalog": _text},
    LaunchRequest: {"argv": _texts, "runner": _text, "kind": _one_of(ArtifactKind), "requirement": _text,
                    "args": _texts, "bin": _text,
                    "extra": _texts, "python": _text, "registry": _text, "env": _pairs, "paths": _texts,
                    "floating": _flag, "warnings": _texts, "module": _text, "cwd": _text, "dev": _flag},
    PinnedArtifact: {"kind": _one_of(ArtifactKind), "name": _text, "version": _text, "tree": _text, "entry": _text,
                     "file_count": _count, "byte_count": _count, "packages": _list_of(_nested(PackageRef)),
                     "files": _pairs, "folders": _pairs, "program": _texts, "until": _time,
                     "interpreter": _nested(Interpreter), "findings": _texts,
                     "evidence": _list_of(_nested(EvidenceRecord)), "publisher": _nested(Publisher),
                     "maintainers": _texts, "released": _text, "git": _nested(GitSource)},
    GitSource: {"url": _text, "ref": _text, "commit": _text, "sha256": _text, "tag": _text, "folder": _text,
                "signature": _text},
    PackageRef: {"name": _text, "version": _text, "integrity": _text, "note": _text,
                 "signature": _one_of(EvidenceState)},
    EvidenceRecord: {"kind": _one_of(EvidenceKind), "state": _one_of(EvidenceState), "detail": _text},
    Publisher: {"issuer": _text, "subject": _text, "repository": _text, "repository_id": _text, "owner_id": _text,
                "workflow": _text, "ref": _text, "commit": _text, "runner": _text, "log_index": _count,
                "signed_at": _count},
    Interpreter: {"path": _path, "version": _text, "sha256": _text, "prefix": _path},
})  # fmt: skip


def _build(kind: type[_T], value: object, where: str) -> _T:
    if not isinstance(value, dict):
        raise TrustError(f"{where} of the pin must be a table")
    readers = _READERS[kind]
    if unknown := sorted(set(value) - set(readers)):
        raise TrustError(f"{where} has an unknown key {ascii(unknown[0])[:60]}", hint="pin the server again")
    try:
        return kind(**{name: readers[name](item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as cause:
        raise TrustError(f"{where} of the pin lacks a key", hint="pin the server again") from cause


def _sound(pin: Pin) -> None:
    """What the types cannot say, and a launch relies on."""
    artifact, dev = pin.artifact, pin.launch.dev
    tree_kind, project = artifact.kind in {"npm", "pypi", "bundle"}, artifact.kind == "project"
    bundle = artifact.kind == "bundle"
    single = artifact.kind in {"script", "binary"}
    paths = [*(path for path, _ in (*artifact.files, *artifact.folders)), pin.launch.cwd or "/"]
    problems = (
        (not pin.server, "names no server"),
        (not pin.launch.argv, "has no launch line"),
        (tree_kind and not _HEX.fullmatch(artifact.tree), "has no tree hash"),
        (tree_kind and not _inside(artifact.entry), "has an entry outside its package"),
        (single and artifact.tree != "", "has a tree hash it cannot have"),
        (single and not artifact.files, "names no file"),
        (single and artifact.entry not in dict(artifact.files), "has an entry that is not among its files"),
        (project and not (artifact.folders and artifact.program), "names no folder, or nothing in it to run"),
        (project and artifact.tree != "" and not _HEX.fullmatch(artifact.tree), "has no tree hash"),
        (bundle != bool(artifact.program) and not project, "names nothing to run, or what only others have"),
        (not project and bool(artifact.folders or dev), "says of it what only projects have"),
        (dev != bool(artifact.until), "does not say how long its development folder is trusted, or says it of another"),
        (any(dev == bool(tree) for _, tree in artifact.folders), "has a folder without a tree hash, or one too many"),
        (any(tree and not _HEX.fullmatch(tree) for _, tree in artifact.folders), "has a folder without a tree hash"),
        (artifact.kind not in {"binary", "bundle"} and artifact.interpreter is None, "names no interpreter"),
        (
            artifact.git is not None
            and not (tree_kind and _HEX.fullmatch(artifact.git.sha256) and _COMMIT.fullmatch(artifact.git.commit)),
            "names no whole commit",
        ),
        (any(not _HEX.fullmatch(sha256) for _, sha256 in artifact.files), "has a file without a SHA-256"),
        (any(not path.startswith("/") or ".." in path.split("/") for path in paths), "has a relative path"),
        (artifact.interpreter is not None and not _HEX.fullmatch(artifact.interpreter.sha256), "has a bad interpreter"),
    )
    for wrong, what in problems:
        if wrong:
            raise TrustError(f"the pin of {pin.server!r} {what}", hint="pin the server again")


def _inside(entry: str) -> bool:
    return bool(entry) and all(part not in {"", ".", ".."} for part in entry.split("/"))
