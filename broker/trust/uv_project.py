"""A uv project: its sources pinned where they lie, its dependencies in the store.

What its `uv.lock` names counts, with the lock's own hashes; without one, what `pyproject.toml` asks for is resolved
now.  Nothing of the project is built or run, and nothing is written into it.
"""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import LaunchRequest, PackageRef, PinnedArtifact
from broker.trust.entry import entry_of_project
from broker.trust.launchers.uvx import normal, requirement
from broker.trust.pins import LAUNCHER, PACKAGE, PYTHON_FLAGS
from broker.trust.project import pin_folders
from broker.trust.pypi import find_python
from broker.trust.pypi_client import PypiClient, Release
from broker.trust.pypi_package import build_tree
from broker.trust.pypi_settings import pypi_settings
from broker.trust.run import Run, tool_environment
from broker.trust.store import Store

MAX_MANIFEST = 1024 * 1024
MAX_LOCK = 32 * 1024 * 1024
_LOCKED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9A-Za-z][0-9A-Za-z.!+_-]*)\s*(;[^#]*?)?\s*")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_WANTED = re.compile(r"([^;]+?)\s*(;.*)?")
_VERSION = re.compile(r"3\.\d{1,3}(?:\.\d{1,3})?")
_INLINE = re.compile(rb"(?m)^# /// script\s*$")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a project depends on, as the resolver reads it, and the only hashes its lock allows (empty: no lock)."""

    lines: tuple[str, ...]
    hashes: Mapping[str, frozenset[str]]


async def resolve_uv_project(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
) -> PinnedArtifact:
    """Pin the project and everything it depends on.

    Raises:
        TrustError: a dependency could not be had, or is nothing that can be pinned; the project is too large.
    """
    folder = Path(request.requirement)
    manifest = await anyio.to_thread.run_sync(partial(_manifest, folder))
    await anyio.to_thread.run_sync(partial(_refuse_inline, request))
    pip = (sys.executable, "-m", "pip")
    with store.staging() as work:
        chosen = request.python or await anyio.to_thread.run_sync(partial(_chosen_python, folder))
        python = await find_python(chosen, environment, work, run)
        settings = await pypi_settings(pip, environment, work, run)
        client = PypiClient(python, pip, settings, tool_environment(environment, work), work, run)
        wanted = await _wanted(folder, manifest, client, work)
        lines = [*wanted.lines, *(requirement(each)[1] for each in request.extra)]
        packages: list[Release] = []
        wheels: dict[Path, str] = {}
        if lines:
            progress(f"asking {settings.shown()} for what {folder.name} depends on")
            packages = [_as_locked(each, wanted) for each in await client.lock(lines)]
            progress(f"downloading {len(packages)} packages")
            wheels = await client.download(packages)
        progress(f"verifying and unpacking {len(packages)} packages")
        tree = work / "tree"
        built = await anyio.to_thread.run_sync(partial(build_tree, packages, wheels, tree))
        own = normal(str(manifest.get("project", {}).get("name", folder.name)))
        scripts = {**built.scripts, own: _own_scripts(manifest)}
        (tree / LAUNCHER).write_text(entry_of_project(request, scripts, [own, *built.scripts]))
        closure = [{"name": each.name, "version": each.version, "sha256": each.sha256} for each in built.files]
        (tree / "closure.json").write_text(json.dumps(closure, indent=1))
        progress("compiling and hashing every file into the store")
        await client.compile(tree)
        stored = await anyio.to_thread.run_sync(store.admit, tree)
    artifact = PinnedArtifact(
        kind="project",
        name=own,
        version="",
        tree=stored.tree,
        entry=request.bin or request.module or "",
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=tuple(PackageRef(each.name, each.version, f"sha256:{each.sha256}", each.file) for each in built.files),
        folders=((str(folder), ""),),
        program=(*PYTHON_FLAGS, f"{PACKAGE}/{LAUNCHER}"),
        interpreter=python,
        findings=(*built.findings, _found(wanted), "it runs from its own folder: what changes there while it starts is "
                  "noticed at the next start"),
    )  # fmt: skip
    return await pin_folders(artifact, request, store, progress)


def exported(text: str) -> Wanted:
    """Read what `uv export` wrote: only releases of an index, each with hashes.

    Raises:
        TrustError: the lock names something else; the message says what.
    """
    lines: list[str] = []
    hashes: dict[str, set[str]] = {}
    for logical in text.replace("\\\n", " ").splitlines():
        line = logical.partition(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        named, *_ = line.split(" --hash=", 1)
        match = _LOCKED.fullmatch(named.strip())
        allowed = set(_HASH.findall(line))
        if match is None or not allowed:
            raise TrustError(
                f"uv.lock names {named.strip()[:120]!a}, which is no release of an index with its hashes",
                hint="only packages of an index can be pinned; a folder or a git address cannot",
            )
        lines.append(f"{match[1]}=={match[2]} {match[3] or ''}".strip())
        hashes.setdefault(normal(match[1]), set()).update(allowed)
    return Wanted(tuple(lines), {name: frozenset(found) for name, found in hashes.items()})


def asked_for(manifest: Mapping[str, Any]) -> Wanted:
    """What `pyproject.toml` depends on, without a lock.

    Raises:
        TrustError: it does not say so itself, or names a folder, an address or a source of its own.
    """
    project = manifest.get("project", {})
    if "dependencies" in project.get("dynamic", []):
        raise TrustError("the project's dependencies are only known to its build", hint="lock them with: uv lock")
    lines = []
    sources = {normal(name) for name in manifest.get("tool", {}).get("uv", {}).get("sources", {})}
    for each in project.get("dependencies", []):
        match = _WANTED.fullmatch(str(each).strip())
        if match is None:
            raise TrustError(f"{str(each)[:120]!a} in pyproject.toml is no package by name")
        name, text, _ = requirement(match[1])
        if name in sources:
            raise TrustError(f"{name} comes from a source of the project's own, not from an index",
                             hint="only packages of an index can be pinned")  # fmt: skip
        lines.append(f"{text} {match[2] or ''}".strip())
    return Wanted(tuple(lines), {})


async def _wanted(folder: Path, manifest: Mapping[str, Any], client: PypiClient, work: Path) -> Wanted:
    """Ask uv what the lock says, in a copy: the project itself is only read."""
    try:
        lock = await anyio.to_thread.run_sync(partial(read_bounded, folder / "uv.lock", MAX_LOCK))
    except FileNotFoundError:
        return asked_for(manifest)
    except ConfigError as cause:
        raise TrustError(str(cause)) from cause
    copy = work / "locked"
    copy.mkdir(mode=0o700)
    (copy / "uv.lock").write_bytes(lock)
    shutil.copyfile(folder / "pyproject.toml", copy / "pyproject.toml")
    return exported(await client.export(copy))


def _as_locked(package: Release, wanted: Wanted) -> Release:
    """Cut what the index offers to what the lock allows."""
    if package.name not in wanted.hashes:
        return package
    hashes = package.hashes & wanted.hashes[package.name]
    if not hashes:
        raise TrustError(f"the index offers {package.name} {package.version} with other bytes than uv.lock names",
                         hint="look into it; if it is right, lock anew with: uv lock")  # fmt: skip
    return replace(package, hashes=hashes)


def _found(wanted: Wanted) -> str:
    return "its uv.lock was followed" if wanted.hashes else "it has no uv.lock: what it depends on was resolved now"


def _own_scripts(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """The project's own programs; uv installs them only if the project can be built."""
    scripts = manifest.get("project", {}).get("scripts", {}) if "build-system" in manifest else {}
    return {str(name): str(target) for name, target in scripts.items()}


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / "pyproject.toml"
    try:
        found = tomllib.loads(read_bounded(path, MAX_MANIFEST).decode())
    except FileNotFoundError as cause:
        hint = "name the folder of a project, or its packages: uv run --with PACKAGE ..."
        raise TrustError(f"{folder} has no pyproject.toml, so nothing says what it depends on", hint=hint) from cause
    except (ConfigError, ValueError, RecursionError) as cause:
        raise TrustError(f"{path} cannot be read", hint="correct it") from cause
    for table in ("project", "tool"):
        if not isinstance(found.get(table, {}), dict):
            raise TrustError(f"{path} is no project file", hint="correct it")
    return found


def _refuse_inline(request: LaunchRequest) -> None:
    """A script with its own list of packages is no part of the project for uv."""
    if request.bin is None or not request.bin.endswith(".py"):
        return
    try:
        text = read_bounded(Path(request.bin), MAX_MANIFEST)
    except (FileNotFoundError, ConfigError) as cause:
        raise TrustError(f"{request.bin} cannot be read", hint="check the path") from cause
    if _INLINE.search(text):
        hint = "move them into pyproject.toml, or name them: uv run --with PACKAGE ..."
        raise TrustError(f"{request.bin} brings its own list of packages, which cannot be pinned yet", hint=hint)


def _chosen_python(folder: Path) -> str | None:
    """What the project's `.python-version` says, as uv reads it."""
    try:
        text = read_bounded(folder / ".python-version", 256).decode("utf-8", "replace").strip()
    except (FileNotFoundError, ConfigError):
        return None
    return text if _VERSION.fullmatch(text) else None
