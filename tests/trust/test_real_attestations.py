"""What real publishers really signed, verified offline with the roots that come with this program.

The files are those a Python package ships for its own tests, fetched from the index the machine is configured for.
"""

import hashlib
import json
import socket
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from broker.errors import TrustError
from broker.trust.evidence import of_npm
from broker.trust.interpreters import find_node
from broker.trust.npm_attestations import Release
from broker.trust.npm_lock import Locked
from broker.trust.npm_settings import npm_settings
from broker.trust.pep740 import provenance
from broker.trust.run import run_command
from broker.trust.sigstore_bundles import Bundles
from broker.trust.trust_root import packaged
from tests.fakes.launchers import node_environment
from tests.trust.attack_table import catches
from tests.trust.mini_sigstore import integrity_of

pytestmark = pytest.mark.registry

SOURCE: Final = "pypi-attestations==0.0.30"
FILES: Final = {
    "pypi_attestations-0.0.19.tar.gz": ("https://token.actions.githubusercontent.com", "772247423", "2314423"),
    "gcb_attestation_test-0.0.0.tar.gz": ("https://accounts.google.com", "", ""),
    "circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl": ("https://oidc.circleci.com", "", ""),
}
NPM: Final = Release(
    "@modelcontextprotocol/server-filesystem",
    "2026.7.10",
    "sha512-Mmjg4anFBD5OzbPnGJOA0jPPN8645ERhQk38HQLpSenx1ox9bfdPkmAzUnNjeQtqQGFLtKe13J20RtLBmUKMZA==",
)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", "."]
    subprocess.run([*download, SOURCE], cwd=folder, check=True, timeout=300)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (found,) = folder.glob("*/test/assets")
    return found


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.usefixtures("offline")
@catches("D17")
def test_real_provenance_of_a_python_file_holds_for_its_bytes_and_for_no_others(file: str, assets: Path) -> None:
    bundles = Bundles(packaged().sigstore)
    sha256 = hashlib.sha256((assets / file).read_bytes()).hexdigest()
    document = json.loads((assets / f"{file}.provenance").read_text())
    record, publisher = provenance(bundles, file, sha256, document)
    assert record.state == "verified", record.detail
    assert publisher is not None
    assert (publisher.issuer, publisher.repository_id, publisher.owner_id) == FILES[file]
    assert publisher.signed_at > 1_700_000_000 and publisher.log_index > 0
    assert provenance(bundles, file, "0" * 64, document)[0].state == "invalid"
    assert provenance(bundles, f"other-{file}", sha256, document)[0].state == "invalid"
    claim = document["attestation_bundles"][0]["publisher"]
    for key in ("repository", "email", "project_id"):
        if key in claim:
            claim[key] = f"x{claim[key]}"
    assert provenance(bundles, file, sha256, document)[0].state == "invalid"


@catches("D17")
async def test_a_real_npm_package_is_verified_or_its_registry_cannot_say(tmp_path: Path) -> None:
    """A mirror may leave out what the registry signed; nobody may change it."""
    environment = node_environment()
    node = await find_node(environment, tmp_path, run_command)
    settings = await npm_settings(node, environment, tmp_path, run_command)
    package = Locked(f"node_modules/{NPM.name}", NPM.name, NPM.version, NPM.integrity)
    found = await of_npm([package], NPM.name, settings, environment)
    states = {record.kind: record.state for record in found.records}
    assert set(states.values()) <= {"verified", "unavailable"}
    if states["provenance"] == "verified":
        assert found.publisher is not None
        assert (found.publisher.repository_id, found.publisher.owner_id) == ("890668799", "182288589")
        with pytest.raises(TrustError, match="speaks of other bytes"):
            await of_npm([replace(package, integrity=integrity_of(b""))], NPM.name, settings, environment)
