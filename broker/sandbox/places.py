"""Whether a place of the user can be shown to a server at all, looked at before a sandbox is built.

Each problem is one sentence with what to do.  A folder of a network is refused: it may hang, and others write there.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from broker.errors import SandboxError
from broker.model import Grants, ServerName

NETWORKS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "davfs", "fuse.sshfs"),
        *("fuse.rclone", "fuse.glusterfs", "fuse.s3fs", "fuse.gvfsd-fuse", "fuse.davfs2", "fuse.gcsfuse", "ncpfs"),
    }
)
ODD: Final = (
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
MAX_MOUNTS: Final = 4 << 20  # bytes of the kernel's list


def check_places(server: ServerName, grants: Grants, mounts: Sequence[tuple[Path, str]] | None = None) -> None:
    """Look at every folder and file of `grants`; `mounts` are where file systems begin, and their types.

    The network is looked for first, by name alone: a server there that does not answer would keep us waiting.

    Raises:
        SandboxError: one of them cannot be granted, or not for this.
    """
    known = mounted() if mounts is None else mounts
    for path, writable in (*((p, False) for p in grants.read), *((p, True) for p in grants.write)):
        what = f"{path} cannot be shown to {server}"
        if (kind := file_system(path, known)) in NETWORKS:
            raise SandboxError(f"{what}: it lies on the network ({kind})", hint="grant a folder of this machine")
        try:
            status = os.lstat(path)
        except FileNotFoundError as cause:
            raise SandboxError(f"{what}: it does not exist", hint="restore it, or change the grant") from cause
        except OSError as cause:
            raise SandboxError(f"{what}: {cause.strerror}", hint="look at the permissions above it") from cause
        for applies, name in ODD:
            if applies(status.st_mode):
                raise SandboxError(f"{what}: it is {name}", hint="grant files and folders; hosts are granted by name")
        wanted = os.R_OK | (os.W_OK if writable else 0) | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
        if not os.access(path, wanted):
            missing = "written" if writable and os.access(path, wanted & ~os.W_OK) else "read"
            raise SandboxError(f"{what}: it cannot be {missing} by you", hint=f"look at its permissions: ls -ld {path}")


def file_system(path: Path, mounts: Iterable[tuple[Path, str]]) -> str:
    """The type of the file system that `path` lies on."""
    holding = [(len(point.parts), kind) for point, kind in mounts if point == path or point in path.parents]
    deepest = max((depth for depth, _ in holding), default=0)
    return next((kind for depth, kind in reversed(holding) if depth == deepest), "")


def mounted() -> list[tuple[Path, str]]:
    """Where file systems begin here, and their types; a later one covers an earlier one at the same place."""
    with open("/proc/self/mounts", "rb") as file:
        lines = file.read(MAX_MOUNTS).splitlines()
    found = (line.split() for line in lines)
    return [(Path(_plain(words[1])), words[2].decode("ascii", "replace")) for words in found if len(words) > 2]


def _plain(text: bytes) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return os.fsdecode(text.decode("latin-1").encode("latin-1").decode("unicode_escape").encode("latin-1"))
