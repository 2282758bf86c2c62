"""From a launch request to pinned bytes: each kind has one way, and every way ends in the store or in a clear no."""

from collections.abc import Callable, Mapping

from broker.errors import TrustError
from broker.pin import LaunchRequest, PinnedArtifact
from broker.trust.binary import resolve_program
from broker.trust.git_packages import resolve_git_npm, resolve_git_python
from broker.trust.launchers.git import is_git
from broker.trust.launchers.words import origin
from broker.trust.npm import resolve_npm
from broker.trust.npm_build import rebuild_npm
from broker.trust.project import node_project, resolve_project
from broker.trust.pypi import resolve_pypi
from broker.trust.pypi_build import build_pypi
from broker.trust.run import Run, run_command
from broker.trust.store import Store
from broker.trust.trust_root import Roots
from broker.trust.uv_project import resolve_uv_project


async def resolve(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run = run_command,
    roots: Roots | None = None,
) -> PinnedArtifact:
    """Find, download, verify and keep what the request means now.

    `environment` holds the user's own variables that matter here: PATH and HOME, npm's, uv's and pip's settings,
    certificates and proxies.  Nothing that was downloaded is run.  `roots` says whose signatures are believed; without
    it, the roots that come with this program.

    Raises:
        TrustError: what could not be had or is not acceptable, of what, at which step, and what to do.
    """
    step = ""

    def told(said: str) -> None:
        nonlocal step
        step = said
        progress(said)

    try:
        return await _resolve(request, store, environment, told, run, roots)
    except TrustError as cause:
        if not step:
            raise
        raise TrustError(f"{cause} ({request.requirement}, while {step})", hint=cause.hint) from cause


async def _resolve(
    request: LaunchRequest,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
    roots: Roots | None,
) -> PinnedArtifact:
    match request.kind:
        case "npm" | "pypi" if is_git(request.requirement):
            fetch = resolve_git_npm if request.kind == "npm" else resolve_git_python
            artifact = await fetch(request, store=store, environment=environment, progress=progress, run=run)
        case "npm":
            artifact = await resolve_npm(
                request, store=store, environment=environment, progress=progress, run=run, roots=roots
            )
        case "pypi":
            artifact = await resolve_pypi(
                request, store=store, environment=environment, progress=progress, run=run, roots=roots
            )
        case "script" | "binary":
            progress(f"hashing {request.requirement}")
            artifact = await resolve_program(request, store=store, environment=environment, run=run)
            if artifact.kind == "script":
                artifact = await node_project(
                    request, artifact, store=store, environment=environment, progress=progress
                )
        case "image":
            from broker.trust.oci import resolve_image  # speaks HTTP itself, which nothing else here needs to load

            artifact = await resolve_image(
                request, store=store, environment=environment, progress=progress, roots=roots
            )
        case "remote":
            artifact = PinnedArtifact("remote", origin(request.requirement), "", entry=request.requirement)
        case "project":
            resolver = resolve_uv_project if request.runner == "uv run" else resolve_project
            artifact = await resolver(request, store=store, environment=environment, progress=progress, run=run)
    if request.dev and not artifact.until:
        raise TrustError(f"{artifact.name} is no project in a folder, so there is nothing to develop",
                         hint="leave --dev out")  # fmt: skip
    return artifact


async def build_artifact(
    artifact: PinnedArtifact,
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
) -> PinnedArtifact:
    """Build what `artifact.builds` names, which runs its authors' code: `run` must be a box, and somebody agreed.

    Raises:
        TrustError: it failed, of what, and why; the store is as it was.
    """
    said = ", ".join(f"{each.name} {each.version}" for each in artifact.builds)
    progress(f"building {said} in a box without a network")
    if artifact.kind == "npm":
        return await rebuild_npm(artifact, store=store, environment=environment, run=run)
    return await build_pypi(artifact, request, store=store, environment=environment, run=run)
