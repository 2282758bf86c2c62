"""A pin says whose word its evidence was judged by, and the proof itself is kept beside the store's objects."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from broker.errors import TrustError
from broker.files import sha256_hex
from broker.pin import Pin, TrustBasis
from broker.trust.garbage import GRACE, collect, trees_of
from broker.trust.pins import describe, from_text, to_text
from broker.trust.proofs import keep_proof, proof
from broker.trust.spoken import OLD_DAYS, about_evidence, age_sentence
from broker.trust.store import Store
from broker.trust.trust_root import TAKEN, packaged
from tests.fakes.launchers import node_environment
from tests.test_pinning import SIGSTORE, WHEN, House, house
from tests.trust.attack_table import catches
from tests.trust.signing_registries import SigningNpmRegistry

__all__ = ["house"]
DAY: Final = 86400.0
LATER: Final = time.time() + 10 * GRACE


@pytest.fixture
def npm(house: House) -> Iterator[SigningNpmRegistry]:
    with SigningNpmRegistry(SIGSTORE) as registry:
        login = f"{registry.url.removeprefix('http:')}/:_authToken=s3cret\n"
        house.environment = node_environment(registry.environment(house.folder / "user", login))
        registry.release("lib", "1.0.0", **WHEN)
        registry.release("server", "1.0.0", {"dependencies": {"lib": "1.0.0"}}, **WHEN)
        yield registry


async def test_a_pin_names_its_registry_its_roots_and_the_proof_that_is_kept(
    house: House, npm: SigningNpmRegistry
) -> None:
    pin: Pin = await house.pin("npx -y server")
    artifact, basis = pin.artifact, pin.artifact.basis
    assert artifact.registry == f"{npm.url}/"
    assert "Bearer s3cret" in {each.get("authorization") for each in npm.headers}
    assert "s3cret" not in to_text(pin)
    assert basis is not None
    roots = SIGSTORE.roots()
    assert (basis.sigstore, basis.npm_keys) == (sha256_hex(roots.sigstore), sha256_hex(roots.npm_keys))
    kept = json.loads(proof(house.store.root, basis.evidence))
    assert kept == npm.attestations
    assert from_text(to_text(pin)) == pin
    assert about_evidence(artifact)[:5] == [
        "registry signature: verified", "statement of publication: verified", "provenance: verified",
        "registry signatures of its 2 packages: 2 verified", "provenance of its 2 packages: 2 verified",
    ]  # fmt: skip
    collect(house.store.root, trees_of(artifact), LATER)
    assert proof(house.store.root, basis.evidence)
    collect(house.store.root, frozenset({artifact.tree}), LATER, dry_run=True)
    assert proof(house.store.root, basis.evidence)
    collect(house.store.root, frozenset({artifact.tree}), LATER)
    assert os.listdir(house.store.root / "evidence") == []
    assert not any("days old" in said for said in describe(artifact, pin.launch))
    aged = replace(artifact, basis=replace(basis, age_days=OLD_DAYS + 1))
    assert "note: the roots of trust are 91 days old; update Bulkhead, which brings newer ones" in describe(
        aged, pin.launch)  # fmt: skip


def test_a_proof_that_was_changed_or_lost_is_told(store: Store) -> None:
    name = keep_proof(store.root, b"[1]")
    assert proof(store.root, name) == b"[1]"
    file: Path = store.root / "evidence" / name
    file.chmod(0o600)
    file.write_bytes(b"[2]")
    with pytest.raises(TrustError, match="was changed"):
        proof(store.root, name)
    file.unlink()
    with pytest.raises(TrustError, match="not in the store any more"):
        proof(store.root, name)


@catches("H10")
@pytest.mark.parametrize(("days", "told"), [(-400, False), (0, False), (OLD_DAYS, False), (OLD_DAYS + 1, True)])
def test_roots_that_nobody_renewed_go_on_and_say_so_after_ninety_days(days: int, told: bool) -> None:
    """Roots kept back verify what they always did: nothing expires offline, and a person is told on each new pin."""
    roots = packaged()
    noon = time.mktime((TAKEN + timedelta(days=days)).timetuple()) + DAY / 2
    basis = roots.basis(noon, "e" * 64)
    assert basis == TrustBasis(sha256_hex(roots.sigstore), sha256_hex(roots.npm_keys), max(0, days), "e" * 64)
    assert ("update Bulkhead" in age_sentence(basis.age_days)) == told
