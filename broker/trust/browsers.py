"""Browsers that a server drives: fetched by the package that drives them while it is pinned, then part of its tree.

Its installer is code of its authors, so it runs only after the yes that builds need, in a box that reaches nothing but
the places named.  The server gets the browser as it gets its code: hashed, read-only, and no other.
"""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import Build
from broker.trust.bounded import BUILDING, run_build
from broker.trust.interpreters import Node
from broker.trust.mounts import BROWSERS, WHERE_BROWSERS_ARE
from broker.trust.npm_lock import Locked
from broker.trust.run import Command, Run, host_and_port, tool_environment
from broker.trust.tree import seal, tree_hash

_DRIVER: Final = "playwright-core"
_INSTALLER: Final = "cli.js"
_TOOL: Final = f"installer of {_DRIVER}"
_LINKS: Final = ".links"  # where its users lie on this disk; nothing of the browser
_KNOWN: Final = ("chromium", "firefox", "webkit")
_ELSEWHERE: Final = "PLAYWRIGHT_DOWNLOAD_HOST"
_MIRRORS: Final = re.compile(r"PLAYWRIGHT_CDN_MIRRORS\s*=\s*\[([^\]]{0,4096})\]")
_ADDRESS: Final = re.compile(r"https://[A-Za-z0-9.-]+")
MAX_SOURCE: Final = 16 << 20  # the largest file of the driver seen has 3 MiB
MAX_FILES: Final = 400


def browser_builds(
    packages: Sequence[Locked], root: Path, args: Sequence[str], environment: Mapping[str, str]
) -> tuple[Build, ...]:
    """What would fetch the browser of a server, for each copy of the driver in its tree."""
    found = []
    for package in packages:
        folder = root / package.path
        if package.name != _DRIVER or not (folder / _INSTALLER).is_file():
            continue
        if hosts := _hosts(folder, environment):
            by = shlex.join(("node", f"{package.path}/{_INSTALLER}", "install", _browser(args)))
            found.append(Build(package.name, package.version, package.integrity, by, hosts=hosts))
    return tuple(found)


async def fetch_browsers(
    builds: Sequence[Build], tree: Path, node: Node, work: Path, environment: Mapping[str, str], run: Run
) -> str:
    """Let the installers fetch into `tree`; the hash of all that came.

    Raises:
        TrustError: one failed, took too much, or brought nothing.
    """
    into = tree / BROWSERS
    into.mkdir(mode=0o755)
    env = tool_environment({**environment, "PATH": str(node.interpreter.path.parent)}, work)
    env |= {WHERE_BROWSERS_ARE: str(into), "PLAYWRIGHT_SKIP_BROWSER_GC": "1"}
    if elsewhere := environment.get(_ELSEWHERE):
        env[_ELSEWHERE] = elsewhere
    for build in builds:
        _, script, *words = shlex.split(build.by)
        argv = (str(node.interpreter.path), str(tree / script), *words)
        command = Command(
            argv, work, tree, env, build.hosts, BUILDING, reads=node.reads, tool=f"installer of {_DRIVER}"
        )
        finished = await run_build(run, command)
        if finished.code != 0:
            raise TrustError(f"the browser of {build.name} {build.version} could not be fetched from "
                             f"{', '.join(build.hosts)} (its installer ended with {finished.code})",
                             hint=f"check that place, or name another: {_ELSEWHERE}=https://HOST")  # fmt: skip
    shutil.rmtree(into / _LINKS, ignore_errors=True)
    listing = seal(into)
    if not listing.file_count:
        raise TrustError(f"the installer of {_DRIVER} brought no browser", hint="add the server without it")
    return tree_hash(listing.text())


def _browser(args: Sequence[str]) -> str:
    """The one its line asks for."""
    for word, following in pairwise((*args, "")):
        name = following if word == "--browser" else word.removeprefix("--browser=")
        if name in _KNOWN and word.startswith("--browser"):
            return name
    return _KNOWN[0]


def _hosts(folder: Path, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where the person's own setting says browsers come from, else where the driver's own code says so."""
    if chosen := environment.get(_ELSEWHERE):
        return tuple(filter(None, (host_and_port(chosen),)))
    for path in sorted(folder.glob("lib/**/*.js"))[:MAX_FILES]:
        try:
            listed = _MIRRORS.search(read_bounded(path, MAX_SOURCE).decode("utf-8", "replace"))
        except (FileNotFoundError, ConfigError):
            continue
        if listed and (urls := _ADDRESS.findall(listed[1])):
            return tuple(dict.fromkeys(filter(None, map(host_and_port, urls))))
    return ()
