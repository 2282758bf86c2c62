"""A server that is pinned again: what a person is asked, and what is refused while the old pin stays.

The real npm and uv against registries on loopback, whose packages a Sigstore of the tests' own signed.
"""

import asyncio
import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from broker.agreed import Agreed
from broker.audit.redact import Redactor
from broker.errors import TrustError
from broker.pin import Pin
from broker.pinning import Pinner, Prepared
from broker.provisions import Provisions
from broker.registry import Registry, Server
from broker.sandbox.process import Instance
from broker.trust import pins
from broker.trust.advisories import Advisories
from broker.trust.store import Store
from broker.vault.vault import Vault
from tests.fakes.launchers import node_environment
from tests.protocol.stage import CATALOG
from tests.trust.archives import wheel
from tests.trust.attack_table import catches
from tests.trust.bundles import bundle, manifest
from tests.trust.mini_sigstore import MiniSigstore
from tests.trust.signing_registries import AttestingIndex, SigningNpmRegistry

SIGSTORE: Final = MiniSigstore()
LONG_AGO: Final = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
WHEN: Final = {"when": LONG_AGO}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class House:
    """Somebody with a registry of servers, who pins one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = folder / "config"
        self.registry = Registry(Agreed(config, folder / "agreed", b"k" * 32), config)
        self.store = Store(folder / "store")
        provisions = Provisions(self.registry, Vault(folder / "vault", folder), Redactor())  # never asked for a secret
        advisories = Advisories(folder / "advisories")
        self.pinner = Pinner(self.registry, self.store, advisories, never_spawned, provisions, roots=SIGSTORE.roots)
        self.environment: dict[str, str] = {}

    async def prepare(self, line: str) -> Prepared:
        return await self.pinner.prepare("s", line.split(), self.environment, lambda said: None)

    async def pin(self, line: str) -> Pin:
        """What a yes does, without starting the server."""
        prepared = await self.prepare(line)
        unbuilt = replace(prepared.artifact, builds=())
        pin = Pin(prepared.server, "2026-01-01T00:00:00+00:00", prepared.launch, unbuilt)
        return self.registry.put_pin(pin, CATALOG)

    async def refusal(self, line: str) -> str:
        before = self.registry.pin("s")
        with pytest.raises(TrustError) as refused:
            await self.prepare(line)
        assert self.registry.pin("s") == before
        return str(refused.value)


@contextmanager
def unharmed(house: House, pin: Pin, *kept: Any) -> Iterator[None]:
    """What a registry keeps is afterwards as it was; and the old pin is there, whole, and nothing half-made is left."""
    before = copy.deepcopy(kept)
    yield
    for now, then in zip(kept, before, strict=True):
        now.clear()
        now.update(then)
    assert house.registry.pin("s") == pin
    assert os.listdir(house.store.root / "staging") == []
    assert asyncio.run(house.store.verified(pin)).tree == pin.artifact.tree


async def never_spawned(*_arguments: object) -> Instance:
    raise AssertionError("nothing is started before a yes")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def npm(house: House) -> Iterator[SigningNpmRegistry]:
    with SigningNpmRegistry(SIGSTORE) as registry:
        house.environment = node_environment(registry.environment(house.folder / "user"))
        registry.release("server", "1.0.0", **WHEN)
        yield registry


@pytest.fixture
def index(house: House) -> Iterator[AttestingIndex]:
    with AttestingIndex(SIGSTORE) as index:
        house.environment = index.environment(house.folder / "user")
        house.environment["PATH"] = os.environ["PATH"]
        upload(index, "1.0.0")
        index.attest("server", **WHEN)
        yield index


def upload(index: AttestingIndex, version: str) -> None:
    files = {"server.py": f"VERSION = '{version}'\n\ndef main():\n    pass\n"}
    index.publish("server", version, wheel("server", version, files, scripts={"server": "server:main"}))


def codes(prepared: Prepared) -> list[str]:
    return [warning.partition(":")[0] for warning in prepared.warnings]


async def test_a_person_is_shown_who_built_an_npm_package_and_the_pin_keeps_it(
    house: House, npm: SigningNpmRegistry
) -> None:
    prepared = await house.prepare("npx -y server")
    text = "\n".join(prepared.lines)
    assert "verified: built by https://github.com/org/repo, .github/workflows/release.yml" in text
    assert "(owner 2002, repository 1001)" in text
    assert "verified: the registry's signature on 1 of 1 packages" in text
    assert "not verified" not in text
    assert prepared.warnings == ()
    pin = await house.pin("npx -y server")
    assert pins.from_text(pins.to_text(pin)) == pin == house.registry.pin("s")
    assert pin.artifact.publisher is not None and pin.artifact.publisher.signed_at == int(LONG_AGO.timestamp())


async def test_the_same_package_again_asks_nothing_and_a_new_version_asks(
    house: House, npm: SigningNpmRegistry
) -> None:
    await house.pin("npx -y server")
    assert codes(await house.prepare("npx -y server")) == []
    npm.release("server", "1.1.0", **WHEN)
    prepared = await house.prepare("npx -y server")
    assert prepared.warnings == ("NEW_VERSION: 1.0.0 -> 1.1.0",)
    assert prepared.digest != (await house.prepare("npx -y server@1.0.0")).digest


ASKED: Final[dict[str, dict[str, Any]]] = {
    "REPO_CHANGED": {"repository_id": "5555"},
    "WORKFLOW_CHANGED": {"workflow": ".github/workflows/pr.yml"},
    "BUILT_FROM_BRANCH": {"ref": "refs/heads/main"},
    "SELF_HOSTED_RUNNER": {"runner": "self-hosted"},
    "REPO_RENAMED": {"repository": "org/renamed"},
    "COOLDOWN": {"when": LONG_AGO + timedelta(days=59)},
}


async def test_an_update_tells_a_person_how_it_was_built_otherwise(house: House, npm: SigningNpmRegistry) -> None:
    await house.pin("npx -y server")
    told = {}
    for number, (code, changed) in enumerate(ASKED.items(), 1):
        npm.release("server", f"1.{number}.0", **{**WHEN, **changed})
        told[code] = sorted(codes(await house.prepare("npx -y server")))
    assert told == {code: sorted(["NEW_VERSION", code]) for code in ASKED}


@catches("C13")
async def test_an_update_tells_of_new_scripts_and_dependencies_and_of_going_back(
    house: House, npm: SigningNpmRegistry
) -> None:
    npm.release("lib", "1.0.0", {"scripts": {"postinstall": "node evil.js"}}, **WHEN)
    await house.pin("npx -y server")
    npm.release("server", "1.1.0", {"dependencies": {"lib": "1.0.0"}}, **WHEN)
    assert codes(await house.prepare("npx -y server")) == ["NEW_VERSION", "NEW_DEPENDENCIES", "NEW_INSTALL_SCRIPT"]
    await house.pin("npx -y server")
    assert codes(await house.prepare("npx -y server@1.0.0")) == ["NEW_VERSION", "DOWNGRADE"]


@pytest.mark.claim("C15")
async def test_an_update_by_somebody_else_is_refused_and_the_old_pin_stays(
    house: House, npm: SigningNpmRegistry
) -> None:
    await house.pin("npx -y server")
    npm.release("server", "1.1.0", owner_id="666", **WHEN)
    assert "PUBLISHER_CHANGED: it would come from somebody else" in await house.refusal("npx -y server")


@catches("H14")
@pytest.mark.claim("C15")
async def test_an_update_in_which_a_dependency_comes_from_somebody_else_or_lost_its_attestation_is_refused(
    house: House, npm: SigningNpmRegistry
) -> None:
    needs = {"dependencies": {"lib": "*"}}
    npm.release("lib", "1.0.0", **WHEN)
    npm.release("server", "1.1.0", needs, **WHEN)
    pin = await house.pin("npx -y server")
    said = pins.describe(pin.artifact, pin.launch)
    assert "who built its 2 packages: 2 verified" in said
    npm.release("lib", "1.1.0", owner_id="666", **WHEN)
    assert "PUBLISHER_CHANGED: lib 1.1.0: it would come from somebody else" in await house.refusal("npx -y server")
    npm.publish("lib", "1.1.0")
    npm.sign("lib", "1.1.0")
    assert "PROV_DROPPED: lib 1.1.0" in await house.refusal("npx -y server")


@pytest.mark.claim("C15")
async def test_an_update_that_lost_its_attestation_or_signature_is_refused(
    house: House, npm: SigningNpmRegistry
) -> None:
    await house.pin("npx -y server")
    npm.publish("server", "1.1.0")
    refusal = await house.refusal("npx -y server")
    assert "PROV_DROPPED" in refusal and "SIG_DROPPED" in refusal


async def test_an_update_whose_attestation_is_forged_is_refused(house: House, npm: SigningNpmRegistry) -> None:
    await house.pin("npx -y server")
    npm.release("server", "1.1.0", claims="evil/repo", **WHEN)
    assert "its provenance does not hold" in await house.refusal("npx -y server")


@catches("C02")
async def test_a_version_that_now_has_other_bytes_is_refused(house: House, npm: SigningNpmRegistry) -> None:
    await house.pin("npx -y server")
    npm.release("server", "1.0.0", {"description": "the same version, other bytes"}, **WHEN)
    assert "VERSION_REPUBLISHED: server 1.0.0 now has other bytes" in await house.refusal("npx -y server")


async def test_an_index_that_cannot_say_any_more_asks_a_person(house: House, npm: SigningNpmRegistry) -> None:
    await house.pin("npx -y server")
    npm.publish("server", "1.1.0")
    npm.signs = False
    assert codes(await house.prepare("npx -y server")) == [
        "NEW_VERSION",
        *["SIG_UNAVAILABLE"],
        *["PROV_UNAVAILABLE"] * 2,
    ]


async def test_a_pin_nobody_can_read_is_said_and_does_not_keep_the_server_from_being_pinned(
    house: House, npm: SigningNpmRegistry
) -> None:
    await house.pin("npx -y server")
    house.registry._agreed.write("pins/s.toml", b"v = 99\n")
    (warning,) = (await house.prepare("npx -y server")).warnings
    assert warning.startswith("the old pin cannot be read, so nothing was compared with it")


async def test_a_python_server_is_held_to_its_publisher_too(house: House, index: AttestingIndex) -> None:
    index.roles["server"] = ["ann"]
    pin = await house.pin("uvx server")
    assert pin.artifact.publisher is not None and pin.artifact.publisher.owner_id == "2002"
    assert "verified: built by https://github.com/org/repo" in "\n".join(pins.describe(pin.artifact, pin.launch))
    assert codes(await house.prepare("uvx server")) == []
    upload(index, "1.1.0")
    index.attest("server", **WHEN)
    index.roles["server"] = ["ann", "evil"]
    assert codes(await house.prepare("uvx server")) == ["NEW_VERSION", "MAINTAINERS_CHANGED"]
    index.attest("server", owner_id="666", **WHEN)
    assert "PUBLISHER_CHANGED" in await house.refusal("uvx server")
    index.provenance.clear()
    assert "PROV_DROPPED" in await house.refusal("uvx server")


async def test_a_pin_without_evidence_from_before_gains_it_without_a_question(
    house: House, npm: SigningNpmRegistry
) -> None:
    pin = await house.pin("npx -y server")
    plain = replace(pin.artifact, evidence=(), publisher=None)
    house.registry.put_pin(replace(pin, artifact=plain), CATALOG)
    assert codes(await house.prepare("npx -y server")) == []


async def test_a_bundle_asks_for_its_settings_once_and_keeps_their_values_out_of_the_pin(house: House) -> None:
    file = house.folder / "given.mcpb"
    config = {"command": "node", "args": ["${__dirname}/server/index.js"], "env": {"TOKEN": "${user_config.token}"}}
    server = {"type": "node", "entry_point": "server/index.js", "mcp_config": config}
    file.write_bytes(bundle(manifest(server=server, user_config={"token": {"type": "string", "sensitive": True}})))
    house.environment = node_environment({"HOME": str(house.folder)})
    line = f"mcpb run {file}"
    assert "needs the setting 'token'" in await house.refusal(line)
    prepared = await house.pinner.prepare(
        "s", line.split(), house.environment, lambda said: None, settings={"token": "hidden"}
    )
    pin = Pin(prepared.server, "2026-01-01T00:00:00+00:00", prepared.launch, prepared.artifact)
    assert "hidden" not in pins.to_text(pin) and "hidden" not in "".join(prepared.lines)
    assert prepared.env == {"token": "hidden", "TOKEN": "hidden"}
    house.registry.put_pin(pin, CATALOG)
    house.registry.put_env(prepared.server, dict(prepared.env))
    house.registry.put_server(Server(prepared.server, tuple(line.split()), pin.created, env=("TOKEN", "token")))
    assert (await house.prepare(line)).env == prepared.env
