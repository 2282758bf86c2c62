"""What a configured index says about a package, true or not, and what it cannot say: asked for over the wire."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from broker.errors import TrustError
from broker.pin import EvidenceState
from broker.trust import fetch
from broker.trust.evidence import Evidence, of_npm, of_pypi
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import NpmSettings, origin
from broker.trust.pypi_package import WheelFile
from broker.trust.pypi_settings import Index, PypiSettings
from tests.trust.archives import wheel
from tests.trust.attack_table import catches
from tests.trust.mini_sigstore import NOW, RETIRED, MiniSigstore
from tests.trust.signing_registries import AttestingIndex, SigningNpmRegistry

SIGSTORE: Final = MiniSigstore()
ROOTS: Final = SIGSTORE.roots()


@pytest.fixture
def registry() -> Iterator[SigningNpmRegistry]:
    with SigningNpmRegistry(SIGSTORE) as registry:
        registry.release("server", "1.0.0", {"dependencies": {"@scope/lib": "1.0.0"}})
        registry.publish("@scope/lib", "1.0.0")
        registry.sign("@scope/lib", "1.0.0")
        registry.asked.clear()
        yield registry


@pytest.fixture
def index() -> Iterator[AttestingIndex]:
    with AttestingIndex(SIGSTORE) as index:
        index.publish("server", "1.0.0", wheel("server", "1.0.0", {"server.py": ""}))
        yield index


async def gathered(
    registry: SigningNpmRegistry,
    npmrc: str = "",
    environment: dict[str, str] | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Evidence:
    packages = [
        Locked(f"node_modules/{name}", name, version, entry["dist"]["integrity"])
        for name, document in sorted(registry.documents.items())
        for version, entry in document["versions"].items()
    ]
    settings = NpmSettings(f'registry="{registry.url}/"\n{npmrc}', frozenset({origin(registry.url)}), registry.url, ())
    return await of_npm(packages, "server", settings, environment or {}, ROOTS, told)


def states(evidence: Evidence) -> dict[str, EvidenceState]:
    return {record.kind: record.state for record in evidence.records}


def all_are(state: EvidenceState) -> dict[str, EvidenceState]:
    return {"signature": state, "publication": state, "provenance": state}


async def test_a_registry_that_signs_is_believed_for_every_package_of_the_closure(registry: SigningNpmRegistry) -> None:
    registry.documents["server"] |= {"maintainers": [{"name": "bob"}, {"name": "ann", "email": "x"}],
                                     "time": {"1.0.0": "2026-05-01T00:00:00Z"}}  # fmt: skip
    found = await gathered(registry)
    assert states(found) == all_are("verified")
    assert {name: record.state for (name, _), record in found.signatures.items()} == {
        "server": "verified", "@scope/lib": "verified"}  # fmt: skip
    assert found.publisher is not None and found.publisher.owner_id == "2002"
    assert (found.maintainers, found.released) == (("ann", "bob"), "2026-05-01T00:00:00Z")


def built(evidence: Evidence, name: str = "@scope/lib") -> tuple[EvidenceState, str]:
    """The state of a dependency's provenance, and its builder's number."""
    record, publisher = evidence.provenances[name, "1.0.0"]
    return record.state, publisher.owner_id if publisher else ""


async def test_who_built_it_is_asked_and_verified_of_every_package_that_has_an_attestation(
    registry: SigningNpmRegistry,
) -> None:
    for number in range(30):
        registry.publish(f"plain{number}", "1.0.0")
    assert built(await gathered(registry)) == ("missing", "")
    assert not any("attestations" in path and "server" not in path for path in registry.asked)
    registry.attest("@scope/lib", "1.0.0", owner_id="77")
    told: list[str] = []
    found = await gathered(registry, told=told.append)
    assert built(found) == ("verified", "77")
    assert found.publisher is not None and found.publisher.owner_id == "2002"
    assert list(found.documents) == ["server@1.0.0", "@scope/lib@1.0.0"]
    assert told == ["asked about 25 of 31 packages"]
    assert len([path for path in registry.asked if "attestations" in path]) == 3  # twice the server's, once the other's
    registry.attestations.pop("@scope/lib@1.0.0")
    assert built(await gathered(registry)) == ("unavailable", "")  # promised, and not given


@catches("H14")
@pytest.mark.parametrize("what", ["provenance", "publication"])
async def test_an_attestation_of_a_dependency_that_is_wrong_refuses_the_closure(
    what: str, registry: SigningNpmRegistry
) -> None:
    registry.attest("@scope/lib", "1.0.0", **({"claims": "evil/repo"} if what == "provenance" else {}))
    if what == "publication":
        wrong = SIGSTORE.publication("@scope/lib", "2.0.0", registry.integrity("@scope/lib", "1.0.0"))
        registry.attestations["@scope/lib@1.0.0"]["attestations"][1] = wrong
    with pytest.raises(TrustError, match=r"@scope/lib 1\.0\.0: its provenance does not hold: "):
        await gathered(registry)


async def test_a_registry_without_keys_signatures_and_attestations_cannot_say_and_is_hardly_asked(
    registry: SigningNpmRegistry,
) -> None:
    registry.signs = False
    registry.attestations.clear()
    for document in registry.documents.values():
        for version in document["versions"].values():
            version["dist"].pop("signatures", None)
            version["dist"].pop("attestations", None)
    found = await gathered(registry)
    assert states(found) == all_are("unavailable")
    assert found.signatures["@scope/lib", "1.0.0"].state == "unavailable"
    assert registry.asked == ["/server", "/-/npm/v1/attestations/server@1.0.0", "/-/npm/v1/keys"]


async def test_a_registry_that_signs_and_has_nothing_for_a_package_says_that_it_is_missing(
    registry: SigningNpmRegistry,
) -> None:
    registry.publish("server", "1.0.0")
    registry.publish("@scope/lib", "1.0.0")
    registry.attestations.clear()
    found = await gathered(registry)
    assert states(found) == all_are("missing")
    assert found.signatures["@scope/lib", "1.0.0"].state == "missing"


async def test_attestations_are_asked_of_the_registry_itself_wherever_it_points_to(
    registry: SigningNpmRegistry,
) -> None:
    with SigningNpmRegistry(SIGSTORE) as elsewhere:
        registry.documents["server"]["versions"]["1.0.0"]["dist"]["attestations"] = {"url": elsewhere.url + "/x"}
        registry.attestations.clear()
        found = await gathered(registry)
        assert elsewhere.asked == []
    assert states(found)["provenance"] == "unavailable"  # it announces one and does not give it
    assert states(found)["signature"] == "verified"


@pytest.mark.parametrize("what", ["signature", "signature of a dependency", "provenance", "publication"])
async def test_evidence_that_is_wrong_refuses_the_package_and_says_which(
    what: str, registry: SigningNpmRegistry
) -> None:
    other = SIGSTORE.publication("server", "2.0.0", registry.integrity("server", "1.0.0"))
    match what:
        case "signature":
            registry.sign("server", "1.0.0", says="2.0.0")
        case "signature of a dependency":
            registry.sign("@scope/lib", "1.0.0", says="2.0.0")
        case "provenance":
            registry.attest("server", "1.0.0", claims="evil/repo")
        case "publication":
            registry.attestations["server@1.0.0"]["attestations"][1] = other
    with pytest.raises(TrustError, match=r"(server|lib 1\.0\.0): .* does not hold: ") as refused:
        await gathered(registry)
    assert ("lib" in str(refused.value)) == ("dependency" in what)


async def test_a_retired_keys_signature_needs_the_signed_time_of_an_attestation(registry: SigningNpmRegistry) -> None:
    registry.sign("server", "1.0.0", key=SIGSTORE.old_registry)
    with pytest.raises(TrustError, match="after that"):  # its attestations are of long after
        await gathered(registry)
    registry.attestations["server@1.0.0"]["attestations"] = [
        SIGSTORE.provenance("server", "1.0.0", registry.integrity("server", "1.0.0"), when=RETIRED.replace(year=2024))
    ]
    assert states(await gathered(registry))["signature"] == "verified"
    registry.attestations.clear()
    assert states(await gathered(registry))["signature"] == "unavailable"
    registry.documents["server"]["time"] = {"1.0.0": NOW.isoformat()}
    with pytest.raises(TrustError, match="after that"):
        await gathered(registry)


ODD: Final[dict[str, tuple[str, bytes]]] = {
    "a page of HTML": ("text/html", b"<!doctype html><title>all is well</title>"),
    "half a document": ("application/json", b'{"attestations": ['),
    "depth without end": ("application/json", b"[" * 100_000),
    "too much": ("application/json", b'"' + b"x" * (4 << 20) + b'"'),
}


@pytest.mark.parametrize("answer", ODD)
async def test_an_answer_that_is_no_document_is_no_answer(answer: str, registry: SigningNpmRegistry) -> None:
    registry.raw["/-/npm/v1/attestations/server@1.0.0"] = ODD[answer]
    found = await gathered(registry)
    assert states(found) == {"signature": "verified", "publication": "unavailable", "provenance": "unavailable"}


async def test_a_document_of_another_shape_is_invalid_and_not_missing(registry: SigningNpmRegistry) -> None:
    registry.attestations["server@1.0.0"] = {"attestations": "none"}
    with pytest.raises(TrustError, match="does not hold"):
        await gathered(registry)


async def test_a_registry_that_stalls_costs_a_bounded_time(
    registry: SigningNpmRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "ONE_ANSWER", 0.2)
    released = threading.Event()
    answer = registry.answer

    def stall(path: str) -> tuple[str, bytes] | None:
        if path == "/-/npm/v1/attestations/server@1.0.0":
            released.wait(30)
        return answer(path)

    try:
        with answering(stall) as url:
            registry.url = url
            found = await gathered(registry)
    finally:
        released.set()
    assert states(found) == {"signature": "verified", "publication": "unavailable", "provenance": "unavailable"}
    assert "did not answer within" in found.records[2].detail


@contextmanager
def answering(answer: Any, status: int = 200, **headers: str) -> Iterator[str]:
    """A bare server on loopback; `answer` is asked with the request's first line's target."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path.replace("%2F", "/"))
            self.send_response(status if found else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(found[1] if found else b"")
            except OSError:
                pass  # the reader gave up, which is what is tested

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def noting(reached: list[str], body: bytes) -> Callable[[str], tuple[str, bytes]]:
    def answer(path: str) -> tuple[str, bytes]:
        reached.append(path)
        return "", body

    return answer


async def test_a_redirect_is_not_followed() -> None:
    reached: list[str] = []
    with (
        answering(noting(reached, b"{}")) as elsewhere,
        answering(lambda path: ("", b"{}"), 302, Location=elsewhere) as url,
    ):
        async with fetch.reader(fetch.Access(url)) as reader:
            answer = await reader.ask("x")
    assert (answer.state, answer.why, reached) == ("silent", "it answers 302", [])


async def test_the_callers_proxy_is_used_and_not_the_one_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with answering(noting(reached, b'"proxied"')) as proxy:
        for environment, wanted in (
            ({"http_proxy": proxy}, "proxied"),
            ({"ALL_PROXY": proxy}, "proxied"),
            ({"http_proxy": proxy, "NO_PROXY": "other.test, .index.test"}, None),
            ({"http_proxy": proxy, "no_proxy": "*"}, None),
            ({"http_proxy": "gopher://127.0.0.1:1"}, None),
        ):
            access = fetch.from_environment("http://an.index.test:1", environment)
            async with fetch.reader(access) as reader:
                assert (await reader.ask("x")).document == wanted
    assert reached == ["http://an.index.test:1/x"] * 2
    with answering(lambda path: ("", b'"direct"')) as url:
        async with fetch.reader(fetch.from_environment(url, {})) as reader:
            assert (await reader.ask("x")).document == "direct"


async def test_a_credential_goes_to_its_own_registry_only(registry: SigningNpmRegistry) -> None:
    with SigningNpmRegistry(SIGSTORE) as private:
        private.documents["@scope/lib"] = registry.documents["@scope/lib"]
        place = private.url.removeprefix("http:")
        found = await gathered(registry, f'@scope:registry="{private.url}/"\n{place}/:_authToken=s3cret\n')
        assert {headers.get("authorization") for headers in private.headers} == {"Bearer s3cret"}
    assert {headers.get("authorization") for headers in registry.headers} == {None}
    assert found.signatures["@scope/lib", "1.0.0"].state == "verified"


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ("//{host}/:_auth=dXNlcjpwYXNz", "Basic dXNlcjpwYXNz"),
        ("//{host}/:username=user\n//{host}/:_password=cGFzcw==", "Basic dXNlcjpwYXNz"),
        ("//{host}/other/:_authToken=no", None),
        ("//elsewhere.test/:_authToken=no", None),
    ],
)
async def test_npms_ways_to_write_a_credential_are_understood(
    lines: str, header: str | None, registry: SigningNpmRegistry
) -> None:
    await gathered(registry, lines.format(host=registry.url.removeprefix("http://")) + "\n")
    assert {headers.get("authorization") for headers in registry.headers} == {header}


