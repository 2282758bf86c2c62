"""A pin from its text: every key known, every value of its type, and nothing a launch could not rely on.

A person may have edited the text, so a pin that contradicts itself is refused as one that cannot be read.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar, cast, get_args

from broker.errors import TrustError
from broker.model import ArtifactKind
from broker.pin import (
    Build,
    EvidenceKind,
    EvidenceRecord,
    EvidenceState,
    GitSource,
    ImageSource,
    Interpreter,
    LaunchRequest,
    PackageRef,
    Pin,
    PinnedArtifact,
    Provenance,
    Publisher,
    TrustBasis,
)

_HEX = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

_T = TypeVar("_T")


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
    return lambda value, where: build(kind, value, where)


_texts, _pairs = _list_of(_text), _list_of(_pair)

_READERS: Final[Mapping[type, Mapping[str, Callable[[object, str], object]]]] = MappingProxyType({
    Pin: {"server": _text, "created": _text, "launch": _nested(LaunchRequest), "artifact": _nested(PinnedArtifact),
          "catalog": _text, "accepted": _texts},
    LaunchRequest: {"argv": _texts, "runner": _text, "kind": _one_of(ArtifactKind), "requirement": _text,
                    "args": _texts, "bin": _text,
                    "extra": _texts, "python": _text, "registry": _text, "env": _pairs, "paths": _texts,
                    "mounts": _pairs, "scratch": _texts,
                    "floating": _flag, "warnings": _texts, "module": _text, "cwd": _text, "dev": _flag},
    PinnedArtifact: {"kind": _one_of(ArtifactKind), "name": _text, "version": _text, "tree": _text, "entry": _text,
                     "file_count": _count, "byte_count": _count, "packages": _list_of(_nested(PackageRef)),
                     "files": _pairs, "folders": _pairs, "program": _texts, "until": _time,
                     "interpreter": _nested(Interpreter), "findings": _texts,
                     "evidence": _list_of(_nested(EvidenceRecord)), "publisher": _nested(Publisher),
                     "maintainers": _texts, "released": _text, "registry": _text,
                     "basis": _nested(TrustBasis), "git": _nested(GitSource),
                     "image": _nested(ImageSource), "builds": _list_of(_nested(Build))},
    TrustBasis: {"sigstore": _text, "npm_keys": _text, "age_days": _count, "evidence": _text},
    ImageSource: {"reference": _text, "digest": _text, "manifest": _text, "platform": _text, "layers": _texts,
                  "env": _pairs, "entrypoint": _texts, "user": _text, "cwd": _text, "scratch": _texts,
                  "mounts": _pairs},
    GitSource: {"url": _text, "ref": _text, "commit": _text, "sha256": _text, "tag": _text, "folder": _text,
                "signature": _text, "signer": _text},
    PackageRef: {"name": _text, "version": _text, "integrity": _text, "note": _text,
                 "signature": _one_of(EvidenceState), "provenance": _nested(Provenance)},
    Provenance: {"state": _one_of(EvidenceState), "publisher": _nested(Publisher)},
    Build: {"name": _text, "version": _text, "source": _text, "by": _text,
            "requirements": _list_of(_nested(PackageRef)), "result": _text, "tier": _text,
            "hosts": _texts},
    EvidenceRecord: {"kind": _one_of(EvidenceKind), "state": _one_of(EvidenceState), "detail": _text},
    Publisher: {"issuer": _text, "subject": _text, "repository": _text, "repository_id": _text, "owner_id": _text,
                "workflow": _text, "ref": _text, "commit": _text, "runner": _text, "log_index": _count,
                "signed_at": _count},
    Interpreter: {"path": _path, "version": _text, "sha256": _text, "prefix": _path},
})  # fmt: skip


def build(kind: type[_T], value: object, where: str) -> _T:
    """One value of a pin from a table; every key of the table must be known.

    Raises:
        TrustError: an unknown or missing key, or a wrong type.
    """
    if not isinstance(value, dict):
        raise TrustError(f"{where} of the pin must be a table")
    readers = _READERS[kind]
    if unknown := sorted(set(value) - set(readers)):
        raise TrustError(f"{where} has an unknown key {ascii(unknown[0])[:60]}", hint="pin the server again")
    try:
        return kind(**{name: readers[name](item, f"{where}.{name}") for name, item in value.items()})
    except TypeError as cause:
        raise TrustError(f"{where} of the pin lacks a key", hint="pin the server again") from cause


def check_sound(pin: Pin) -> None:
    """What the types cannot say, and a launch relies on.

    Raises:
        TrustError: the pin contradicts itself, or names a place no launch may touch.
    """
    artifact, dev = pin.artifact, pin.launch.dev
    tree_kind, project = artifact.kind in {"npm", "pypi", "bundle", "image"}, artifact.kind == "project"
    bundle, image = artifact.kind == "bundle", artifact.image
    single = artifact.kind in {"script", "binary"}
    paths = [*(path for path, _ in (*artifact.files, *artifact.folders)), pin.launch.cwd or "/"]
    if image is not None:
        paths += [image.cwd, *image.scratch, *(path for pair in image.mounts for path in pair), *artifact.program[:1]]
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
        (
            (bundle or image is not None) != bool(artifact.program) and not project,
            "names nothing to run, or what only others have",
        ),
        (not project and bool(artifact.folders or dev), "says of it what only projects have"),
        (dev != bool(artifact.until), "does not say how long its development folder is trusted, or says it of another"),
        (any(dev == bool(tree) for _, tree in artifact.folders), "has a folder without a tree hash, or one too many"),
        (any(tree and not _HEX.fullmatch(tree) for _, tree in artifact.folders), "has a folder without a tree hash"),
        (
            artifact.kind not in {"binary", "bundle", "image", "remote"} and artifact.interpreter is None,
            "names no interpreter",
        ),
        (
            artifact.kind == "remote" and not artifact.entry.startswith(("https://", "http://")),
            "names no address of a server",
        ),
        (
            artifact.git is not None
            and not (tree_kind and _HEX.fullmatch(artifact.git.sha256) and _COMMIT.fullmatch(artifact.git.commit)),
            "names no whole commit",
        ),
        ((artifact.kind == "image") != (image is not None), "does not say which image it is"),
        (image is not None and not (_digest(image.digest) and _digest(image.manifest)), "names no whole image"),
        (
            any(not (each.tier and _HEX.fullmatch(each.result)) for each in artifact.builds),
            "names something to build that never was",
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


def _digest(text: str) -> bool:
    return text.startswith("sha256:") and bool(_HEX.fullmatch(text.removeprefix("sha256:")))
