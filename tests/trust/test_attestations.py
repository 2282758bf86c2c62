"""Attestations and registry signatures, true and forged, against a Sigstore of the tests' own."""

import base64
import copy
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import TrustError
from broker.trust.npm_attestations import Attestations, Release, attestations, read_keys, registry_signature
from broker.trust.pep740 import provenance
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import packaged
from tests.trust.attack_table import catches
from tests.trust.mini_sigstore import NOW, RETIRED, Builder, MiniSigstore, b64, integrity_of, npm_statement, utf8_string

SIGSTORE: Final = MiniSigstore()
ROOTS: Final = SIGSTORE.roots()
BUNDLES: Final = Bundles(ROOTS.sigstore)
KEYS: Final = read_keys(ROOTS.npm_keys)
NAME, VERSION, BYTES = "@scope/server", "1.2.3", integrity_of(b"the tarball")
RELEASE: Final = Release(NAME, VERSION, BYTES)
FILE, SHA256 = "server-1.2.3-py3-none-any.whl", "ab" * 32
THEN: Final = (RETIRED - timedelta(days=30)).timestamp()

Attestation = dict[str, Any]


def good(**changed: Any) -> Attestation:
    return SIGSTORE.provenance(NAME, VERSION, BYTES, **changed)


def verdict(*listed: Attestation, release: Release = RELEASE) -> Attestations:
    return attestations(BUNDLES, KEYS, release, {"attestations": list(listed)})


def test_a_true_provenance_names_the_publisher_by_the_numbers_of_its_certificate() -> None:
    found = verdict(good())
    assert found.provenance.state == "verified"
    publisher = found.publisher
    assert publisher is not None
    assert (publisher.repository, publisher.repository_id, publisher.owner_id) == (
        "https://github.com/org/repo", "1001", "2002")  # fmt: skip
    assert (publisher.workflow, publisher.ref, publisher.runner) == (
        ".github/workflows/release.yml", "refs/tags/v1", "github-hosted")  # fmt: skip
    assert publisher.signed_at == found.published_at == int(NOW.timestamp())
    assert found.publication.state == "missing"


def test_a_true_statement_of_publication_gives_a_signed_time_and_no_publisher() -> None:
    found = verdict(SIGSTORE.publication(NAME, VERSION, BYTES))
    assert (found.publication.state, found.provenance.state, found.publisher) == ("verified", "missing", None)
    assert found.published_at == int(NOW.timestamp())


def _first(attestation: Attestation) -> Attestation:
    entry: Attestation = attestation["bundle"]["verificationMaterial"]["tlogEntries"][0]
    return entry


def _bent(change: Callable[[Attestation], object], made: Callable[[], Attestation] = good) -> Attestation:
    attestation = copy.deepcopy(made())
    change(attestation)
    return attestation


def _repack(attestation: Attestation) -> None:
    envelope = attestation["bundle"]["dsseEnvelope"]
    said = json.loads(base64.b64decode(envelope["payload"]))
    said["predicate"]["more"] = True
    envelope["payload"] = b64(json.dumps(said).encode())


def _break_checkpoint(attestation: Attestation) -> None:
    checkpoint = _first(attestation)["inclusionProof"]["checkpoint"]
    text, _, signature = checkpoint["envelope"].rpartition(" ")
    checkpoint["envelope"] = f"{text} {signature[:-12]}AAAAAAA=\n"


def _other_payload(payload_type: str) -> Attestation:
    statement = npm_statement(NAME, VERSION, BYTES, "https://slsa.dev/provenance/v1", {})
    return {"predicateType": "https://slsa.dev/provenance/v1",
            "bundle": SIGSTORE.bundle(statement, Builder(), payload_type=payload_type)}  # fmt: skip


