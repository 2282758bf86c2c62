"""The last steps of a tree of Python packages, wherever its wheels came from: launcher, list, compiled code, store."""

import json
from pathlib import Path

import anyio.to_thread

from broker.pin import LaunchRequest
from broker.trust.entry import entry_of_packages
from broker.trust.launchers.uvx import requirement
from broker.trust.pins import LAUNCHER
from broker.trust.pypi_client import PypiClient
from broker.trust.pypi_package import Built
from broker.trust.store import Store, Stored


async def finish(client: PypiClient, store: Store, request: LaunchRequest, built: Built, tree: Path) -> Stored:
    """Complete a tree that was unpacked, and take it into the store.

    Raises:
        TrustError: it has no program such as the line asks for, or cannot be stored.
    """
    wanted = [requirement(each)[0] for each in (request.requirement, *request.extra)]
    (tree / LAUNCHER).write_text(entry_of_packages(request, built.scripts, wanted))
    closure = [{"name": each.name, "version": each.version, "sha256": each.sha256} for each in built.files]
    (tree / "closure.json").write_text(json.dumps(closure, indent=1))
    await client.compile(tree)
    return await anyio.to_thread.run_sync(store.admit, tree)