def test_access_shows_neither_password_nor_token() -> None:
    access = fetch.Access("http://user:s3cret@index.test/simple", headers={"authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(access)


# --- Python ---


async def found_in(index: AttestingIndex, *urls: str) -> Evidence:
    ((file, (_, sha256)),) = index.files["server"].items()
    indexes = tuple(Index(url) for url in urls or (f"{index.url}/simple",))
    wheels = [WheelFile("server", "1.0.0", file, sha256)]
    if "lib" in index.files:
        ((file, (_, sha256)),) = index.files["lib"].items()
        wheels.insert(0, WheelFile("lib", "1.0.0", file, sha256))
    return await of_pypi(wheels, "server", PypiSettings(indexes, {}, {}), {}, ROOTS)


async def test_a_wheel_with_provenance_names_its_publisher_and_maintainers(index: AttestingIndex) -> None:
    index.attest("server")
    index.roles["server"] = ["bob", "ann", "bob"]
    found = await found_in(index)
    assert states(found) == {"provenance": "verified"}
    assert found.publisher is not None and found.publisher.repository_id == "1001"
    assert (found.maintainers, found.released) == (("ann", "bob"), "2025-01-01T00:00:00.000000Z")


@catches("H14")
async def test_every_wheel_of_a_closure_is_asked_for_its_publisher(index: AttestingIndex) -> None:
    index.publish("lib", "1.0.0", wheel("lib", "1.0.0", {"lib.py": ""}))
    assert built(await found_in(index), "lib") == ("missing", "")
    index.attest("lib", owner_id="77")
    found = await found_in(index)
    assert (states(found), built(found, "lib")) == ({"provenance": "missing"}, ("verified", "77"))
    assert list(found.documents) == list(index.files["lib"])
    index.attest("lib", claims="evil/repo")
    with pytest.raises(TrustError, match=r"lib 1\.0\.0: its provenance does not hold"):
        await found_in(index)
    index.speaks = False
    index.asked.clear()
    assert built(await found_in(index), "lib") == ("unavailable", "")
    assert not any("lib" in path for path in index.asked)


async def test_provenance_that_names_another_publisher_refuses_the_wheel(index: AttestingIndex) -> None:
    index.attest("server", claims="evil/repo")
    with pytest.raises(TrustError, match="server: its provenance does not hold: the index names another publisher"):
        await found_in(index)


async def test_an_index_that_speaks_of_provenance_and_has_none_says_missing_any_other_cannot_say(
    index: AttestingIndex,
) -> None:
    assert states(await found_in(index)) == {"provenance": "missing"}
    index.speaks = False
    assert states(await found_in(index)) == {"provenance": "unavailable"}


async def test_provenance_on_another_host_or_not_given_is_unavailable(index: AttestingIndex) -> None:
    index.attest("server")
    with AttestingIndex(SIGSTORE) as other:
        other.provenance = index.provenance
        index.elsewhere = other.url
        (record,) = (await found_in(index)).records
        assert (record.state, record.detail) == ("unavailable", "the index points elsewhere for it")
        assert other.asked == []
    index.elsewhere = f"{index.url}/gone"
    assert states(await found_in(index)) == {"provenance": "unavailable"}


async def test_only_an_index_that_lists_exactly_these_bytes_is_believed(index: AttestingIndex) -> None:
    index.attest("server")
    with AttestingIndex(SIGSTORE) as other:
        other.publish("server", "1.0.0", b"other bytes under the same name")
        found = await found_in(index, "file:///nowhere", f"{other.url}/simple", f"{index.url}/simple")
        assert states(found) == {"provenance": "verified"}
        assert states(await found_in(index, f"{other.url}/simple")) == {"provenance": "unavailable"}


async def test_a_password_in_an_indexs_address_becomes_a_header_and_is_in_no_path(index: AttestingIndex) -> None:
    address = index.url.replace("http://", "http://user:pass@") + "/simple/"
    await found_in(index, address)
    assert {headers.get("authorization") for headers in index.headers} == {"Basic dXNlcjpwYXNz"}
    assert not any("pass" in path for path in index.asked)


# --- what a running daemon must not load ---


@pytest.mark.parametrize("module", ["broker.daemon", "broker.trust.resolve", "broker.trust.store"])
def test_what_verifies_signatures_is_loaded_by_pinning_only(module: str) -> None:
    loads = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, timeout=60, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert not {"sigstore", "cryptography", "httpx2", "tuf", "requests"} & set(done.stdout.split())


def test_the_registries_of_these_tests_say_what_they_are_told(registry: SigningNpmRegistry) -> None:
    found = registry.answer("/-/npm/v1/attestations/server@1.0.0")
    assert found is not None and len(json.loads(found[1])["attestations"]) == 2
