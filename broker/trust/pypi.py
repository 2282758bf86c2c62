"""Python packages: uv resolves, pip downloads, we verify and unpack.

Only wheels, so that no package's build code runs; each by the SHA-256 that resolution named; each file by its RECORD.
Where there is only a source, what the store gets is all that building takes, and a person is asked (`pypi_build`).
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import anyio.to_thread

from broker.errors import TrustError
from broker.pin import Build, Interpreter, LaunchRequest, PackageRef, PinnedArtifact
from broker.trust.evidence import keep, of_pypi, with_evidence
from broker.trust.interpreters import ask_python, asking_environment, own_python
from broker.trust.launchers.uv import scripts_among
from broker.trust.launchers.uvx import requirement
from broker.trust.pins import LAUNCHER
from broker.trust.programs import fingerprint
from broker.trust.pypi_client import PypiClient, uv_program
from broker.trust.pypi_package import build_tree, release
from broker.trust.pypi_settings import pypi_settings
from broker.trust.pypi_sources import Sources
from broker.trust.pypi_tree import finish
from broker.trust.run import Command, Run, tool_environment
from broker.trust.store import Store
from broker.trust.trust_root import Roots

_FINDING = 60.0


async def resolve_pypi(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
    roots: Roots | None = None,
) -> PinnedArtifact:
    """Resolve the whole closure, download it, verify every byte, and put it into the store.

    `roots` says whose signatures are believed; without it, the roots that come with this program.

    Raises:
        TrustError: what could not be had or is not acceptable, and what to do.
    """
    main = requirement(request.requirement)[0]
    own_pip = (sys.executable, "-m", "pip")
    with store.staging() as work:
        python = await find_python(request.python, environment, work, run)
        settings = await pypi_settings(own_pip, environment, work, run)
        client = PypiClient(python, own_pip, settings, tool_environment(environment, work), work, run)
        progress(f"asking {settings.shown()} for {main} and everything it needs")
        sources = Sources(client, settings, environment, work)
        packages = await sources.lock([request.requirement, *request.extra], progress)
        progress(f"downloading {len(packages)} packages")
        ready = [each for each in packages if each.name not in sources.found]
        wheels = await client.download(ready) if ready else {}
        progress(f"verifying and unpacking {len(packages)} packages")
        tree, makings = work / "tree", work / "makings"
        built = await anyio.to_thread.run_sync(partial(build_tree, ready, wheels, tree))
        files = [*built.files, *(each.file for each in sources.found.values())]
        progress(f"asking {settings.shown()} who published {main} and what it needs")
        evidence = await of_pypi(files, main, settings, environment, roots, progress)
        basis = await anyio.to_thread.run_sync(keep, evidence, store, roots)
        builds: tuple[Build, ...] = ()
        if sources.found:
            progress("getting what building takes")
            builds = await sources.makings(packages, wheels, makings)
            stored = await anyio.to_thread.run_sync(store.admit, makings)
        else:
            progress("compiling and hashing every file into the store")
            stored = await finish(client, store, request, built, tree)
    artifact = PinnedArtifact(
        kind="pypi",
        name=main,
        version=release(packages, main),
        tree=stored.tree,
        entry=LAUNCHER,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=tuple(PackageRef(each.name, each.version, f"sha256:{each.sha256}", each.file) for each in files),
        files=await anyio.to_thread.run_sync(_scripts, request),
        interpreter=python,
        registry=settings.shown(),
        basis=basis,
        findings=() if builds else tuple(built.findings),
        builds=builds,
    )
    return with_evidence(artifact, evidence)


def _scripts(request: LaunchRequest) -> tuple[tuple[str, str], ...]:
    """Scripts of this machine that `uv run --with PACKAGE` is given: their content is pinned beside the packages."""
    return tuple((path, fingerprint(Path(path), executable=False)) for path in scripts_among(request))


async def find_python(wanted: str | None, environment: Mapping[str, str], work: Path, run: Run) -> Interpreter:
    """The interpreter the line asks for, found as uv finds it; else the one this program runs on.

    Raises:
        TrustError: it is not on this machine.
    """
    if wanted is None:
        return (await ask_python(own_python(), environment, work, run)).interpreter
    argv = (uv_program(), "python", "find", "--no-config", "--no-python-downloads", "--no-project", wanted)
    kept = {name: value for name, value in environment.items() if name in {"XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"}}
    empty = work / "asking"
    empty.mkdir(mode=0o700, exist_ok=True)
    finished = await run(
        Command(argv, work, empty, asking_environment(environment) | kept, timeout=_FINDING, asks=True)
    )
    found = finished.stdout.decode("utf-8", "replace").strip()
    if finished.code != 0 or not found.startswith("/") or "\n" in found:
        hint = f"install it, for example with: uv python install {wanted}"
        raise TrustError(f"Python {wanted}, which the launch line asks for, is not on this machine", hint=hint)
    return (await ask_python(Path(found), environment, work, run)).interpreter
