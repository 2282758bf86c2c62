"""A newer version is asked for as an update would ask, and only of lines that float."""

import os
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.trust.launch_spec import parse
from broker.trust.newer import newer_version
from broker.trust.resolve import resolve
from broker.trust.store import Store
from tests.fakes.launchers import node_environment
from tests.trust.archives import wheel
from tests.trust.registries import NpmRegistry, PythonIndex

HELLO = {"server/__init__.py": "def main():\n    return 7\n"}


async def newer(store: Store, line: str, environment: dict[str, str], publish: object) -> str:
    """Pin the line, let the registry go on, and ask."""
    launch = parse(line.split(), exists=os.path.exists)
    artifact = await resolve(launch, store=store, environment=environment, progress=lambda text: None)
    assert callable(publish)
    publish()
    before = os.listdir(store.root / "objects")
    found = await newer_version(launch, artifact, store=store, environment=environment)
    assert os.listdir(store.root / "objects") == before  # announced, never taken
    return found


@pytest.mark.parametrize(
    ("line", "found"), [("npx -y server", "1.1.0"), ("npx -y server@1.0.0", ""), ("npx -y server@~1.0.0", "")]
)
async def test_a_floating_npm_line_learns_of_a_newer_version(
    store: Store, npm_registry: NpmRegistry, tmp_path: Path, line: str, found: str
) -> None:
    npm_registry.publish("server", "1.0.0")
    environment = dict(node_environment(npm_registry.environment(tmp_path / "user")))
    assert await newer(store, line, environment, lambda: npm_registry.publish("server", "1.1.0")) == found


@pytest.mark.parametrize(("line", "found"), [("uvx server", "1.1"), ("uvx server@1.0", "")])
async def test_a_floating_python_line_learns_of_a_newer_version(
    store: Store, python_index: PythonIndex, tmp_path: Path, line: str, found: str
) -> None:
    def publish(version: str) -> None:
        python_index.publish("server", version, wheel("server", version, HELLO, scripts={"server": "server:main"}))

    publish("1.0")
    assert await newer(store, line, python_index.environment(tmp_path / "user"), lambda: publish("1.1")) == found


async def test_a_registry_that_is_gone_is_said(store: Store, npm_registry: NpmRegistry, tmp_path: Path) -> None:
    npm_registry.publish("server", "1.0.0")
    environment = dict(node_environment(npm_registry.environment(tmp_path / "user")))
    with pytest.raises(TrustError):
        await newer(store, "npx -y server", environment, lambda: npm_registry.documents.clear())
