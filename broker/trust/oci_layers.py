"""One layer of an image: a tar archive, laid upon the tree of the layers below it.

Nothing is written under a name of the archive; contents go to numbered files.  The unpacked bytes must have the digest
that the image's settings give, so that two ways of reading one archive cannot make two images.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from broker.errors import TrustError
from broker.trust.oci_tree import MAX_IMAGE, File, Folder, ImageTree, Link, empty, hide, parts_of

_OCI, _DOCKER = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
PLAIN: Final = frozenset({_OCI, _DOCKER})
GZIP: Final = frozenset({f"{_OCI}+gzip", f"{_DOCKER}.gzip"})
ZSTD: Final = frozenset({f"{_OCI}+zstd", f"{_DOCKER}.zstd"})
RATIO: Final = 200  # of unpacked to packed bytes; layers stay below 60
SLACK: Final = 64 << 20
MAX_HEADER: Final = 1 << 20  # a long name or the like, which is read into memory
_BLOCK: Final = 1 << 20
_HIDES: Final = ".wh."
_HIDES_ALL: Final = ".wh..wh..opq"
_REGULAR: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_LONG: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def lay(tree: ImageTree, layer: Path, media_type: str, diff_id: str, number: int, contents: Path) -> list[str]:
    """Lay an archive upon the tree; answers the names of programs that lost their setuid bit.

    Raises:
        TrustError: what is wrong with it, naming the member.
    """
    size = layer.stat().st_size
    limit = min(MAX_IMAGE, max(SLACK, size * RATIO))
    lost: list[str] = []
    try:
        with _opened(layer, media_type) as packed:
            stream = _Hashed(packed, limit)
            with tarfile.open(fileobj=io.BufferedReader(stream, _BLOCK), mode="r|", errors="strict", encoding="utf-8",
                              tarinfo=_Bounded) as archive:  # fmt: skip
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # a stream never goes back, and there may be very many
                    _add(tree, archive, member, number, contents)
                    if member.mode & 0o6000 and member.type in _REGULAR:
                        lost.append(member.name)
            stream.drain()
    except (tarfile.TarError, EOFError, UnicodeDecodeError, zlib.error, gzip.BadGzipFile) as cause:
        raise TrustError("its archive is damaged") from cause
    if f"sha256:{stream.sha256.hexdigest()}" != diff_id:
        raise TrustError("what is in it is not what the image's settings say")
    return lost


def _opened(layer: Path, media_type: str) -> gzip.GzipFile | io.BufferedReader:
    if media_type in GZIP:
        return gzip.open(layer)
    if media_type in PLAIN:
        return layer.open("rb")
    if media_type in ZSTD:
        raise TrustError("it is packed with zstd, which cannot be unpacked here")
    raise TrustError(f"it is of a kind that cannot be read: {media_type[:100]!a}")


def _add(tree: ImageTree, archive: tarfile.TarFile, member: tarfile.TarInfo, number: int, contents: Path) -> None:
    if member.name.startswith("/"):
        raise TrustError(f"{member.name[:200]!a} is an absolute path")
    parts = parts_of(member.name)
    if not parts:
        return  # the root itself
    if parts[0] == "dev" and len(parts) > 1:
        return  # every sandbox has its own, and older images carry devices there
    size = member.size if member.type in _REGULAR else 0
    tree.count(size, member.name)
    folder, name = tree.folder(parts[:-1], number), parts[-1]
    if name == _HIDES_ALL:
        empty(folder, number)
    elif name.startswith(_HIDES):
        hide(folder, _hidden(name), number)
    elif member.isdir():
        there = folder.children.get(name)
        if isinstance(there, Folder):
            there.layer = number
        else:
            folder.children[name] = Folder(number)
    elif member.issym():
        folder.children[name] = Link(_target(member), number)
    elif member.islnk():
        folder.children[name] = _again(tree, member, number)
    elif member.type in _REGULAR and member.sparse is None:
        content = contents / str(tree.entries)
        _copy(archive, member, content)
        folder.children[name] = File(content, size, bool(member.mode & 0o111), number)
    else:
        raise TrustError(f"{member.name!a} is a device or another special file")


def _hidden(name: str) -> str:
    hidden = name.removeprefix(_HIDES)
    if hidden in {"", ".", ".."} or hidden.startswith(_HIDES):
        raise TrustError(f"{name!a} hides nothing there can be")
    return hidden


def _target(member: tarfile.TarInfo) -> str:
    target = member.linkname
    if not target or len(target) > 4095 or any(character in target for character in "\0\n"):
        raise TrustError(f"the link {member.name!a} leads nowhere")
    return target


def _again(tree: ImageTree, member: tarfile.TarInfo, number: int) -> File | Link:
    """A second name for something: it gets bytes of its own, which count."""
    parts = parts_of(member.linkname.lstrip("/"))
    folder = tree.folder(parts[:-1], number) if parts else tree.root
    match folder.children.get(parts[-1]) if parts else None:
        case File(content=content, size=size, executable=executable):
            tree.count(size, member.name)
            return File(content, size, executable, number)
        case Link(target=target):
            return Link(target, number)
        case _:
            raise TrustError(f"{member.name!a} is another name for {member.linkname[:200]!a}, which is no file in it")


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source, taken = archive.extractfile(member), 0
    with target.open("xb") as file:
        for block in _blocks(source):
            taken += len(block)
            file.write(block)
    if taken != member.size:
        raise TrustError(f"{member.name!a} is shorter than it says")


def _blocks(source: IO[bytes] | None) -> Iterator[bytes]:
    while source is not None and (block := source.read(_BLOCK)):
        yield block


class _Bounded(tarfile.TarInfo):
    """Refuses headers that would be read whole into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG and self.size > MAX_HEADER:
            raise TrustError(f"a header of {self.size} bytes is no header")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]  # tarfile's own, and not declared


class _Hashed(io.RawIOBase):
    """What comes out of a layer, hashed and counted as it is read."""

    def __init__(self, source: gzip.GzipFile | io.BufferedReader, limit: int) -> None:
        self.sha256 = hashlib.sha256()
        self._source = source
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is 3.12
        block = self._source.read(len(buffer))
        self.sha256.update(block)
        self._left -= len(block)
        if self._left < 0:
            raise TrustError("it unpacks to far more bytes than a layer needs")
        buffer[: len(block)] = block
        return len(block)

    def drain(self) -> None:
        """Read what stands behind the archive's end; the digest is over everything."""
        while self.read(_BLOCK):
            pass
