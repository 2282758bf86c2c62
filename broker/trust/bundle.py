"""MCPB bundles: the archive judged by strict rules, its signature by our own code, every file into the store.

The bytes are read once: what is verified is what is unpacked.
"""

import hashlib
import io
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.pin import EvidenceRecord, Interpreter, LaunchRequest, PinnedArtifact, Publisher
from broker.trust.bundle_manifest import FOLDER, BundleServer, read_bundle_manifest
from broker.trust.bundle_signature import Signed, read_signature
from broker.trust.interpreters import ask_node, located
from broker.trust.members import MAX_TREE, RATIO, SLACK, Unpacking
from broker.trust.pins import LAUNCHER, PACKAGE, PYTHON_FLAGS
from broker.trust.pypi import find_python
from broker.trust.run import Run
from broker.trust.store import Store

MAX_BUNDLE: Final = 256 << 20  # bytes, held in memory once; a bundle with its modules has 5 to 60 MB
MAX_MEMBERS: Final = 60_000
ISSUER: Final = "the key that signed the bundle"
_END: Final = b"PK\5\6"
_END_SIZE: Final = 22
_START: Final = """\
import runpy
import sys

here = __file__.rpartition("/")[0] + "/{folder}"
sys.path[:0] = [here + "/" + each for each in {folders!r}]
sys.argv[0] = here + "/" + {entry!r}
if __name__ == "__main__":
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


async def resolve_bundle(
    request: LaunchRequest,
    *,
    store: Store,
    environment: Mapping[str, str],
    progress: Callable[[str], None],
    run: Run,
    settings: Mapping[str, str],
) -> tuple[PinnedArtifact, Mapping[str, str]]:
    """Verify a bundle and put it into the store; also the variables for its server: the settings and the manifest's.

    Raises:
        TrustError: its signature does not hold, or it is nothing that can be pinned.
    """
    path = Path(request.requirement)
    if request.dev:
        raise TrustError(f"{path} is no project in a folder, so there is nothing to develop", hint="leave --dev out")
    progress(f"verifying {path}")
    with store.staging() as work:
        tree = work / "tree"
        signed, server = await anyio.to_thread.run_sync(partial(_unpacked, path, tree, settings))
        interpreter: Interpreter | None = None
        match server.type:
            case "node":
                interpreter, _ = await ask_node(located("node", environment), environment, work, run)
                entry = f"{FOLDER}/{server.entry}"
            case "python":
                interpreter = await find_python(None, environment, work, run)
                entry = LAUNCHER
            case "binary":
                entry = f"{FOLDER}/{server.entry}"
        flags = PYTHON_FLAGS if server.type == "python" else ()
        progress("hashing every file into the store")
        stored = await anyio.to_thread.run_sync(store.admit, tree)
    sets = (f"its manifest sets: {', '.join(sorted(server.env))}",) if server.env else ()
    artifact = PinnedArtifact(
        kind="bundle",
        name=server.name,
        version=server.version,
        tree=stored.tree,
        entry=entry,
        file_count=stored.file_count,
        byte_count=stored.byte_count,
        program=(*flags, f"{PACKAGE}/{entry}", *server.args),
        interpreter=interpreter,
        findings=(f"the bundle without its signature has sha256 {hashlib.sha256(signed.body).hexdigest()}", *sets),
        evidence=(EvidenceRecord("signature", signed.state, signed.detail),),
        publisher=Publisher(ISSUER, signed.subject, owner_id=signed.key) if signed.key else None,
    )
    return artifact, {**settings, **server.env}


def _unpacked(path: Path, tree: Path, settings: Mapping[str, str]) -> tuple[Signed, BundleServer]:
    try:
        data = read_bounded(path, MAX_BUNDLE)
    except (FileNotFoundError, ConfigError) as cause:
        raise TrustError(f"the bundle {path} cannot be read: {cause}", hint="check the path") from cause
    try:
        signed = read_signature(data)
        if signed.state == "invalid":
            raise TrustError(signed.detail, hint="fetch it again from its author; do not use this file")
        (tree / FOLDER).mkdir(parents=True, mode=0o755)
        manifest = unpack_bundle(signed.body, tree / FOLDER)
        server = read_bundle_manifest(manifest, settings)
        program = tree / FOLDER / server.entry
        if not program.is_file():
            raise TrustError(f"its manifest names {server.entry!a}, which is not in it")
        if server.type == "binary":
            program.chmod(0o755)  # archives made on some systems keep no mode
        if server.type == "python":
            folders = [server.entry.rpartition("/")[0], *server.folders]
            (tree / LAUNCHER).write_text(_START.format(folder=FOLDER, folders=folders, entry=server.entry))
    except TrustError as cause:
        raise TrustError(f"the bundle {path.name} is refused: {cause}", hint=cause.hint) from cause
    return signed, server


def unpack_bundle(body: bytes, root: Path) -> bytes:
    """Unpack a bundle's archive without its signature block; its manifest comes back.

    Raises:
        TrustError: what is wrong with it, naming the member.
    """
    end = len(body) - _END_SIZE
    if not body.startswith(b"PK\3\4") or end < 0 or body[end : end + 4] != _END or body[-2:] != b"\0\0":
        raise TrustError("it is not exactly one zip archive")
    size, offset = (int.from_bytes(body[end + at : end + at + 4], "little") for at in (12, 16))
    if offset + size != end:
        raise TrustError("its list of files is not where its end says")
    unpacking = Unpacking(root)
    manifest: bytes | None = None
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if len(members) > MAX_MEMBERS or total > min(MAX_TREE, max(SLACK, len(body) * RATIO)):
                raise TrustError(f"it unpacks to {len(members)} files and {total} bytes, far more than a server needs")
            for member in members:
                data = _member(archive, member, unpacking)
                manifest = data if member.filename == "manifest.json" else manifest
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as cause:
        raise TrustError("it is damaged") from cause  # RuntimeError: zipfile's word for an encrypted member
    if manifest is None:
        raise TrustError("it has no manifest.json")
    return manifest


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, unpacking: Unpacking) -> bytes:
    name, mode = member.filename, member.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise TrustError(f"it holds a link or special file: {name!a}")
    if name.endswith("/"):
        return b""  # folders come with their files
    path = unpacking.place(name)
    if path != name:
        raise TrustError(f"{name!a} is spelled in two ways")
    unpacking.take(member.file_size, path)
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise TrustError(f"{name!a} is not as long as it says")
    unpacking.write(path, data, executable=bool(mode & 0o111))
    return data
