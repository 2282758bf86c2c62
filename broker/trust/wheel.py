"""Python wheels, unpacked without an installer: every file must be in RECORD with its hash, and nothing else may be."""

import base64
import csv
import hashlib
import io
import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import TrustError
from broker.trust.launchers.uvx import normal
from broker.trust.members import MAX_FILE, MAX_TREE, RATIO, SLACK, Unpacking, parts_of

SITE = "site"
MAX_MEMBERS = 60_000
_STRONG: Final = frozenset({"sha256", "sha384", "sha512"})
_UNSIGNED: Final = ("RECORD", "RECORD.jws", "RECORD.p7s")  # a file cannot hold its own hash
_SCHEMES: Final = {"purelib": SITE, "platlib": SITE, "scripts": "bin", "headers": "include", "data": "data"}
_NAME_FIELD = re.compile(r"^Name:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Wheel:
    """What an unpacked wheel says of itself, as far as a launch needs it."""

    name: str
    entry_points: str
    hooks: tuple[str, ...]
    """`.pth` files: they would run at every start of Python; here they do not."""


def unpack_wheel(path: Path, unpacking: Unpacking) -> Wheel:
    """Unpack one wheel: its library into `site`, scripts, headers and data beside it.

    Raises:
        TrustError: what is wrong with it, naming the member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Unpacker(archive, path.stat().st_size, unpacking).unpack()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError,
            csv.Error) as cause:  # fmt: skip  # RuntimeError: zipfile's word for an encrypted member
        raise TrustError(f"{path.name} is damaged") from cause


class _Unpacker:
    def __init__(self, archive: zipfile.ZipFile, packed: int, unpacking: Unpacking) -> None:
        self._archive = archive
        self._members = archive.infolist()
        self._unpacking = unpacking
        names = [member.filename for member in self._members]
        if len(names) > MAX_MEMBERS:
            raise TrustError(f"it holds more than {MAX_MEMBERS} files")
        if len(set(names)) != len(names):
            raise TrustError("it holds two files of one name")
        total = sum(member.file_size for member in self._members)
        if total > min(MAX_TREE, max(SLACK, packed * RATIO)):
            raise TrustError(f"it unpacks to {total} bytes, far more than a package needs")
        records = [name for name in names if name.count("/") == 1 and name.endswith(".dist-info/RECORD")]
        if len(records) != 1:
            raise TrustError("it needs exactly one RECORD")
        self._info = records[0].rpartition("/")[0]
        self._data = self._info.removesuffix(".dist-info") + ".data"
        self._record = {
            row[0]: row[1] if len(row) > 1 else "" for row in csv.reader(io.StringIO(self._text("RECORD"))) if row
        }

    def unpack(self) -> Wheel:
        hooks = []
        for member in self._members:
            name = member.filename
            if name.endswith("/"):
                continue  # folders come with their files
            data = self._read(member)
            self._match(name, data)
            path = self._unpacking.place(self._destination(name))
            self._unpacking.write(path, data, executable=bool(member.external_attr >> 16 & 0o111))
            if path.startswith(f"{SITE}/") and path.count("/") == 1 and path.endswith(".pth"):
                hooks.append(path.removeprefix(f"{SITE}/"))
        if left := sorted(self._record):
            raise TrustError(f"its RECORD names a missing file: {left[0]!a}")
        entry_points = f"{self._info}/entry_points.txt"
        known = {member.filename for member in self._members}
        return Wheel(
            name=self._name(),
            entry_points=self._text("entry_points.txt") if entry_points in known else "",
            hooks=tuple(hooks),
        )

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            raise TrustError(f"it holds a link or special file: {name!a}")
        self._unpacking.take(member.file_size, name)
        with self._archive.open(member) as file:
            data = file.read(member.file_size + 1)
        if len(data) != member.file_size:
            raise TrustError(f"{name!a} is not as long as it says")
        return data

    def _match(self, name: str, data: bytes) -> None:
        wanted = self._record.pop(name, None)
        if name in {f"{self._info}/{each}" for each in _UNSIGNED}:
            return
        if not wanted:
            raise TrustError(f"{name!a} is not in its RECORD")
        algorithm, _, value = wanted.partition("=")
        if algorithm not in _STRONG:
            raise TrustError(f"{name!a} has only a weak hash in its RECORD")
        found = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
        if found != value.rstrip("="):
            raise TrustError(f"{name!a} differs from its RECORD")

    def _destination(self, name: str) -> str:
        if "/".join(parts_of(name)) != name:
            raise TrustError(f"{name!a} is spelled in two ways")
        top, _, rest = name.partition("/")
        if not top.endswith(".data") or not rest:
            return f"{SITE}/{name}"
        scheme, _, rest = rest.partition("/")
        if top != self._data or scheme not in _SCHEMES or not rest:
            raise TrustError(f"{name!a} has no place in a wheel")
        return f"{_SCHEMES[scheme]}/{rest}"

    def _name(self) -> str:
        match = _NAME_FIELD.search(self._text("METADATA"))
        if match is None:
            raise TrustError("its METADATA gives no name")
        return normal(match[1])

    def _text(self, file: str) -> str:
        try:
            member = self._archive.getinfo(f"{self._info}/{file}")
        except KeyError as cause:
            raise TrustError(f"it has no {file}") from cause
        if member.file_size > MAX_FILE // 16:
            raise TrustError(f"its {file} is too large")
        with self._archive.open(member) as content:
            return content.read(member.file_size + 1).decode("utf-8")
