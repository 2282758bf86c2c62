"""An npm registry and a Python index on loopback, for the real npm, uv and pip to talk to.

They serve what a test published, true or not, and remember what they were asked for.
"""

import base64
import hashlib
import json
import os
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.trust.archives import package_files, tarball


class LoopbackServer:
    """GET requests answered from a table of paths; some lead elsewhere, and some are answered only at the end."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.leads: dict[str, str] = {}
        self.stalls: set[str] = set()
        self._ended = threading.Event()
        self.headers: list[Mapping[str, str]] = []
        answer = self.answer
        asked, headers, leads, stalls, ended = self.asked, self.headers, self.leads, self.stalls, self._ended

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urllib.parse.unquote(self.path.partition("?")[0])
                asked.append(path)
                headers.append(dict(self.headers.items()))
                if path in stalls:
                    ended.wait(120)
                    self.close_connection = True
                    return
                kind, body = answer(path) or ("", b"")
                self.send_response(302 if path in leads else 200 if kind else 404)
                if path in leads:
                    self.send_header("Location", leads[path])
                    body = b""
                self.send_header("Content-Type", kind or "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def answer(self, path: str) -> tuple[str, bytes] | None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class NpmRegistry(LoopbackServer):
    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, dict[str, Any]] = {}
        self.tarballs: dict[str, bytes] = {}

    def answer(self, path: str) -> tuple[str, bytes] | None:
        if path in self.tarballs:
            return "application/octet-stream", self.tarballs[path]
        if path[1:] in self.documents:
            return "application/json", json.dumps(self.documents[path[1:]]).encode()
        return None

    def publish(
        self,
        name: str,
        version: str = "1.0.0",
        manifest: Mapping[str, Any] | None = None,
        *,
        data: bytes | None = None,
        announced: bytes | None = None,
        files: Mapping[str, str] | None = None,
    ) -> bytes:
        """Publish a package.  `data` replaces its tarball, `announced` the bytes its integrity speaks of."""
        contents = package_files(name, version, manifest, files)
        data = tarball(contents) if data is None else data
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.tarballs[path] = data
        digest = base64.b64encode(hashlib.sha512(data if announced is None else announced).digest()).decode()
        document = self.documents.setdefault(name, {"name": name, "dist-tags": {}, "versions": {}})
        document["dist-tags"]["latest"] = version
        document["versions"][version] = {
            **json.loads(contents["package.json"]),
            "dist": {"tarball": self.url + path, "integrity": f"sha512-{digest}"},
        }
        return data

    def environment(self, home: Path, more: str = "") -> dict[str, str]:
        """A user whose npm configuration names this registry."""
        home.mkdir(exist_ok=True)
        (home / ".npmrc").write_text(f"registry={self.url}/\n{more}")
        return {"PATH": os.environ["PATH"], "HOME": str(home)}


class PythonIndex(LoopbackServer):
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, dict[str, tuple[bytes, str]]] = {}

    def answer(self, path: str) -> tuple[str, bytes] | None:
        parts = path.strip("/").split("/")
        match parts:
            case ["simple", name] if name in self.files:
                listed = [
                    {"filename": file, "url": f"{self.url}/files/{name}/{file}", "hashes": {"sha256": sha256}}
                    for file, (_, sha256) in self.files[name].items()
                ]
                body = {"meta": {"api-version": "1.0"}, "name": name, "files": listed}
                return "application/vnd.pypi.simple.v1+json", json.dumps(body).encode()
            case ["files", name, file] if file in self.files.get(name, {}):
                return "application/octet-stream", self.files[name][file][0]
        return None

    def publish(self, name: str, version: str, data: bytes, *, file: str = "") -> None:
        file = file or f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files.setdefault(name, {})[file] = (data, hashlib.sha256(data).hexdigest())

    def swap(self, name: str, data: bytes) -> None:
        """Serve other bytes under the hash that was announced."""
        for file, (_, sha256) in self.files[name].items():
            self.files[name][file] = (data, sha256)

    def environment(self, home: Path) -> dict[str, str]:
        """A user whose uv configuration names this index."""
        folder = home / ".config/uv"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "uv.toml").write_text(f'[[index]]\nurl = "{self.url}/simple"\ndefault = true\n')
        return {"PATH": os.environ["PATH"], "HOME": str(home)}
