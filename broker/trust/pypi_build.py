"""Building Python packages from their sources: once, in a box without a network, after a yes to exactly that.

Sources and tools come from the store and are hashed again; what comes out is unpacked as strictly as any wheel.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import Build, Interpreter, LaunchRequest, PinnedArtifact
from broker.trust.bounded import BUILDING, run_build, why
from broker.trust.interpreters import runtime_of
from broker.trust.pypi_client import PypiClient, Release, hashed
from broker.trust.pypi_package import build_tree
from broker.trust.pypi_settings import pypi_settings
from broker.trust.pypi_sources import MAX_SDIST, SOURCES, TOOLS, WHEELS
from broker.trust.pypi_tree import finish
from broker.trust.run import Command, Run, tool_environment
from broker.trust.sdist import SOURCE, Sdist, check_built, unpack_sdist
from broker.trust.store import Store
from broker.trust.wheel import SITE

MAX_WHEEL: Final = 512 << 20
_RUNNER: Final = """
import importlib, sys
backend, out, *path = sys.argv[1:]
sys.path[:0] = path
module, _, attributes = backend.partition(":")
found = importlib.import_module(module)
for each in filter(None, attributes.split(".")):
    found = getattr(found, each)
found.build_wheel(out)
"""


async def build_pypi(
    artifact: PinnedArtifact,
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    run: Run,
) -> PinnedArtifact:
    """Build what `artifact.builds` names and lay out the whole tree with it; it is in the store afterwards.

    Raises:
        TrustError: it failed, took too much, or made something else than its source said; the store is as it was.
    """
    python, makings = artifact.interpreter, store.object(artifact.tree)
    if python is None:
        raise TrustError("there is no Python to build it with")
    own_pip = (sys.executable, "-m", "pip")
    with store.staging() as work:
        wheels = await anyio.to_thread.run_sync(hashed, makings / WHEELS)
        built = {each.name for each in artifact.builds}
        releases = [
            Release(each.name, each.version, frozenset({each.integrity.removeprefix("sha256:")}))
            for each in artifact.packages
            if each.name not in built
        ]
        builds = []
        for build in artifact.builds:
            with store.staging() as room:
                path, data = await _built(build, python, makings, room, run)
            sha256 = hashlib.sha256(data).hexdigest()
            kept = work / path
            kept.write_bytes(data)
            wheels[kept] = sha256
            releases.append(Release(build.name, build.version, frozenset({sha256})))
            builds.append(replace(build, result=sha256))
        settings = await pypi_settings(own_pip, environment, work, run)
        client = PypiClient(python, own_pip, settings, tool_environment(environment, work), work, run)
        tree = work / "tree"
        found = await anyio.to_thread.run_sync(partial(build_tree, releases, wheels, tree))
        stored = await finish(client, store, request, found, tree)
    return replace(
        artifact,
        tree=stored.tree,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        builds=tuple(builds),
        findings=(*artifact.findings, *found.findings),
    )


async def _built(build: Build, python: Interpreter, makings: Path, room: Path, run: Run) -> tuple[str, bytes]:
    """The wheel that one build makes: its name and its bytes."""
    prepare = partial(_lay_out, build, makings, room)
    sdist = await anyio.to_thread.run_sync(prepare)
    out, site = room / "out", room / TOOLS / SITE
    own = [str(room / SOURCE / each) for each in sdist.backend_path]
    env = tool_environment({"PATH": os.defpath}, room)
    env |= {"PYTHONPATH": str(site), "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "315532800"}
    argv = (str(python.path), "-I", "-S", "-B", "-c", _RUNNER, sdist.backend, str(out), *own, str(site))
    reads = runtime_of(python)
    command = Command(argv, room, room / SOURCE, env, (), BUILDING, reads=reads, tool=f"build of {build.name}")
    finished = await run_build(run, command)
    if finished.code != 0:
        raise TrustError(f"building {build.name} {build.version} failed: {why(finished)}",
                         hint="use a version that has a wheel")  # fmt: skip
    made = await anyio.to_thread.run_sync(lambda: sorted(out.iterdir()))
    if len(made) != 1 or made[0].suffix != ".whl" or not made[0].is_file():
        raise TrustError(f"building {build.name} {build.version} made no wheel, or something beside it")
    try:
        data = await anyio.to_thread.run_sync(read_bounded, made[0], MAX_WHEEL)
        check_built(data, sdist)
    except (TrustError, ConfigError) as cause:
        raise TrustError(f"{build.name} {build.version}: {cause}", hint=cause.hint) from cause
    return made[0].name, data


def _lay_out(build: Build, makings: Path, room: Path) -> Sdist:
    wanted = build.source.removeprefix("sha256:")
    for path in sorted((makings / SOURCES).iterdir()):
        data = read_bounded(path, MAX_SDIST)
        if hashlib.sha256(data).hexdigest() == wanted:
            break
    else:
        raise TrustError(f"the source of {build.name} is not what was verified", hint="add the server again")
    (room / "out").mkdir()
    tools = [
        Release(each.name, each.version, frozenset({each.integrity.removeprefix("sha256:")}))
        for each in build.requirements
    ]
    build_tree(tools, hashed(makings / TOOLS / build.name), room / TOOLS)
    return unpack_sdist(data, build.name, room)
