"""PEP 740: what an index says about who uploaded a file, as far as a signature bears it out.

The index's own word for the publisher is unsigned; it must equal what the certificate says.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import TrustError
from broker.pin import EvidenceRecord, Publisher
from broker.trust.certificates import CIRCLECI, GITHUB, GITLAB, GOOGLE
from broker.trust.sigstore_bundles import PAYLOAD_TYPE, Attested, Bundles, about

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_UPLOAD: Final = "/attestations/publish/v1"  # on whatever host the documentation of the index lives
_STATED: Final = frozenset({"https://slsa.dev/provenance/v1"})
_CIRCLECI_PROJECTS: Final = "https://circleci.com/api/v2/projects"
MAX_ATTESTATIONS = 32


def provenance(bundles: Bundles, file: str, sha256: str, document: object) -> tuple[EvidenceRecord, Publisher | None]:
    """Verify an index's provenance object for one file; every attestation in it must hold."""
    try:
        found = [
            _attestation(bundles, file, sha256, attestation, claim) for attestation, claim in _attestations(document)
        ]
    except TrustError as cause:
        return EvidenceRecord("provenance", "invalid", str(cause)), None
    uploads = [attested.publisher for attested in found if _is_upload(attested.statement)]
    if not uploads:
        return EvidenceRecord("provenance", "missing", "none of its attestations is about the upload"), None
    if len({(each.issuer, each.owner_id, each.repository_id) for each in uploads}) > 1:
        return EvidenceRecord("provenance", "invalid", "its attestations name several publishers"), None
    return EvidenceRecord("provenance", "verified", f"log entry {uploads[0].log_index}"), uploads[0]


def _attestations(document: object) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every attestation with the publisher the index claims for it."""
    try:
        if not isinstance(document, dict) or document["version"] != 1:
            raise ValueError("another version")
        found = [
            (attestation, group["publisher"])
            for group in document["attestation_bundles"]
            for attestation in group["attestations"]
        ]
    except (KeyError, TypeError, ValueError) as cause:
        raise TrustError("the index's provenance is not shaped like one") from cause
    if not 0 < len(found) <= MAX_ATTESTATIONS:
        raise TrustError(f"the index's provenance holds {len(found)} attestations")
    return found


def _attestation(
    bundles: Bundles, file: str, sha256: str, attestation: Mapping[str, Any], claim: Mapping[str, Any]
) -> Attested:
    try:
        if attestation["version"] != 1:
            raise ValueError("another version")
        material, envelope = attestation["verification_material"], attestation["envelope"]
        (entry,) = material["transparency_entries"]
        bundle = {
            "mediaType": _BUNDLE,
            "verificationMaterial": {"certificate": {"rawBytes": material["certificate"]}, "tlogEntries": [entry]},
            "dsseEnvelope": {
                "payload": envelope["statement"],
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": envelope["signature"]}],
            },
        }
        json.dumps(bundle)
    except (KeyError, TypeError, ValueError) as cause:
        raise TrustError("an attestation is not shaped like one") from cause
    attested = bundles.verify(bundle)
    about(attested.statement, file, "sha256", sha256)
    if not _agrees(claim, attested.publisher):
        raise TrustError("the index names another publisher than the certificate")
    return attested


def _is_upload(said: Mapping[str, Any]) -> bool:
    return str(said.get("predicateType")).endswith(_UPLOAD) and said.get("predicateType") not in _STATED


def _agrees(claim: Mapping[str, Any], publisher: Publisher) -> bool:
    if not isinstance(claim, dict):
        return False
    repository, workflow = claim.get("repository"), claim.get("workflow")
    match claim.get("kind"):
        case "GitHub":
            return (publisher.issuer, publisher.repository, publisher.workflow) == (
                GITHUB, f"https://github.com/{repository}", f".github/workflows/{workflow}",
            )  # fmt: skip
        case "GitLab":
            return (publisher.issuer, publisher.repository, publisher.workflow) == (
                GITLAB, f"https://gitlab.com/{repository}", claim.get("workflow_filepath"),
            )  # fmt: skip
        case "Google":
            return (publisher.issuer, publisher.subject) == (GOOGLE, claim.get("email"))
        case "CircleCI":
            built = f"{_CIRCLECI_PROJECTS}/{claim.get('project_id')}/pipeline-definitions/"
            built += str(claim.get("pipeline_definition_id"))
            origin = claim.get("vcs_origin") or publisher.repository
            return (publisher.issuer, publisher.workflow, publisher.repository) == (CIRCLECI, built, origin)
        case _:
            return False
