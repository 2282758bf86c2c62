"""From a launch request to pinned bytes: each kind has one way, and every way ends in the store or in a clear no."""

from collections.abc import Callable, Mapping

from broker.model import LaunchRequest, PinnedArtifact
from broker.trust.binary import resolve_program
from broker.trust.npm import resolve_npm
from broker.trust.pypi import resolve_pypi
from broker.trust.run import Run, run_command
from broker.trust.store import Store
from broker.trust.trust_root import Roots


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
        TrustError: what could not be had or is not acceptable, and what to do.
    """
    match request.kind:
        case "npm":
            return await resolve_npm(
                request, store=store, environment=environment, progress=progress, run=run, roots=roots
            )
        case "pypi":
            return await resolve_pypi(
                request, store=store, environment=environment, progress=progress, run=run, roots=roots
            )
        case "script" | "binary":
            progress(f"hashing {request.requirement}")
            return await resolve_program(request, store=store, environment=environment, run=run)
