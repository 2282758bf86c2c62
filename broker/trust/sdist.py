"""Source distributions of Python packages: what they say of themselves, read without running anything of theirs.

What an sdist says it needs is believed until it is built; a wheel that then says otherwise is refused.
"""

import io
import re
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
from pip._vendor.packaging.version import InvalidVersion, Version

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.launchers.uvx import normal
from broker.trust.members import Unpacking
from broker.trust.tarball import unpack_tarball

MAX_WORDS: Final = 1024 * 1024
SOURCE: Final = "source"
_LEGACY: Final = "setuptools.build_meta:__legacy__"  # what stands in where nothing is said
_BACKEND = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?")


@dataclass(frozen=True, slots=True)
class Sdist:
    """A source distribution, and how it wants to be built."""

    name: str
    version: str
    needs: tuple[str, ...]
    python: str
    extras: tuple[str, ...]
    backend: str
    build_needs: tuple[str, ...]
    backend_path: tuple[str, ...]


def unpack_sdist(data: bytes, name: str, room: Path) -> Sdist:
    """Unpack it into `room` and read it.

    Raises:
        TrustError: it is not what its file name says, or only a build would tell what it needs.
    """
    try:
        unpack_tarball(data, SOURCE, Unpacking(room))
        source = room / SOURCE
        about = _metadata(_words(source / "PKG-INFO"))
        if normal(about["Name"] or "") != name:
            raise TrustError(f"it calls itself {str(about['Name'])[:80]!a}")
        needs = _needs(about)
        if not needs and any(_words(path).strip() for path in source.glob("**/*.egg-info/requires.txt")):
            raise TrustError("only a build would say which packages it needs")
        backend, build_needs, backend_path = _build_system(source)
        return Sdist(name, _version(about), needs, about["Requires-Python"] or "",
                     tuple(about.get_all("Provides-Extra", [])), backend, build_needs, backend_path)  # fmt: skip
    except TrustError as cause:
        raise TrustError(f"the source distribution of {name}: {cause}", hint=cause.hint) from cause


def stand_in(sdist: Sdist, folder: Path) -> Path:
    """A wheel with nothing in it but what the sdist says it needs: uv resolves with it and has nothing to build."""
    info = f"{sdist.name.replace('-', '_')}-{sdist.version}"
    lines = ["Metadata-Version: 2.1", f"Name: {sdist.name}", f"Version: {sdist.version}"]
    lines += [f"Requires-Python: {sdist.python}"] if sdist.python else []
    lines += [f"Provides-Extra: {each}" for each in sdist.extras] + [f"Requires-Dist: {each}" for each in sdist.needs]
    path = folder / f"{info}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}.dist-info/METADATA", "\n".join(" ".join(line.split()) for line in lines) + "\n")
        archive.writestr(f"{info}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}.dist-info/RECORD", "")
    return path


def check_built(wheel: bytes, sdist: Sdist) -> None:
    """Hold a built wheel against what its sdist said.

    Raises:
        TrustError: it is another package or version, or needs other packages than were resolved.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            (member,) = (each for each in archive.infolist() if each.filename.endswith(".dist-info/METADATA"))
            if member.file_size > MAX_WORDS:
                raise TrustError("the wheel it was built into says too much of itself")
            about = _metadata(archive.read(member).decode())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as cause:
        raise TrustError("the wheel it was built into is damaged") from cause
    if (normal(about["Name"] or ""), _version(about)) != (sdist.name, sdist.version):
        raise TrustError("the wheel it was built into is another package, or another version")
    if set(_needs(about)) != set(sdist.needs):
        raise TrustError("the wheel it was built into needs other packages than its source said")


def _build_system(source: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    try:
        system = tomllib.loads(_words(source / "pyproject.toml")).get("build-system", {})
    except (ValueError, RecursionError) as cause:
        raise TrustError("its pyproject.toml cannot be read") from cause
    system = system if isinstance(system, dict) else {}
    backend, path = system.get("build-backend", _LEGACY), system.get("backend-path", [])
    needs = system.get("requires", ["setuptools>=40.8.0"])
    if not isinstance(path, list) or not isinstance(needs, list) or not _BACKEND.fullmatch(str(backend)):
        raise TrustError("its pyproject.toml does not say how it is built")
    if any(".." in str(each).split("/") or str(each).startswith("/") for each in path):
        raise TrustError("its build begins outside of its source")
    return str(backend), tuple(_requirement(str(each)) for each in needs), tuple(map(str, path))


def _needs(about: Message) -> tuple[str, ...]:
    return tuple(_requirement(str(each)) for each in about.get_all("Requires-Dist", []))


def _requirement(text: str) -> str:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as cause:
        raise TrustError(f"{text[:120]!a} is no requirement") from cause
    if requirement.url is not None:
        raise TrustError(f"{text[:120]!a} comes from an address, not from an index")
    requirement.name = normal(requirement.name)
    return str(requirement)


def _version(about: Message) -> str:
    try:
        return str(Version(about["Version"] or ""))
    except InvalidVersion as cause:
        raise TrustError("it has no version") from cause


def _metadata(text: str) -> Message:
    return HeaderParser().parsestr(text)


def _words(path: Path) -> str:
    try:
        return read_bounded(path, MAX_WORDS).decode()
    except FileNotFoundError:
        return ""
    except (ConfigError, ValueError) as cause:
        raise TrustError(f"its {path.name} cannot be read") from cause
