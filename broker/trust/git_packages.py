"""Packages out of a git repository: its own files at one commit, beside what they depend on from the user's registries.

No build, no script: what could only be had by running the repository's code is refused.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from broker.errors import LaunchLineError, TrustError
from broker.pin import GitSource, LaunchRequest, PackageRef, PinnedArtifact
from broker.trust.entry import entry_of_packages
from broker.trust.git import Checkout, GitClient
from broker.trust.interpreters import find_node
from broker.trust.launchers.git import GitAddress, npm_address, python_address
from broker.trust.launchers.npx import NAME, requirement
from broker.trust.launchers.uvx import requirement as python_requirement
from broker.trust.npm_client import NpmClient
from broker.trust.npm_lock import Locked, Machine, read_lock
from broker.trust.npm_package import build_tree as build_modules
from broker.trust.npm_package import find_entry, read_manifest
from broker.trust.npm_settings import npm_settings
from broker.trust.pins import LAUNCHER
from broker.trust.pypi import find_python
from broker.trust.pypi_client import PypiClient, Release
from broker.trust.pypi_package import build_tree
from broker.trust.pypi_settings import pypi_settings
from broker.trust.python_layout import Layout, files_of, read_layout
from broker.trust.run import Run, tool_environment
from broker.trust.store import Store
from broker.trust.uv_project import asked_for
from broker.trust.wheel import SITE

_BUILDING: Final = ("prepare", "prepack", "prepublish")
_HOOKS: Final = ("preinstall", "install", "postinstall")
_NO_BUILD: Final = "a build runs the package's own code, and nobody can consent to that yet; use a released package"


async def resolve_git_python(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
) -> PinnedArtifact:
    """`uvx --from git+https://...`: the project's own modules at one commit, its dependencies from the index.

    Raises:
        TrustError: it cannot be had, or only by a build.
    """
    address = python_address(request.requirement)
    pip = (sys.executable, "-m", "pip")
    with store.staging() as work:
        python = await find_python(request.python, environment, work, run)
        checkout = await _fetched(address, environment, work, progress, run)
        layout = await anyio.to_thread.run_sync(partial(_read, checkout, python.version, address))
        settings = await pypi_settings(pip, environment, work, run)
        client = PypiClient(python, pip, settings, tool_environment(environment, work), work, run)
        lines = _dependencies(layout, request.extra)
        packages: list[Release] = []
        wheels: dict[Path, str] = {}
        if lines:
            progress(f"asking {settings.shown()} for what {layout.name} depends on")
            packages = await client.lock(lines)
            progress(f"downloading {len(packages)} packages")
            wheels = await client.download(packages)
        if any(each.name == layout.name for each in packages):
            raise TrustError(f"{layout.name} depends on a package of its own name")
        progress(f"verifying and unpacking {len(packages)} packages")
        tree = work / "tree"
        built = await anyio.to_thread.run_sync(partial(build_tree, packages, wheels, tree))
        await anyio.to_thread.run_sync(partial(_lay_out, checkout, layout, tree / SITE))
        scripts = {**built.scripts, layout.name: layout.scripts}
        wanted = [layout.name, *(python_requirement(each)[0] for each in request.extra)]
        (tree / LAUNCHER).write_text(entry_of_packages(request, scripts, wanted))
        closure = [{"name": each.name, "version": each.version, "sha256": each.sha256} for each in built.files]
        (tree / "closure.json").write_text(json.dumps([_origin(checkout.source), *closure], indent=1))
        progress("compiling and hashing every file into the store")
        await client.compile(tree)
        stored = await anyio.to_thread.run_sync(store.admit, tree)
    return PinnedArtifact(
        kind="pypi",
        name=address.url,
        version=checkout.source.commit,
        tree=stored.tree,
        entry=LAUNCHER,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=tuple(PackageRef(each.name, each.version, f"sha256:{each.sha256}", each.file) for each in built.files),
        interpreter=python,
        findings=(*checkout.findings, *built.findings),
        git=checkout.source,
    )


async def resolve_git_npm(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
) -> PinnedArtifact:
    """`npx github:OWNER/REPO`: the repository's files at one commit, its dependencies from the registry.

    Raises:
        TrustError: it cannot be had, or only by a build.
    """
    address = npm_address(request.requirement)
    if request.registry is not None:  # npm itself lets the line's word win over its configuration files
        scope, equals, url = request.registry.rpartition("=")
        environment = {**environment, f"npm_config_{scope}:registry" if equals else "npm_config_registry": url}
    with store.staging() as work:
        node = await find_node(environment, work, run)
        checkout = await _fetched(address, environment, work, progress, run)
        manifest = await anyio.to_thread.run_sync(read_manifest, checkout.folder)
        name, findings = _own(manifest)
        required, optional = _modules(manifest)
        packages: list[Locked] = []
        noted: list[str] = []
        settings = await npm_settings(node, environment, work, run)
        client = NpmClient(node, settings, tool_environment(environment, work), work, run)
        if required or optional:
            progress(f"asking {settings.registry} for what {name} depends on")
            lock = await client.lock(required, optional)
            packages, noted = read_lock(lock, settings.origins, Machine(node.platform, node.arch, node.libc))
            progress(f"downloading {len(packages)} packages")
            await client.download()
        if any(each.path == f"node_modules/{name}" for each in packages):
            raise TrustError(f"{name!a} depends on a package of its own name")
        progress(f"verifying and unpacking {len(packages)} packages")
        tree = work / "tree"
        noted += await anyio.to_thread.run_sync(partial(build_modules, packages, client.cache, tree))
        noted += await anyio.to_thread.run_sync(partial(_place, checkout, tree / "node_modules" / name))
        try:
            entry, notes = find_entry(tree, [name], request.bin)
        except TrustError as cause:
            raise TrustError(f"{address.url}: {cause}; it may have to be built first",
                             hint=cause.hint or _NO_BUILD) from cause  # fmt: skip
        closure = [{"path": each.path, "version": each.version, "integrity": each.integrity} for each in packages]
        (tree / "closure.json").write_text(json.dumps([_origin(checkout.source), *closure], indent=1))
        progress("hashing every file into the store")
        stored = await anyio.to_thread.run_sync(store.admit, tree)
    return PinnedArtifact(
        kind="npm",
        name=address.url,
        version=checkout.source.commit,
        tree=stored.tree,
        entry=entry,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=tuple(PackageRef(each.name, each.version, each.integrity, each.path) for each in packages),
        interpreter=node.interpreter,
        findings=(*settings.findings, *sorted({*checkout.findings, *findings, *noted, *notes})),
        git=checkout.source,
    )


async def _fetched(
    address: GitAddress, environment: Mapping[str, str], work: Path, progress: Callable[[str], None], run: Run
) -> Checkout:
    client = GitClient(environment, work, run)
    progress(f"asking {address.url} what {address.ref or 'HEAD'} is")
    meaning = await client.meaning(address)
    progress(f"fetching commit {meaning.commit}")
    return await client.checkout(address, meaning)


def _read(checkout: Checkout, python: str, address: GitAddress) -> Layout:
    try:
        return read_layout(checkout.folder, python)
    except TrustError as cause:
        raise TrustError(f"{address.url} cannot be taken as it is: {cause}", hint=cause.hint) from cause


def _dependencies(layout: Layout, extra: tuple[str, ...]) -> list[str]:
    try:
        return [*asked_for(layout.manifest).lines, *(python_requirement(each)[1] for each in extra)]
    except LaunchLineError as cause:
        raise TrustError(f"{layout.name} depends on what is in no index: {cause}", hint=cause.hint) from cause


def _lay_out(checkout: Checkout, layout: Layout, site: Path) -> None:
    """The modules and what `importlib.metadata` is asked for; a file of a dependency is never replaced."""
    version = layout.version or f"0+git.{checkout.source.commit[:12]}"
    info = f"{layout.name.replace('-', '_')}-{version}.dist-info"
    programs = "".join(f"{name} = {target}\n" for name, target in layout.scripts.items())
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {layout.name}\nVersion: {version}\n".encode(),
        f"{info}/entry_points.txt": f"[console_scripts]\n{programs}".encode(),
    }
    files = [(name, path.read_bytes()) for name, path in files_of(checkout.folder, layout)]
    for name, data in (*files, *about.items()):
        target = site / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            with target.open("xb") as file:
                file.write(data)
        except (FileExistsError, NotADirectoryError) as cause:
            raise TrustError(f"{name!a} belongs to {layout.name} and to a package it depends on") from cause


def _own(manifest: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The package's name, and its install scripts, which are not run.

    Raises:
        TrustError: it has no name, or is made by a script.
    """
    name, scripts = str(manifest.get("name", "")), manifest.get("scripts", {})
    if not NAME.fullmatch(name) or ".." in name.split("/"):
        raise TrustError(f"its package.json calls it {name[:80]!a}, which is no name of a package")
    scripts = scripts if isinstance(scripts, dict) else {}
    for script in _BUILDING:
        if scripts.get(script):
            raise TrustError(f"{name} has to be built: its script {script!r} runs {str(scripts[script])[:120]!a}",
                             hint=_NO_BUILD)  # fmt: skip
    return name, [
        f"{name} {manifest.get('version', '')!s:.40} has a script {hook!r}, which was not run: "
        f"{str(scripts[hook])[:120]!a}"
        for hook in _HOOKS
        if scripts.get(hook)
    ]


