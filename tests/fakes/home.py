"""A throw-away Bulkhead home for one test.

It is marked as such before anything runs in it, so that no person is needed; leaving the `with` block stops its daemon
and removes it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.config import HOME_VARIABLE, Paths, make_folders, paths_under

PROJECT: Final = Path(__file__).resolve().parents[2]
WITHIN: Final = 120.0  # seconds; `add` of a package from a registry is the longest single command
CALL_MAIN: Final = "import sys; from broker.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Home:
    """Where it is, and the environment that selects it."""

    paths: Paths
    environment: Mapping[str, str]

    def argv(self, *arguments: str | Path) -> list[str]:
        """`bulkhead ARGUMENTS`, run from this source tree by this interpreter."""
        return [sys.executable, "-c", CALL_MAIN, *map(str, arguments)]

    def bulkhead(
        self, *arguments: str | Path, within: float = WITHIN, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end and return what it printed and its exit code."""
        return subprocess.run(
            self.argv(*arguments),
            env=dict(self.environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )


@contextmanager
def throwaway_home(*, marked: bool = True, **variables: str) -> Iterator[Home]:
    """A fresh home.  `marked=False` leaves the mark out: a home in which a person is needed.

    The folder's path is short, because a socket's path must fit into 100 bytes.
    """
    folder = Path(tempfile.mkdtemp(prefix="bh-")).resolve()
    paths = paths_under(folder)
    home = Home(paths, environment_of(paths, variables))
    try:
        make_folders(paths)
        if marked:
            paths.throwaway_mark.write_bytes(b"made by a test\n")
        yield home
    finally:
        if paths.control_socket.exists():
            home.bulkhead("down", within=30.0)
        _remove(folder)


def environment_of(paths: Paths, variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with that home and this source tree selected."""
    search = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": search, HOME_VARIABLE: str(paths.home), **variables}


def _remove(folder: Path) -> None:
    """Objects of the store are read-only on purpose, their folders too."""
    for parent, children, _ in os.walk(folder):
        for child in children:
            path = Path(parent, child)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
