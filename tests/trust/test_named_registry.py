"""A registry that a launch line names is asked, and no other; the person is told."""

import os
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.trust.launch_spec import parse
from broker.trust.pins import describe
from broker.trust.resolve import resolve
from broker.trust.store import Store
from tests.trust.registries import NpmRegistry

BIN = {"bin": {"run": "run.js"}}
FILES = {"run.js": "#!/usr/bin/env node\n"}


@pytest.mark.parametrize(("flag", "package"), [("--registry", "named"), ("--@corp:registry", "@corp/named")])
async def test_a_registry_in_the_launch_line_is_the_one_that_is_asked(
    store: Store, tmp_path: Path, npm_registry: NpmRegistry, flag: str, package: str
) -> None:
    with NpmRegistry() as named:
        npm_registry.publish(package, manifest=BIN, files=FILES)
        named.publish(package, "2.0.0", manifest=BIN, files=FILES)
        environment = npm_registry.environment(tmp_path / "user")
        request = parse(["npx", "-y", f"{flag}={named.url}", package], exists=os.path.exists)
        artifact = await resolve(request, store=store, environment=environment, progress=lambda text: None)
    assert artifact.version == "2.0.0"
    assert npm_registry.asked == []
    assert any(named.url in line for line in describe(artifact, request))


async def test_a_scope_of_its_own_does_not_change_where_other_packages_come_from(
    store: Store, tmp_path: Path, npm_registry: NpmRegistry
) -> None:
    with NpmRegistry() as named:
        named.publish("other", manifest=BIN, files=FILES)
        environment = npm_registry.environment(tmp_path / "user")
        request = parse(["npx", f"--@corp:registry={named.url}", "other"], exists=os.path.exists)
        with pytest.raises(TrustError):
            await resolve(request, store=store, environment=environment, progress=lambda text: None)
        assert named.asked == []
