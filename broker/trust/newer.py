"""Whether a floating line would mean something newer today.  It is said, never taken.

The same shut-in clients ask as when a server is pinned, so the answer is what an update would resolve to.
"""

import sys
from collections.abc import Mapping

from broker.pin import LaunchRequest, PinnedArtifact
from broker.trust.git import GitClient
from broker.trust.interpreters import find_node
from broker.trust.launchers.git import npm_address, python_address
from broker.trust.launchers.npx import requirement as npm_requirement
from broker.trust.launchers.uvx import normal
from broker.trust.launchers.uvx import requirement as pypi_requirement
from broker.trust.npm_client import NpmClient
from broker.trust.npm_settings import npm_settings
from broker.trust.pypi_client import PypiClient
from broker.trust.pypi_settings import pypi_settings
from broker.trust.run import Run, run_command, tool_environment
from broker.trust.store import Store


async def newer_version(
    launch: LaunchRequest,
    artifact: PinnedArtifact,
    *,
    store: Store,
    environment: Mapping[str, str],
    run: Run = run_command,
) -> str:
    """The version the line means today if it is not the pinned one; empty if it is, or if the line names one version.

    Raises:
        TrustError: the registry cannot be asked.
    """
    if not launch.floating or artifact.kind not in {"npm", "pypi"}:
        return ""
    with store.staging() as work:
        if artifact.git is not None:
            address = npm_address(launch.requirement) if artifact.kind == "npm" else python_address(launch.requirement)
            commit = (await GitClient(environment, work, run).meaning(address)).commit
            return commit if commit != artifact.git.commit else ""
        env = tool_environment(environment, work)
        if artifact.kind == "npm":
            node = await find_node(environment, work, run)
            settings = await npm_settings(node, environment, work, run)
            name, wanted = npm_requirement(launch.requirement)
            lock = await NpmClient(node, settings, env, work, run).lock({name: wanted})
            found = str(lock.get("packages", {}).get(f"node_modules/{name}", {}).get("version", ""))
        else:
            assert artifact.interpreter is not None  # a pin of this kind without one cannot be read
            pip = (sys.executable, "-m", "pip")
            index = await pypi_settings(pip, environment, work, run)
            client = PypiClient(artifact.interpreter, pip, index, env, work, run)
            main = normal(pypi_requirement(launch.requirement)[0])
            releases = await client.lock([launch.requirement])
            found = next((each.version for each in releases if each.name == main), "")
    return found if found != artifact.version else ""
