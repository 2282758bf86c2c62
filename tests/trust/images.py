"""A registry of images on loopback that lies as a test tells it to, and images made of whatever a test puts in them."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

from broker.trust.oci_config import this_platform
from tests.trust.registries import LoopbackServer

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
TAR: Final = "application/vnd.oci.image.layer.v1.tar"
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
TOKEN: Final = "a-token-of-the-registry"
SYSTEM_PYTHON: Final = "/usr/bin/python3"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def member(name: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, mode=0o755, type=tarfile.DIRTYPE)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=kind, linkname=target)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


PROGRAM: Final = layer(member("bin/serve", b"#!/bin/sh\n", 0o755), member("etc/os-release", b"NAME=toy\n"))


class ImageRegistry(LoopbackServer):
    """Speaks the distribution protocol.  `instead` answers a path with (status, headers, body)."""

    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, tuple[str, bytes]] = {}
        self.instead: dict[str, tuple[int, Mapping[str, str], bytes]] = {}
        self.stalls: set[str] = set()
        self.wants_token = False
        self.has_referrers = True
        self.login = ""
        self._released = threading.Event()
        registry, asked, headers = self, self.asked, self.headers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urllib.parse.unquote(self.path.partition("?")[0])
                asked.append(path)
                headers.append(dict(self.headers.items()))
                if path in registry.stalls:
                    registry._released.wait(60)
                    return
                status, more, body = registry.respond(path, self.headers.get("Authorization", ""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server.RequestHandlerClass = Handler

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def __exit__(self, *problem: Any) -> None:
        self._released.set()
        super().__exit__(*problem)

    def respond(self, path: str, authorization: str) -> tuple[int, Mapping[str, str], bytes]:
        if path in self.instead:
            return self.instead[path]
        if path == "/token":
            if self.login and authorization != f"Basic {self.login}":
                return 403, {}, b""
            return 200, {}, json.dumps({"token": TOKEN}).encode()
        if self.wants_token and authorization != f"Bearer {TOKEN}":
            challenge = f'Bearer realm="{self.url}/token",service="toy",scope="repository:x:pull"'
            return 401, {"WWW-Authenticate": challenge}, b""
        if path not in self.documents:
            return 404, {}, b"{}"
        kind, body = self.documents[path]
        return 200, {"Content-Type": kind, "Docker-Content-Digest": digest_of(body)}, body

    def blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.documents[f"/v2/{repository}/blobs/{digest}"] = ("application/octet-stream", data)
        return digest

    def manifest(self, repository: str, value: Mapping[str, Any], *tags: str) -> dict[str, Any]:
        """Keep a manifest under its digest and the tags; its descriptor."""
        data = json.dumps(value).encode()
        for wanted in (digest_of(data), *tags):
            self.documents[f"/v2/{repository}/manifests/{wanted}"] = (value["mediaType"], data)
        return {"mediaType": value["mediaType"], "digest": digest_of(data), "size": len(data)}

    def publish(
        self,
        *layers: bytes,
        repository: str = "toys/server",
        tag: str = "1",
        config: Mapping[str, Any] | None = None,
        platform: str = "",
        diff_ids: Sequence[str] | None = None,
        kind: str = f"{TAR}+gzip",
        other: Mapping[str, Any] | None = None,
    ) -> str:
        """An image behind an index; the index's digest.  `other` replaces fields of the manifest."""
        layers = layers or (PROGRAM,)
        packed = [gzip.compress(each, 1, mtime=0) if kind.endswith("gzip") else each for each in layers]
        os_name, _, machine = (platform or this_platform()).partition("/")
        document = {
            "os": os_name,
            "architecture": machine,
            "config": {"Entrypoint": ["serve"], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids or map(digest_of, layers))},
        }
        settings = json.dumps(document).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.blob(repository, settings), "size": len(settings)},
            "layers": [
                {"mediaType": kind, "digest": self.blob(repository, each), "size": len(each)} for each in packed
            ],
            **(other or {}),
        }
        described = self.manifest(repository, manifest) | {"platform": {"os": os_name, "architecture": machine}}
        foreign = {"mediaType": MANIFEST, "digest": digest_of(b""), "size": 1,
                   "platform": {"os": "windows", "architecture": "amd64"}}  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [foreign, described]}
        return str(self.manifest(repository, index, tag)["digest"])

    def attach(self, digest: str, *bundles: Mapping[str, Any], repository: str = "toys/server") -> None:
        """Keep statements beside an image, as builders leave them there."""
        listed = []
        for bundle in bundles:
            data = json.dumps(bundle).encode()
            manifest = {
                "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
                "layers": [{"mediaType": BUNDLE, "digest": self.blob(repository, data), "size": len(data)}],
            }  # fmt: skip
            listed.append(self.manifest(repository, manifest) | {"artifactType": BUNDLE})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        path = f"referrers/{digest}" if self.has_referrers else f"manifests/{digest.replace(':', '-')}"
        self.documents[f"/v2/{repository}/{path}"] = (INDEX, index)


def statement(digest: str, kind: str = "https://slsa.dev/provenance/v1") -> dict[str, Any]:
    subject = {"name": "toys/server", "digest": {"sha256": digest.removeprefix("sha256:")}}
    return {"_type": "https://in-toto.io/Statement/v1", "subject": [subject], "predicateType": kind, "predicate": {}}


def python_layer(script: Path, *modules: str) -> bytes:
    """A root file system of this machine's own Python, no more of it than these modules need, and a script."""
    code = (
        f"import sys, encodings.utf_8, {', '.join(modules)};"
        "print(sys.executable, *(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)))"
    )
    found = subprocess.run(
        [SYSTEM_PYTHON, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    binaries = [name for name in found if not name.endswith(".py")]
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout.split()
    libraries = sorted({word for word in listed if word.startswith("/") and not word.endswith(":")})
    members = {name: member(name.lstrip("/"), Path(name).read_bytes(), 0o755) for name in (*found, *libraries)}
    members[SYSTEM_PYTHON] = member(SYSTEM_PYTHON.lstrip("/"), Path(SYSTEM_PYTHON).read_bytes(), 0o755)
    members["script"] = member("srv/server.py", script.read_bytes())
    return layer(*members.values(), folder("data"), link("srv/latest.py", "/srv/server.py"))
