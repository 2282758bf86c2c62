"""npm packages that want to run something when they are installed: `npm rebuild`, once, in a box without a network.

It works on a copy of the verified tree.  Each package may change its own folder, and what it changed there becomes part
of what is pinned; a change anywhere else is refused.
"""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import Build, PinnedArtifact
from broker.trust.bounded import BUILDING, run_build, why
from broker.trust.browsers import fetch_browsers
from broker.trust.interpreters import Node, find_node
from broker.trust.mounts import BROWSERS
from broker.trust.npm_lock import Locked
from broker.trust.npm_package import install_scripts, read_manifest
from broker.trust.run import Command, Run, tool_environment
from broker.trust.store import Store
from broker.trust.tree import Entry, Listing, seal, tree_hash

NATIVE: Final = "node-gyp rebuild"
"""What npm runs for a `binding.gyp` where no script says otherwise."""
_NOT_RUN: Final = ", which was not run"
_NOT_BUILT: Final = "; it was not built"


def npm_builds(packages: list[Locked], root: Path) -> tuple[Build, ...]:
    """What npm would run of these packages' own, in full."""
    found = []
    for package in packages:
        manifest = read_manifest(root / package.path)
        scripts = install_scripts(manifest)
        native = (root / package.path / "binding.gyp").exists() and manifest.get("gypfile") is not False
        if native and not {"preinstall", "install"} & scripts.keys():
            scripts["install"] = NATIVE
        if scripts:
            by = "; ".join(f"its script {name!r}: {script}" for name, script in scripts.items())
            found.append(Build(package.name, package.version, package.integrity, f"{by} (in {package.path})"))
    return tuple(found)


async def rebuild_npm(
    artifact: PinnedArtifact, *, store: Store, environment: Mapping[str, str], run: Run
) -> PinnedArtifact:
    """Let npm run what `artifact.builds` names; the tree that comes of it is in the store afterwards.

    Raises:
        TrustError: it failed, took too much, or changed what is not its own; the store is as it was.
    """
    with store.staging() as work:
        node = await find_node(environment, work, run)
        if node.interpreter != artifact.interpreter:
            raise TrustError(
                "the Node.js on the PATH is not the one that was found before", hint="add the server again"
            )
        tree = work / "tree"
        before = await anyio.to_thread.run_sync(partial(_copy, store.object(artifact.tree), tree, artifact.tree))
        fetches = [each for each in artifact.builds if each.hosts]
        names = [f"{each.name}@{each.version}" for each in artifact.builds if not each.hosts]
        fetched = await fetch_browsers(fetches, tree, node, work, environment, run) if fetches else ""
        steps = (("--ignore-scripts=true",), ("--ignore-scripts=false", *names)) if names else ()
        for words in steps:  # first the programs they call
            finished = await run_build(run, _rebuild(node, work, tree, words))
            if finished.code != 0:
                said = ", ".join(names)
                raise TrustError(f"building {said} failed: {why(finished)}",
                                 hint="add the server without the build, or use a version that needs none")  # fmt: skip
        places = _places(artifact)
        digest, count = await anyio.to_thread.run_sync(partial(_settle, tree, before, places))
        if not (tree / artifact.entry).is_file():
            raise TrustError(f"building it removed its program {artifact.entry!a}")
        stored = await anyio.to_thread.run_sync(store.admit, tree)
    return replace(
        artifact,
        tree=stored.tree,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        builds=tuple(replace(each, result=fetched if each.hosts else digest) for each in artifact.builds),
        findings=(*map(_has_run, artifact.findings), f"what ran when it was built changed {count} files of its own")
        if names
        else artifact.findings,
    )


def _rebuild(node: Node, work: Path, tree: Path, words: tuple[str, ...]) -> Command:
    user, system = work / "user.npmrc", work / "system.npmrc"
    for path in (user, system):
        path.touch(mode=0o600)
    env = tool_environment({"PATH": f"{node.interpreter.path.parent}:{os.defpath}"}, work)
    headers = node.interpreter.path.parent.parent
    if (headers / "include/node/node.h").is_file():
        env["npm_config_nodedir"] = str(headers)  # else node-gyp would download them
    argv = (
        *node.npm, "rebuild", *words, "--offline", "--no-audit", "--no-fund", "--no-update-notifier", "--logs-max=0",
        "--loglevel=error", "--no-progress", f"--userconfig={user}", f"--globalconfig={system}",
        f"--cache={work / 'cache'}", f"--prefix={tree}",
    )  # fmt: skip
    return Command(argv, work, tree, env, (), BUILDING, reads=node.reads, tool="npm")


def _copy(source: Path, target: Path, tree: str) -> Listing:
    """A copy that is what was verified, and can be written."""
    shutil.copytree(source, target, symlinks=True)
    listing = seal(target)
    if tree_hash(listing.text()) != tree:
        raise TrustError("what is in the store is not what was verified before", hint="add the server again")
    for entry in listing.entries:
        path = target / entry.path
        path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IWUSR)
    target.chmod(0o755)
    return listing


def _places(artifact: PinnedArtifact) -> tuple[str, ...]:
    built = {(each.name, each.version) for each in artifact.builds if not each.hosts}
    return tuple(each.note for each in artifact.packages if (each.name, each.version) in built)


def _settle(tree: Path, before: Listing, places: tuple[str, ...]) -> tuple[str, int]:
    """Hold what changed against who may change it; the digest of the changes, and how many files they are.

    npm makes the programs of all packages executable and links them; neither is kept.
    """
    for folder in [*tree.rglob("node_modules/.bin")]:
        shutil.rmtree(folder)
    _separate(tree)
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in seal(tree).entries}
    changed: list[str] = []
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path), new.get(path)
        if was == now:
            continue
        if path == BROWSERS or path.startswith(f"{BROWSERS}/"):
            continue  # fetched, and hashed by itself
        if any(path == place or path.startswith(f"{place}/") for place in places):
            changed += [*([f"-{was.line()}"] if was else []), *([f"+{now.line()}"] if now else [])]
        elif was and now and _alike(was, now):
            (tree / path).chmod(0o555 if was.executable else 0o444)
        else:
            raise TrustError(f"building it changed {path!a}, which belongs to another package")
    count = len({line[1:].split("\0")[2] for line in changed if line[1] == "f"})
    return hashlib.sha256("".join(changed).encode()).hexdigest(), count


def _separate(tree: Path) -> None:
    """Give every file bytes of its own: node-gyp makes what it built a second name of what its linker wrote."""
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            alone = path.with_name(f".{secrets.token_hex(8)}")
            shutil.copyfile(path, alone)
            alone.chmod(stat.S_IMODE(status.st_mode))
            alone.replace(path)


def _alike(was: Entry, now: Entry) -> bool:
    return (was.kind, was.sha256) == (now.kind, now.sha256)


def _has_run(finding: str) -> str:
    ran = "was run once, in a box without a network"
    return finding.replace(_NOT_RUN, f", which {ran}").replace(_NOT_BUILT, f"; its build {ran}")
