"""npm packages: npm resolves and downloads, we verify and unpack.

npm never lays out a tree that runs here and never runs a script: it fills a cache of its own, and only bytes whose
SHA-512 stands in the judged lock are taken out of it.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial

import anyio.to_thread

from broker.pin import LaunchRequest, PackageRef, PinnedArtifact
from broker.trust.browsers import browser_builds
from broker.trust.evidence import keep, of_npm, with_evidence
from broker.trust.interpreters import find_node
from broker.trust.launchers.npx import requirement
from broker.trust.npm_build import npm_builds
from broker.trust.npm_client import NpmClient
from broker.trust.npm_lock import Machine, read_lock
from broker.trust.npm_package import build_tree, find_entry
from broker.trust.npm_settings import npm_settings
from broker.trust.run import Run, tool_environment
from broker.trust.store import Store
from broker.trust.trust_root import Roots


async def resolve_npm(
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
    if request.registry is not None:  # npm itself lets the line's word win over its configuration files
        scope, equals, url = request.registry.rpartition("=")
        environment = {**environment, f"npm_config_{scope}:registry" if equals else "npm_config_registry": url}
    wanted = dict(requirement(each) for each in (request.requirement, *request.extra))
    main = requirement(request.requirement)[0]
    with store.staging() as work:
        node = await find_node(environment, work, run)
        settings = await npm_settings(node, environment, work, run)
        client = NpmClient(node, settings, tool_environment(environment, work), work, run)
        progress(f"asking {settings.registry} for {main} and everything it needs")
        lock = await client.lock(wanted)
        packages, findings = read_lock(lock, settings.origins, Machine(node.platform, node.arch, node.libc))
        progress(f"downloading {len(packages)} packages")
        await client.download()
        progress(f"verifying and unpacking {len(packages)} packages")
        build = partial(build_tree, packages, client.cache, work / "tree")
        findings += await anyio.to_thread.run_sync(build)
        builds = await anyio.to_thread.run_sync(npm_builds, packages, work / "tree")
        browsers = partial(browser_builds, packages, work / "tree", request.args, environment)
        builds += await anyio.to_thread.run_sync(browsers)
        entry, notes = find_entry(work / "tree", [main, *(name for name in wanted if name != main)], request.bin)
        closure = [{"path": each.path, "version": each.version, "integrity": each.integrity} for each in packages]
        (work / "tree/closure.json").write_text(json.dumps(closure, indent=1))
        progress(f"asking {settings.registry} who published {main} and what it needs")
        evidence = await of_npm(packages, main, settings, environment, roots, progress)
        progress("hashing every file into the store")
        basis = await anyio.to_thread.run_sync(keep, evidence, store, roots)
        stored = await anyio.to_thread.run_sync(store.admit, work / "tree")
    artifact = PinnedArtifact(
        kind="npm",
        name=main,
        version=next(each.version for each in packages if each.path == f"node_modules/{main}"),
        tree=stored.tree,
        entry=entry,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        packages=tuple(PackageRef(each.name, each.version, each.integrity, each.path) for each in packages),
        interpreter=node.interpreter,
        registry=settings.registry,
        basis=basis,
        findings=(*settings.findings, *sorted(set(findings + notes))),
        builds=builds,
    )
    return with_evidence(artifact, evidence)