def _modules(manifest: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What it needs, and what it would only like, each by name from a registry.

    Raises:
        TrustError: one comes from elsewhere.
    """
    optional = _named(manifest, "optionalDependencies")
    peers, about = _named(manifest, "peerDependencies"), manifest.get("peerDependenciesMeta", {})
    spared = {each for each, facts in about.items() if facts.get("optional")} if isinstance(about, dict) else set()
    required = {**{each: spec for each, spec in peers.items() if each not in spared},
                **_named(manifest, "dependencies")}  # fmt: skip
    return {each: spec for each, spec in required.items() if each not in optional}, optional


def _named(manifest: Mapping[str, Any], field: str) -> dict[str, str]:
    listed = manifest.get(field, {})
    if not isinstance(listed, dict):
        raise TrustError(f"{field} in its package.json is no table")
    found = {}
    for name, spec in listed.items():
        try:
            found[str(name)] = requirement(f"{name}@{spec or '*'}")[1]
        except LaunchLineError as cause:
            raise TrustError(f"it depends on {name!a} as {str(spec)[:120]!a}, which is in no registry") from cause
    return found


def _place(checkout: Checkout, target: Path) -> list[str]:
    """Move the files to where npm would put them; modules that lie in the repository are not what npm would take."""
    findings = []
    modules = checkout.folder / "node_modules"
    if modules.is_dir():
        shutil.rmtree(modules)
        findings.append("the repository holds node_modules, which were left out: modules come from the registry")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if target.exists():
        raise TrustError(f"{target.name!a} is already there")
    checkout.folder.chmod(0o755)
    checkout.folder.rename(target)
    return findings


def _origin(source: GitSource) -> dict[str, str]:
    return {"git": source.url, "commit": source.commit, "sha256": source.sha256}
