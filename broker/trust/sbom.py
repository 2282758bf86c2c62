"""What pinned servers consist of, as a CycloneDX 1.6 document other tools read.

Every hash is the one that was verified; what was not verified is not listed as if it were.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from broker.pin import PackageRef, Pin
from broker.trust.osv import ecosystems_of

SPECIFICATION: Final = "1.6"


def cyclonedx(pins: Iterable[Pin], *, serial: str, timestamp: str, version: str) -> dict[str, Any]:
    """The document.  `serial` is a UUID, `timestamp` ISO 8601, `version` that of the program that writes it."""
    components: dict[str, dict[str, Any]] = {}
    dependencies = []
    for pin in pins:
        server = f"server:{pin.server}"
        components[server] = _server(pin, server)
        packages = {_reference(package): package for package in pin.artifact.packages}
        for reference, package in packages.items():
            components.setdefault(reference, _package(package, reference))
        dependencies.append({"ref": server, "dependsOn": sorted(packages)})
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp,
            "tools": {"components": [{"type": "application", "name": "bulkhead", "version": version}]},
        },
        "components": [components[reference] for reference in sorted(components)],
        "dependencies": dependencies,
    }


def _server(pin: Pin, reference: str) -> dict[str, Any]:
    artifact = pin.artifact
    facts = {
        "kind": artifact.kind,
        "tree-sha256": artifact.tree,
        "git": f"{artifact.git.url}@{artifact.git.commit}" if artifact.git else "",
        "entry": artifact.entry,
        "interpreter": f"{artifact.interpreter.path} {artifact.interpreter.version}" if artifact.interpreter else "",
        "interpreter-sha256": artifact.interpreter.sha256 if artifact.interpreter else "",
        "pinned": pin.created,
    }
    named = [{"name": f"bulkhead:{name}", "value": value} for name, value in facts.items() if value]
    named += [{"name": f"bulkhead:file:{path}", "value": f"sha256:{sha256}"} for path, sha256 in artifact.files]
    return {
        "type": "application",
        "bom-ref": reference,
        "name": pin.server,
        "version": artifact.version,
        "description": f"MCP server, pinned: {artifact.name} {artifact.version}",
        "properties": named,
    }


def _package(package: PackageRef, reference: str) -> dict[str, Any]:
    scope, _, bare = package.name.rpartition("/")
    component: dict[str, Any] = {"type": "library", "bom-ref": reference}
    if scope:
        component["group"] = scope
    component |= {"name": bare, "version": package.version, "purl": purl(package)}
    found = _hash(package.integrity)
    return component | ({"hashes": [found]} if found else {})


def purl(package: PackageRef) -> str:
    """The package URL: its registry, its name and its version."""
    (ecosystem, *others) = ecosystems_of(package.integrity)
    kind = "generic" if others else ecosystem.lower()
    name = "/".join(quote(part, safe="") for part in package.name.split("/"))
    return f"pkg:{kind}/{name}@{quote(package.version, safe='')}"


def _reference(package: PackageRef) -> str:
    """Two packages of one name and version but of other bytes are two components."""
    return f"{purl(package)}#{package.integrity}"


def _hash(integrity: str) -> dict[str, str] | None:
    if integrity.startswith("sha256:"):
        return {"alg": "SHA-256", "content": integrity.removeprefix("sha256:")}
    if not integrity.startswith("sha512-"):
        return None
    try:
        return {"alg": "SHA-512", "content": base64.b64decode(integrity.removeprefix("sha512-"), validate=True).hex()}
    except binascii.Error:
        return None
