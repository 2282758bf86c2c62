"""The list of what servers consist of has what CycloneDX 1.6 requires, and only hashes that were verified."""

import json
import re
import uuid
from pathlib import Path
from typing import Any

from broker.model import ServerName
from broker.pin import Interpreter, LaunchRequest, PackageRef, Pin, PinnedArtifact
from broker.trust.sbom import cyclonedx, purl
from tests.trust.advisory_examples import SHA256, SHA512

SERIAL = str(uuid.UUID(int=7))
PACKAGES = (PackageRef("@scope/lib", "1.0.0-rc.1+x", SHA512), PackageRef("server", "2.0.0", SHA512))


def pin(name: str, packages: tuple[PackageRef, ...], kind: Any = "npm") -> Pin:
    artifact = PinnedArtifact(
        kind, "server", "2.0.0", tree="a" * 64, entry="x.js", packages=packages,
        interpreter=Interpreter(Path("/usr/bin/node"), "20.0.0", "b" * 64),
    )  # fmt: skip
    return Pin(ServerName(name), "2026-01-01", LaunchRequest(("npx", "x"), "npx", "npm", "x"), artifact)


def document(*pins: Pin) -> dict[str, Any]:
    made = cyclonedx(pins, serial=SERIAL, timestamp="2026-01-01T00:00:00+00:00", version="1.0")
    read: dict[str, Any] = json.loads(json.dumps(made))
    return read


def check(bom: dict[str, Any]) -> None:
    """The schema's required fields and patterns, and that every reference leads somewhere."""
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom["serialNumber"])
    references = [each["bom-ref"] for each in bom["components"]]
    assert len(references) == len(set(references))
    for component in (*bom["components"], *bom["metadata"]["tools"]["components"]):
        assert component["type"] in {"application", "library"}
        assert component["name"]
        for found in component.get("hashes", []):
            length = {"SHA-256": 64, "SHA-512": 128}[found["alg"]]
            assert re.fullmatch(rf"[0-9a-f]{{{length}}}", found["content"])
    for dependency in bom["dependencies"]:
        assert {dependency["ref"], *dependency["dependsOn"]} <= set(references)
        assert len(dependency["dependsOn"]) == len(set(dependency["dependsOn"]))


def test_a_document_has_what_the_format_requires_and_each_package_once() -> None:
    bom = document(pin("one", PACKAGES), pin("two", PACKAGES))
    check(bom)
    assert [each["name"] for each in bom["components"]] == ["lib", "server", "one", "two"]
    assert bom["components"][0]["group"] == "@scope"
    assert bom["components"][0]["hashes"][0]["alg"] == "SHA-512"
    assert [each["ref"] for each in bom["dependencies"]] == ["server:one", "server:two"]
    assert all(len(each["dependsOn"]) == 2 for each in bom["dependencies"])


def test_the_tree_and_the_interpreter_stand_at_the_server() -> None:
    (server,) = (each for each in document(pin("one", PACKAGES))["components"] if each["name"] == "one")
    named = {each["name"]: each["value"] for each in server["properties"]}
    assert named["bulkhead:tree-sha256"] == "a" * 64
    assert named["bulkhead:interpreter-sha256"] == "b" * 64


def test_nothing_pinned_is_a_document_too() -> None:
    check(document())


def test_other_bytes_under_one_name_are_another_component() -> None:
    other = PackageRef("server", "2.0.0", "sha512-" + "B" * 86 + "==")
    bom = document(pin("one", PACKAGES), pin("two", (other,)))
    check(bom)
    assert len([each for each in bom["components"] if each["name"] == "server"]) == 2


def test_an_integrity_that_cannot_be_read_is_no_hash() -> None:
    odd = (PackageRef("a", "1", "sha512-!"), PackageRef("b", "1", "md5-00"))
    bom = document(pin("one", odd))
    check(bom)
    assert not any("hashes" in each for each in bom["components"])


def test_a_package_url_is_spelled_as_others_spell_it() -> None:
    assert purl(PACKAGES[0]) == "pkg:npm/%40scope/lib@1.0.0-rc.1%2Bx"
    assert purl(PackageRef("mcp-server-time", "1.0", SHA256)) == "pkg:pypi/mcp-server-time@1.0"
