"""AI applications, as far as Bulkhead can tell them: programs of their own that launch a shim, or a shell line."""

import os
import select
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.e2e.running import Running
from tests.fakes.raw_client import RawClient

WITHIN: Final = 30.0
SHELL: Final = Path("/bin/sh").resolve()
ON_A_TERMINAL: Final = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


class Application:
    """A program under a name and a path of its own: a copy of the shell, which waits for what it launched."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        shutil.copyfile(SHELL, self.path)
        self.path.chmod(stat.S_IRWXU)

    def connect(self, home: Running, server: str, client: str) -> RawClient:
        """A conversation on a shim that this application launched and waits for."""
        return self.run('"$@"; exit $?', *home.shim(server, client), environment=home.environment)

    def run(self, line: str, *arguments: str | Path, environment: Mapping[str, str]) -> RawClient:
        """A conversation with whatever `line` starts; `arguments` are its `$1` and so on."""
        return RawClient([self.path, "-c", line, self.path.name, *arguments], env=environment)


def on_a_terminal(argv: Sequence[str]) -> list[str]:
    """`argv` run on a terminal of its own, in a session of its own, with its exit code."""
    return [sys.executable, "-c", ON_A_TERMINAL, *argv]


class NamedPipe:
    """Lines to and from a shell line.  Held open at both ends, so that nobody ever waits for the other to open it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def say(self, line: str) -> None:
        os.write(self._descriptor, line.encode() + b"\n")

    def hear(self, until: str, *, within: float = WITHIN) -> str:
        """Everything that was said until `until` was."""
        deadline = time.monotonic() + within
        while until.encode() not in self._read:
            ready = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
            assert ready, f"{until!r} was not said within {within} s, but {self._read!r}"
            self._read += os.read(self._descriptor, 65536)
        return self._read.decode()
