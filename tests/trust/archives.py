"""Small archives for tests, right or wrong in exactly one way."""

import base64
import csv
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

Files = Mapping[str, str | bytes]
Members = list[tuple[tarfile.TarInfo, bytes]]


def as_bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def member(
    name: str, content: str | bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(as_bytes(content)), 0o644
    return info, as_bytes(content)


def tarball(files: Files, more: Members | None = None, *, top: str = "package") -> bytes:
    """A gzipped tar as npm makes them, then `more` members as they are."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in [*(member(f"{top}/{name}", content) for name, content in files.items()), *(more or [])]:
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), mtime=0)


def package_files(
    name: str, version: str, manifest: Mapping[str, Any] | None = None, files: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The files of an npm package that has one program, `index.js`."""
    about = {"name": name, "version": version, "bin": {name.rpartition("/")[2]: "index.js"}, **(manifest or {})}
    return {
        "package.json": json.dumps(about),
        "index.js": "#!/usr/bin/env node\nconsole.log('hello')\n",
        **(files or {}),
    }


def wheel(
    name: str,
    version: str,
    files: Files,
    *,
    scripts: Mapping[str, str] | None = None,
    metadata_name: str = "",
    change_record: Callable[[dict[str, str]], None] = lambda record: None,
    change_archive: Callable[[zipfile.ZipFile], None] = lambda archive: None,
) -> bytes:
    """A wheel whose RECORD is right, unless the test changes it."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    contents = {path: as_bytes(content) for path, content in files.items()}
    contents[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {metadata_name or name}\nVersion: {version}\n".encode()
    )
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        lines = "".join(f"{script} = {target}\n" for script, target in scripts.items())
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}".encode()
    record = {path: f"sha256={_digest(content)}" for path, content in contents.items()}
    change_record(record)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[path, digest, ""] for path, digest in record.items()])
    writer.writerow([f"{info}/RECORD", "", ""])
    contents[f"{info}/RECORD"] = text.getvalue().encode()
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
        change_archive(archive)
    return raw.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
