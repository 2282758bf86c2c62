"""Local projects: a folder of this machine, pinned by all that is in it, and the runtime that runs it.

The server runs from that very folder, read-only at its own path.  A development folder is taken as it is on each day
until its trust ends; it is never called verified.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import Interpreter, LaunchRequest, PinnedArtifact
from broker.trust.interpreters import ask_python, ask_runtime, located
from broker.trust.launchers.program import NODE
from broker.trust.mounts import VENV_MARK
from broker.trust.programs import fingerprint
from broker.trust.project_tree import check_links, left_out, survey
from broker.trust.run import Run
from broker.trust.store import Store
from broker.trust.tree import Listing

TRUSTED: Final = timedelta(days=30)
"""How long a development folder is trusted; then its author says so again."""

MAX_MANIFEST = 1024 * 1024
MAX_CLIMB = 32  # folders above a file that are looked at for the project's mark
_PACKAGE: Final = ("package.json",)
_DENO: Final = ("deno.json", "deno.jsonc", "package.json")
_PYTHON: Final = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")
_NO_CACHE: Final = ("-X", "pycache_prefix=/tmp/pycache", "-B")


async def resolve_project(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
) -> PinnedArtifact:
    """Pin the project a line names.

    Raises:
        TrustError: its runtime is missing, it is too large, or somebody else may change it.
    """
    with store.staging() as work:
        if request.module is not None:
            artifact = await _environment(request, environment, work, run)
        else:
            artifact = await _file(request, environment, work, run)
    return await pin_folders(artifact, request, store, progress) if artifact.folders else artifact


async def node_project(
    request: LaunchRequest,
    script: PinnedArtifact,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
) -> PinnedArtifact:
    """What a pinned script of node becomes when it lies in a project: node looks for modules in its folders."""
    root = await anyio.to_thread.run_sync(project_of, Path(script.entry), _PACKAGE, environment)
    if root is None or script.interpreter is None or not NODE.fullmatch(script.interpreter.path.name):
        return script
    flags = request.extra if request.kind == "script" else ()
    artifact = _project(root, script.interpreter, (*flags, script.entry), script.entry)
    return await pin_folders(artifact, request, store, progress)


async def pin_folders(
    artifact: PinnedArtifact, request: LaunchRequest, store: Store, progress: Callable[[str], None]
) -> PinnedArtifact:
    """Hash the artifact's folders where they lie, and keep their lists, so that a change can be told by name.

    Raises:
        TrustError: one cannot be pinned as it is.
    """
    for path, _ in artifact.folders:
        if overlapping := _overlapping(Path(path), store.root):
            raise TrustError(
                f"{path} cannot be a project: {overlapping}", hint="keep the server in a folder of its own"
            )
    if request.dev:
        until = (datetime.now(UTC) + TRUSTED).isoformat(timespec="seconds")
        return replace(artifact, version="development", until=until)
    folders, files, size = [], artifact.file_count, artifact.byte_count
    for path, _ in artifact.folders:
        progress(f"hashing {path}")
        listing = await anyio.to_thread.run_sync(partial(_surveyed, Path(path), artifact, request))
        tree = await anyio.to_thread.run_sync(store.keep_listing, listing)
        folders.append((path, tree))
        files, size = files + listing.file_count, size + listing.byte_count
    version = artifact.version or folders[0][1][:12]
    return replace(artifact, folders=tuple(folders), file_count=files, byte_count=size, version=version)


def project_of(file: Path, marks: tuple[str, ...], environment: Mapping[str, str]) -> Path | None:
    """The nearest folder above a file that is a project; a workspace above it counts, for its modules lie there.

    A home folder, and what holds it, is nobody's project.
    """
    homes = {Path(home).resolve() for home in (environment.get("HOME", ""), str(Path.home())) if home}
    above = [each for each in list(file.parents)[:MAX_CLIMB] if not any(home.is_relative_to(each) for home in homes)]
    marked = [each for each in above if len(each.parts) > 1 and any((each / mark).is_file() for mark in marks)]
    whole = [each for each in marked if marks != _PACKAGE or _is_whole(each)]
    workspace = [each for each in marked if (each / "package.json").is_file() and "workspaces" in _manifest(each)]
    return next(iter([*workspace[:1], *whole, *marked]), None)


async def _environment(request: LaunchRequest, environment: Mapping[str, str], work: Path, run: Run) -> PinnedArtifact:
    """`/ENVIRONMENT/bin/python -m MODULE`: the project around the environment, else the environment alone."""
    runner, folder = Path(request.bin or ""), Path(request.requirement)
    python = await ask_python(runner, environment, work, run)
    if python.environment is None:
        raise TrustError(f"{runner} is not the python of a virtual environment", hint="use its bin/python")
    root = await anyio.to_thread.run_sync(project_of, folder, _PYTHON, environment)
    # Python finds the environment only when it is started through the environment's own path
    interpreter = Interpreter(runner, python.interpreter.version, python.interpreter.sha256, python.interpreter.prefix)
    program = (*_NO_CACHE, _alone(interpreter), *request.extra, "-m", request.module or "")
    return _project(root or folder, interpreter, program, str(folder / VENV_MARK))


def _alone(python: Interpreter) -> str:
    """The flag that keeps `-m` from looking into the folder the server starts in, which it can write to."""
    major, minor, *_ = python.version.split(".")
    return "-P" if (int(major), int(minor)) >= (3, 11) else "-I"


async def _file(request: LaunchRequest, environment: Mapping[str, str], work: Path, run: Run) -> PinnedArtifact:
    """A file run by java, dotnet, deno or bun; alone where it belongs to no project."""
    file = Path(request.requirement)
    runtime = located(request.bin or request.runner, environment)
    interpreter = await ask_runtime(runtime, request.runner, environment, work, run)
    match request.runner:
        case "java":
            root = file.parent if await anyio.to_thread.run_sync(_needs_others, file) else None
        case "dotnet":
            root = file.parent
        case _:
            marks = _DENO if request.runner == "deno" else _PACKAGE
            root = await anyio.to_thread.run_sync(project_of, file, marks, environment)
    if root is not None:
        return _project(root, interpreter, (*request.extra, str(file)), str(file))
    sha256 = await anyio.to_thread.run_sync(partial(fingerprint, file, executable=False))
    return PinnedArtifact(
        kind="script",
        name=file.name,
        version=sha256[:12],
        entry=str(file),
        files=((str(file), sha256),),
        interpreter=interpreter,
        findings=("only this file is pinned, and only it is shown to the server",),
    )


def _project(root: Path, interpreter: Interpreter, program: tuple[str, ...], entry: str) -> PinnedArtifact:
    real = root.resolve()
    if real != root:
        raise TrustError(f"{root} leads through a link to {real}", hint="give the real path in the launch line")
    return PinnedArtifact(
        kind="project",
        name=root.name,
        version="",
        entry=entry,
        folders=((str(root), ""),),
        program=program,
        interpreter=interpreter,
        findings=("it runs from its own folder: what changes there while it starts is noticed at the next start",),
    )


def _surveyed(path: Path, artifact: PinnedArtifact, request: LaunchRequest) -> Listing:
    out = left_out(request)
    listing = survey(path, out)
    interpreter = artifact.interpreter
    allowed = [] if interpreter is None else [interpreter.path.resolve()]
    allowed += [interpreter.prefix] if interpreter is not None and interpreter.prefix is not None else []
    check_links(path, listing, out, tuple(allowed))
    return listing


def _needs_others(jar: Path) -> bool:
    """Whether a jar names other jars, which then lie in its folder.

    Raises:
        TrustError: it is no jar that can be run.
    """
    try:
        with zipfile.ZipFile(jar) as archive, archive.open("META-INF/MANIFEST.MF") as file:
            text = file.read(MAX_MANIFEST).lower()
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as cause:
        raise TrustError(f"{jar} is not a jar that can be run", hint="build it anew") from cause
    if b"main-class:" not in text:
        raise TrustError(f"{jar} names no main class, so java could not run it", hint="build a runnable jar")
    return b"class-path:" in text


def _is_whole(folder: Path) -> bool:
    """A package.json that only says how to read its neighbours (`{"type": "module"}`) is no project of its own."""
    return "name" in _manifest(folder) or (folder / "node_modules").is_dir()


def _manifest(folder: Path) -> Mapping[str, object]:
    try:
        found = json.loads(read_bounded(folder / "package.json", MAX_MANIFEST))
    except (FileNotFoundError, ConfigError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _overlapping(folder: Path, store: Path) -> str:
    if store.resolve().is_relative_to(folder) or folder.is_relative_to(store.resolve()):
        return "it overlaps Bulkhead's own store"
    return "it is your home folder or holds it" if Path.home().resolve().is_relative_to(folder) else ""
