"""Advisories made for tests, in OSV's format, and closures they may mean."""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

from broker.pin import PackageRef, PinnedArtifact

SHA512 = "sha512-" + "A" * 86 + "=="
SHA256 = "sha256:" + "0" * 64


def advisory(
    id: str, name: str, *versions: str, ecosystem: str = "npm", modified: str = "2026-01-01T00:00:00Z", **more: Any
) -> dict[str, Any]:
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "versions": list(versions)}
    return {"id": id, "modified": modified, "summary": f"about {name}", "affected": [affected], **more}


def archive(*records: dict[str, Any], raw: Sequence[bytes] = ()) -> bytes:
    """A ZIP as OSV publishes one for each ecosystem."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for record in records:
            opened.writestr(f"{record['id']}.json", json.dumps(record))
        for number, data in enumerate(raw):
            opened.writestr(f"raw-{number}.json", data)
    return made.getvalue()


def closure(*packages: tuple[str, str], kind: str = "npm") -> PinnedArtifact:
    integrity = SHA512 if kind == "npm" else SHA256
    refs = tuple(PackageRef(name, version, integrity) for name, version in packages)
    return PinnedArtifact("npm" if kind == "npm" else "pypi", *packages[0], packages=refs)
