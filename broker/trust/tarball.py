"""npm tarballs, unpacked as npm would lay them out, and nothing else than plain files.

Bytes that two readers could see differently (a second gzip member, data after the end) are refused.
"""

import io
import tarfile
import zlib

from broker.errors import TrustError
from broker.trust.members import MAX_TREE, RATIO, SLACK, Unpacking

_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_BLOCK = 64 * 1024


def unpack_tarball(data: bytes, inside: str, unpacking: Unpacking) -> None:
    """Unpack one package's tarball into the folder `inside` of the tree; its own first folder is dropped.

    Raises:
        TrustError: what is wrong with it, naming the member.
    """
    stream = io.BufferedReader(_Gunzip(data, min(MAX_TREE, max(SLACK, len(data) * RATIO))), _BLOCK)
    try:
        with tarfile.open(fileobj=stream, mode="r|", errors="strict", encoding="utf-8") as archive:
            for member in archive:
                _unpack(archive, member, inside, unpacking)
    except (tarfile.TarError, EOFError, UnicodeDecodeError, zlib.error) as cause:
        raise TrustError("its tarball is damaged") from cause
    while block := stream.read(_BLOCK):
        if block.strip(b"\0"):
            raise TrustError("its tarball goes on after its end")


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, inside: str, unpacking: Unpacking) -> None:
    name = member.name
    if member.isdir():
        return  # folders come with their files; an empty one means nothing to npm
    if member.issym() or member.islnk():
        raise TrustError(f"its tarball holds a link: {name!a}")
    if member.type not in _PLAIN or member.sparse is not None:
        raise TrustError(f"its tarball holds a special file: {name!a}")
    if name.startswith("/"):
        raise TrustError(f"{name!a} is an absolute path")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise TrustError(f"{name!a} leads out of its folder")
    if len(parts) < 2:
        raise TrustError(f"{name!a} lies outside the package's folder")
    path = unpacking.place(f"{inside}/{'/'.join(parts[1:])}")
    unpacking.take(member.size, name)
    content = archive.extractfile(member)
    data = content.read() if content else b""
    if len(data) != member.size:
        raise TrustError(f"{name!a} is shorter than it says")
    unpacking.write(path, data, executable=bool(member.mode & 0o111))


class _Gunzip(io.RawIOBase):
    """One gzip member, with a limit that holds while it unpacks."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._inflate = zlib.decompressobj(31)
        self._data = memoryview(data)
        self._at = 0
        self._ready = b""
        self._total = 0
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is 3.12
        while not self._ready:
            if self._inflate.eof:
                rest = self._inflate.unused_data + bytes(self._data[self._at :])
                if rest.strip(b"\0"):
                    raise TrustError("its tarball holds a second archive after the first")
                return 0
            self._inflate_some()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _inflate_some(self) -> None:
        piece: bytes | memoryview = self._inflate.unconsumed_tail
        if not piece:
            piece = self._data[self._at : self._at + _BLOCK]
            self._at += len(piece)
        if not piece:
            raise TrustError("its tarball ends too early")
        self._ready = self._inflate.decompress(piece, 4 * _BLOCK)
        self._total += len(self._ready)
        if self._total > self._limit:
            raise TrustError(f"its tarball unpacks to more than {self._limit} bytes, far more than a package needs")