def _stated(change: Callable[[Attestation], object]) -> Attestation:
    """Properly signed, but saying something it should not."""
    workflow = {"workflow": {"repository": "https://github.com/org/repo"}}
    statement = npm_statement(NAME, VERSION, BYTES, "https://slsa.dev/provenance/v1",
                              {"buildDefinition": {"externalParameters": workflow}})  # fmt: skip
    change(statement)
    return {"predicateType": "https://slsa.dev/provenance/v1", "bundle": SIGSTORE.bundle(statement, Builder())}


OTHER_BYTES: Final = integrity_of(b"other bytes")
FORGED: Final[Mapping[str, tuple[Callable[[], Attestation], str]]] = {
    "D01 other bytes": (lambda: SIGSTORE.provenance(NAME, VERSION, OTHER_BYTES), "speaks of other bytes"),
    "D02 another package": (lambda: SIGSTORE.provenance("@scope/other", VERSION, BYTES), "it speaks of 'pkg:npm/"),
    "D03 another version": (lambda: SIGSTORE.provenance(NAME, "1.2.2", BYTES), "it speaks of 'pkg:npm/"),
    "D04 an unknown authority": (lambda: MiniSigstore().provenance(NAME, VERSION, BYTES), "does not verify"),
    "D05 another repository than its certificate": (lambda: good(claims="evil/repo"), "its certificate says another"),
    "D06 an issuer nobody knows": (lambda: good(issuer="https://login.evil.test"), "no build service known here"),
    "D07 an edited payload": (lambda: _bent(_repack), "does not verify"),
    "D08 no log entry": (
        lambda: _bent(lambda each: each["bundle"]["verificationMaterial"].update(tlogEntries=[])), "does not verify"),
    "D08 no proof in a new bundle": (lambda: _bent(lambda each: _first(each).pop("inclusionProof")), "not verify"),
    "D09 the log entry of another signature": (
        lambda: _bent(lambda each: each["bundle"]["verificationMaterial"].update(tlogEntries=[_first(good())])),
        "does not verify"),
    "D10 a broken checkpoint": (lambda: _bent(_break_checkpoint), "does not verify"),
    "D11 a time outside the certificate, promise broken": (
        lambda: _bent(lambda each: _first(each).update(integratedTime="1700000000")), "does not verify"),
    "D11 a time outside the certificate, promised": (
        lambda: {"predicateType": "https://slsa.dev/provenance/v1", "bundle": SIGSTORE.bundle(
            npm_statement(NAME, VERSION, BYTES, "https://slsa.dev/provenance/v1", {}), Builder(),
            logged=NOW + timedelta(hours=1))}, "does not verify"),
    "D11 no promise for its time": (
        lambda: _bent(lambda each: _first(each).pop("inclusionPromise")), "does not verify"),
    "D12 another payload type": (lambda: _other_payload("text/plain"), "not a statement"),
    "no statement": (lambda: _stated(lambda said: said.update(_type="x")), "not an in-toto statement"),
    "two subjects": (lambda: _stated(lambda said: said["subject"].append(said["subject"][0])), "exactly one thing"),
    "another predicate": (lambda: _stated(lambda said: said.update(predicateType="x")), "something else"),
    "no repository": (lambda: _stated(lambda said: said.update(predicate={})), "its certificate says another"),
    "a certificate value that is no text": (lambda: good(extra=((15, b"\x04\x01\x00"),)), "value 15 is not text"),
    "a certificate value with a tail": (
        lambda: good(extra=((17, utf8_string("2002") + b"x"),)), "value 17 is not text"),
    "a certificate value with a line break": (lambda: good(extra=((17, utf8_string("2\n2")),)), "value 17 is not"),
    "no bundle": (lambda: {"predicateType": "https://slsa.dev/provenance/v1"}, "no bundle"),
    "an empty bundle": (lambda: {"predicateType": "https://slsa.dev/provenance/v1", "bundle": {}}, "does not verify"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_provenance_is_invalid_and_never_missing_with(case: str) -> None:
    make, reason = FORGED[case]
    found = verdict(make())
    assert found.provenance.state == "invalid"
    assert reason in found.provenance.detail
    assert found.publisher is None


def test_one_wrong_provenance_spoils_a_true_one_beside_it() -> None:
    for listed in ((good(), good(claims="evil/repo")), (good(claims="evil/repo"), good())):
        found = verdict(*listed)
        assert (found.provenance.state, found.publisher) == ("invalid", None)


@catches("H08")
def test_an_old_bundle_that_nobody_can_check_offline_says_nothing() -> None:
    old = _bent(lambda each: _first(each).pop("inclusionProof"))
    old["bundle"]["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
    found = verdict(old)
    assert (found.provenance.state, found.publisher) == ("missing", None)


@pytest.mark.parametrize("document", [None, [], {}, {"attestations": {}}, {"attestations": [{}] * 17}, "x"])
def test_an_answer_that_is_no_list_of_attestations_is_invalid(document: object) -> None:
    found = attestations(BUNDLES, KEYS, RELEASE, document)
    assert (found.provenance.state, found.publication.state) == ("invalid", "invalid")


def _published(**changed: Any) -> Attestation:
    return SIGSTORE.publication(NAME, VERSION, BYTES, **changed)


PUBLICATIONS: Final[Mapping[str, tuple[Callable[[], Attestation], str]]] = {
    "other bytes": (lambda: SIGSTORE.publication(NAME, VERSION, OTHER_BYTES), "other bytes"),
    "another package": (lambda: SIGSTORE.publication("@scope/other", VERSION, BYTES), "it speaks of"),
    "an unknown key": (lambda: MiniSigstore().publication(NAME, VERSION, BYTES), "a key not known here"),
    "a retired key after its time": (lambda: _published(key=SIGSTORE.old_registry), "when its key was not in use"),
    "a key before its time": (lambda: _published(when=RETIRED - timedelta(days=1)), "when its key was not in use"),
    "an edited payload": (lambda: _bent(_repack, _published), "signature does not verify"),
    "the log entry of another": (
        lambda: _bent(lambda each: each["bundle"]["verificationMaterial"].update(
            tlogEntries=[_first(SIGSTORE.publication("x", "1.0.0", BYTES))]), _published), "about something else"),
    "another time": (
        lambda: _bent(lambda each: _first(each).update(integratedTime="1780000000"), _published), "does not verify"),
    "no promise for its time": (
        lambda: _bent(lambda each: _first(each).pop("inclusionPromise"), _published), "no signed time"),
    "no log entry": (
        lambda: _bent(lambda each: each["bundle"]["verificationMaterial"].pop("tlogEntries"), _published), "shaped"),
}  # fmt: skip


@pytest.mark.parametrize("case", PUBLICATIONS)
def test_a_statement_of_publication_is_invalid_with(case: str) -> None:
    make, reason = PUBLICATIONS[case]
    found = verdict(make())
    assert (found.publication.state, found.published_at) == ("invalid", None)
    assert reason in found.publication.detail


def test_a_statement_of_publication_by_a_retired_key_holds_for_its_own_time() -> None:
    when = RETIRED - timedelta(days=1)
    assert verdict(_published(key=SIGSTORE.old_registry, when=when)).publication.state == "verified"


# --- registry signatures ---


def signature(*listed: object, signed_at: float | None = None, claimed: str = "") -> str:
    return registry_signature(KEYS, RELEASE, list(listed), signed_at=signed_at, claimed=claimed).state


@catches("D13")
def test_the_registrys_signature_holds_for_its_name_version_and_bytes_only() -> None:
    true = SIGSTORE.registry_signature(NAME, VERSION, BYTES)
    assert signature(true) == "verified"
    assert signature(SIGSTORE.registry_signature(NAME, "1.2.2", BYTES)) == "invalid"  # D13
    assert signature(SIGSTORE.registry_signature("@scope/other", VERSION, BYTES)) == "invalid"
    assert signature(SIGSTORE.registry_signature(NAME, VERSION, OTHER_BYTES)) == "invalid"
    assert signature({**true, "sig": "not base64"}) == "invalid"


@catches("D14")
def test_a_signature_by_an_unknown_key_is_invalid_unless_a_known_one_stands_beside_it() -> None:
    true = SIGSTORE.registry_signature(NAME, VERSION, BYTES)
    unknown = MiniSigstore().registry_signature(NAME, VERSION, BYTES)
    assert signature(unknown) == "invalid"  # D14
    assert signature(unknown, true) == "verified"
    assert signature({**unknown, "keyid": SIGSTORE.keyid()}, true) == "invalid"
    assert signature("x", None, {"keyid": []}) == "invalid"
    assert signature(*[true] * 17) == "invalid"


@catches("D15")
def test_a_retired_keys_signature_holds_only_with_a_signed_time_before_its_end() -> None:
    old = SIGSTORE.registry_signature(NAME, VERSION, BYTES, SIGSTORE.old_registry)
    assert signature(old, signed_at=THEN) == "verified"
    assert signature(old, signed_at=NOW.timestamp()) == "invalid"  # D15
    assert signature(old, claimed=NOW.isoformat()) == "invalid"
    assert signature(old, signed_at=NOW.timestamp(), claimed="2024-06-01T00:00:00Z") == "invalid"
    assert signature(old, claimed="2024-06-01T00:00:00Z") == "unavailable"
    assert signature(old, claimed="gibberish") == "unavailable"


# --- PEP 740 ---


def test_a_python_file_with_true_provenance_names_its_publisher() -> None:
    record, publisher = provenance(BUNDLES, FILE, SHA256, SIGSTORE.pep740(FILE, SHA256))
    assert record.state == "verified"
    assert publisher is not None and publisher.owner_id == "2002"


def _claim(**changed: Any) -> Attestation:
    document = SIGSTORE.pep740(FILE, SHA256)
    document["attestation_bundles"][0]["publisher"] |= changed
    return document


PYTHON: Final[Mapping[str, tuple[Callable[[], object], str]]] = {
    "F09 another file": (lambda: SIGSTORE.pep740("other-1.2.3-py3-none-any.whl", SHA256), "it speaks of"),
    "other bytes": (lambda: SIGSTORE.pep740(FILE, "cd" * 32), "other bytes"),
    "F10 another publisher than the certificate": (
        lambda: SIGSTORE.pep740(FILE, SHA256, claims="evil/repo"), "another publisher"),
    "another workflow than the certificate": (lambda: _claim(workflow="other.yml"), "another publisher"),
    "another kind of publisher": (lambda: _claim(kind="GitLab"), "another publisher"),
    "an unknown kind of publisher": (lambda: _claim(kind="Basement"), "another publisher"),
    "an unknown authority": (lambda: MiniSigstore().pep740(FILE, SHA256), "does not verify"),
    "an unknown issuer": (lambda: SIGSTORE.pep740(FILE, SHA256, issuer="https://evil.test"), "no build service"),
    "no attestations": (lambda: {"version": 1, "attestation_bundles": []}, "holds 0 attestations"),
    "too many attestations": (
        lambda: {"version": 1, "attestation_bundles": _claim()["attestation_bundles"] * 33}, "holds 33 attestations"),
    "another version": (lambda: {**_claim(), "version": 2}, "not shaped like one"),
    "no object": (list, "not shaped like one"),
    "an empty attestation": (
        lambda: {"version": 1, "attestation_bundles": [{"publisher": {}, "attestations": [{}]}]}, "not shaped"),
    "two publishers": (
        lambda: {"version": 1, "attestation_bundles": [
            *_claim()["attestation_bundles"],
            *SIGSTORE.pep740(FILE, SHA256, owner_id="666")["attestation_bundles"]]}, "several publishers"),
}  # fmt: skip


@pytest.mark.parametrize("case", PYTHON)
def test_provenance_of_a_python_file_is_invalid_with(case: str) -> None:
    make, reason = PYTHON[case]
    record, publisher = provenance(BUNDLES, FILE, SHA256, make())
    assert (record.state, publisher) == ("invalid", None)
    assert reason in record.detail


# --- the roots ---


@catches("D16")
def test_a_forged_root_in_the_users_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D16: sigstore's own way to work offline would believe this file."""
    forger = MiniSigstore()
    for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    for folder in ("sigstore-python/tuf", ".local/share/sigstore-python/tuf", ".cache/sigstore-python/tuf"):
        planted = tmp_path / folder / quote("https://tuf-repo-cdn.sigstore.dev", safe="")
        planted.mkdir(parents=True)
        (planted / "trusted_root.json").write_text(json.dumps(forger.trusted_root()))
    roots, document = packaged(), {"attestations": [forger.provenance(NAME, VERSION, BYTES)]}
    assert attestations(Bundles(forger.roots().sigstore), {}, RELEASE, document).provenance.state == "verified"
    assert attestations(Bundles(roots.sigstore), {}, RELEASE, document).provenance.state == "invalid"


@pytest.mark.parametrize("file", ["trusted_root.json", "npm_keys.json"])
def test_a_root_that_is_not_the_one_this_program_came_with_is_refused(file: str, tmp_path: Path) -> None:
    roots = packaged()
    (tmp_path / "trusted_root.json").write_bytes(roots.sigstore)
    (tmp_path / "npm_keys.json").write_bytes(roots.npm_keys)
    assert packaged(tmp_path) == roots
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b" ")
    with pytest.raises(TrustError, match="is not the one this program came with"):
        packaged(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(TrustError, match="cannot be read"):
        packaged(tmp_path)


def test_the_packaged_keys_are_read_with_the_time_each_may_be_used() -> None:
    keys = read_keys(packaged().npm_keys)
    assert {usage for _, usage in keys} == {"npm:signatures", "npm:attestations"}
    assert sum(key.end is None for key in keys.values()) == 2
    for broken in (b"", b"{}", b'{"keys": [{}]}', b"[]"):
        with pytest.raises(TrustError):
            read_keys(broken)


# --- laws ---

SAMPLE: Final = good()
PATHS: Final = [("mediaType",), ("dsseEnvelope",), ("dsseEnvelope", "payload"), ("dsseEnvelope", "payloadType"),
                ("dsseEnvelope", "signatures"), ("dsseEnvelope", "signatures", 0, "sig"), ("verificationMaterial",),
                ("verificationMaterial", "certificate", "rawBytes"), ("verificationMaterial", "tlogEntries"),
                *(("verificationMaterial", "tlogEntries", 0, key)
                  for key in ("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise",
                              "inclusionProof", "canonicalizedBody")),
                *(("verificationMaterial", "tlogEntries", 0, "inclusionProof", key)
                  for key in ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint"))]  # fmt: skip
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2), st.binary(max_size=60).map(b64),
    st.integers(0, 10**20).map(str),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), JUNK)
def test_whatever_a_bundle_is_bent_into_it_says_the_same_or_is_invalid(path: tuple[Any, ...], junk: object) -> None:
    bent = copy.deepcopy(SAMPLE)
    place = bent["bundle"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    found = verdict(bent)
    assert found.provenance.state == "invalid" or found == verdict(SAMPLE)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_bit_of_what_was_signed_is_never_verified(data: st.DataObject) -> None:
    bent = copy.deepcopy(SAMPLE)
    envelope = bent["bundle"]["dsseEnvelope"]
    payload = bytearray(base64.b64decode(envelope["payload"]))
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    envelope["payload"] = b64(bytes(payload))
    assert verdict(bent).provenance.state == "invalid"
