"""A git repository as a source of signed documents: its newest commit, read like a server's files.

Nothing of it runs and nothing of it is believed: the documents are signed, git only carries them.
"""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from broker.errors import TrustError

MARK: Final = "git+"
BASE: Final = "tree:///"
BLOCK: Final = 64 * 1024
Fetches: TypeAlias = FetcherInterface
_SETTINGS: Final = (
    "protocol.allow=never", "protocol.https.allow=always", "core.symlinks=false", "core.hooksPath=/dev/null",
    "core.fsmonitor=false", "http.followRedirects=false",
)  # fmt: skip


class Tree(FetcherInterface):
    """The files under `folder`, by the addresses below `BASE`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = unquote(url.removeprefix(BASE)).split("/")
        if any(part in ("", ".", "..", ".git") for part in parts):
            raise DownloadError("this is no file of the repository")
        path = self._folder.joinpath(*parts)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as cause:
            raise DownloadHTTPError("the repository does not have it", 404) from cause
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DownloadError("this is no file of the repository")
            while block := file.read(BLOCK):
                yield block


def read_tree(source: str, folder: Path, seconds: float) -> tuple[str, Tree]:
    """The newest commit of `source`, put into `folder`, and how its files are named.

    Raises:
        TrustError: git does not have it in time.
    """
    url = source.removeprefix(MARK)
    settings = (*_SETTINGS, *(("protocol.file.allow=always",) if url.startswith("file:") else ()))
    argv = ["git", *(word for each in settings for word in ("-c", each)),
            "clone", "--quiet", "--depth=1", "--no-tags", "--single-branch", "--", url, str(folder)]  # fmt: skip
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds,
                              check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise TrustError(f"git cannot read the repository: {type(cause).__name__}") from cause
    if done.returncode != 0:
        raise TrustError(f"git cannot read the repository: it ended with {done.returncode}")
    return BASE, Tree(folder)
