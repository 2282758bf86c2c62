"""Registries on loopback that serve evidence, true or not, as a test tells them to."""

import hashlib
import json
from typing import Any
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from tests.trust.mini_sigstore import MiniSigstore
from tests.trust.registries import NpmRegistry, PythonIndex


class SigningNpmRegistry(NpmRegistry):
    """Signs what is published and serves its keys and attestations, unless told otherwise."""

    def __init__(self, sigstore: MiniSigstore) -> None:
        super().__init__()
        self.sigstore = sigstore
        self.signs = True
        self.attestations: dict[str, Any] = {}
        self.raw: dict[str, tuple[str, bytes]] = {}

    def answer(self, path: str) -> tuple[str, bytes] | None:
        if path in self.raw:
            return self.raw[path]
        if path == "/-/npm/v1/keys" and self.signs:
            return "application/json", b'{"keys": []}'
        if path.startswith("/-/npm/v1/attestations/"):
            found = self.attestations.get(unquote(path.removeprefix("/-/npm/v1/attestations/")))
            return ("application/json", json.dumps(found).encode()) if found is not None else None
        return super().answer(path)

    def integrity(self, name: str, version: str) -> str:
        found: str = self.documents[name]["versions"][version]["dist"]["integrity"]
        return found

    def sign(self, name: str, version: str, *, says: str = "", key: EllipticCurvePrivateKey | None = None) -> None:
        """Sign a published version; `says` is the version the signature speaks of."""
        signature = self.sigstore.registry_signature(name, says or version, self.integrity(name, version), key)
        self.documents[name]["versions"][version]["dist"]["signatures"] = [signature]

    def attest(self, name: str, version: str, **changed: Any) -> None:
        """Attest how a published version was built, and that it was published."""
        integrity = self.integrity(name, version)
        listed = [self.sigstore.provenance(name, version, integrity, **changed),
                  self.sigstore.publication(name, version, integrity)]  # fmt: skip
        self.attestations[f"{name}@{version}"] = {"attestations": listed}
        dist = self.documents[name]["versions"][version]["dist"]
        dist["attestations"] = {"url": f"{self.url}/elsewhere", "provenance": {}}

    def release(self, name: str, version: str, manifest: Any = None, **builder: Any) -> None:
        """Publish, sign and attest."""
        self.publish(name, version, manifest)
        self.sign(name, version)
        self.attest(name, version, **builder)


class AttestingIndex(PythonIndex):
    """Serves provenance beside the files it lists, and who may publish."""

    def __init__(self, sigstore: MiniSigstore) -> None:
        super().__init__()
        self.sigstore = sigstore
        self.speaks = True
        self.provenance: dict[str, Any] = {}
        self.elsewhere = ""
        self.roles: dict[str, list[str]] = {}

    def answer(self, path: str) -> tuple[str, bytes] | None:
        match path.strip("/").split("/"):
            case ["provenance", file] if file in self.provenance:
                return "application/json", json.dumps(self.provenance[file]).encode()
            case ["pypi", name, "json"] if name in self.roles:
                roles = [{"role": "Owner", "user": user} for user in self.roles[name]]
                return "application/json", json.dumps({"ownership": {"roles": roles}}).encode()
            case ["simple", name] if self.speaks and name in self.files:
                found = super().answer(path)
                assert found is not None
                document = json.loads(found[1])
                for entry in document["files"]:
                    file = entry["filename"]
                    named = f"{self.elsewhere or self.url}/provenance/{file}"
                    entry["provenance"] = named if file in self.provenance else None
                    entry["upload-time"] = "2025-01-01T00:00:00.000000Z"
                return found[0], json.dumps(document).encode()
        return super().answer(path)

    def attest(self, name: str, **changed: Any) -> None:
        for file, (data, _) in self.files[name].items():
            self.provenance[file] = self.sigstore.pep740(file, hashlib.sha256(data).hexdigest(), **changed)
