"""A throw-away home whose daemon runs, and the ways into it: the command line, the desk, the shim."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from broker.api import schema
from broker.cli.environment import caller_environment
from broker.config import Paths
from broker.home import shim_command
from tests.e2e.desk import Desk
from tests.e2e.processes import Watched, daemons
from tests.fakes import script
from tests.fakes.home import Home, throwaway_home
from tests.fakes.raw_client import RawClient

PYTHON_INSIDE: Final = "/usr/bin/python3"  # what the toys run on: every sandbox sees /usr
STOP_WITHIN: Final = 25.0  # the daemon's own bound is 15
UNSET: Final = ("DBUS_SESSION_BUS_ADDRESS", "XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR")  # empty counts as not set
REGISTRIES: Final = (".npmrc", ".config/pip/pip.conf", ".config/uv/uv.toml")


class Running:
    """One home, its user's own folder, and the daemon in it."""

    def __init__(self, home: Home, user: Path) -> None:
        self.home = home
        self.user = user
        self.desk = Desk(home.paths.control_socket)
        self._names = count(1)

    @property
    def paths(self) -> Paths:
        return self.home.paths

    @property
    def environment(self) -> Mapping[str, str]:
        return self.home.environment

    def bulkhead(
        self, *arguments: str | Path, within: float = 60.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return self.home.bulkhead(*arguments, within=within, stdin=stdin)

    def up(self, *options: str) -> int:
        """Start the daemon; its pid."""
        done = self.bulkhead("up", *options)
        assert done.returncode == 0, done.stderr
        return self.desk.status().pid

    def add(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        read: Sequence[Path] = (),
        write: Sequence[Path] = (),
        connect: Sequence[str] = (),
    ) -> schema.ServerView:
        """Register and pin a server, with a yes to what is shown; `connect` names clients that may use it at once."""
        environment = caller_environment(self.environment)
        prepare = schema.Prepare(name=name, argv=[str(part) for part in argv], environment=environment)
        proposal = self.desk.ask(schema.PREPARE, prepare, schema.Proposal)
        agree = schema.Agree(
            id=proposal.id,
            digest=proposal.digest,
            read=[str(path) for path in read],
            write=[str(path) for path in write],
            env=dict(env or {}),
            connect=list(connect),
        )
        return self.desk.ask(schema.AGREE, agree, schema.Agreed).server

    def add_toy(self, toy: str, *arguments: str, name: str = "", **how: Any) -> schema.ServerView:
        """Register one of the toy servers, by default under its own name."""
        return self.add(name or toy, toy_line(toy, *arguments), **how)

    def shim(self, name: str, client: str) -> list[str]:
        """What stands in a client's configuration."""
        return shim_command(self.paths, name, client)

    def connect(self, name: str, client: str = "local", **how: Any) -> RawClient:
        """A raw client on the real shim.  It has not said anything yet."""
        return RawClient(self.shim(name, client), env=self.environment, **how)

    def newcomer(self, *servers: str) -> str:
        """A client nobody else uses, and so a session of its own, which may use these servers."""
        client = f"client-{next(self._names)}"
        for server in servers:
            self.desk.connect(client, server)
        return client


def toy_line(toy: str, *arguments: str) -> list[str]:
    return [PYTHON_INSIDE, "-I", str(script(toy)), *arguments]


@contextmanager
def home_of_a_stranger(*, marked: bool = True, **variables: str) -> Iterator[Running]:
    """A fresh home and an empty folder as the user's own.  Every daemon that was started in it is stopped, by pid."""
    user = Path(tempfile.mkdtemp(prefix="bh-user-")).resolve()
    hidden = dict.fromkeys(UNSET, "")
    try:
        with throwaway_home(marked=marked, HOME=str(user), **hidden, **variables) as home:
            try:
                yield Running(home, user)
            finally:
                stop(home)
    finally:
        shutil.rmtree(user)


def stop(home: Home) -> None:
    """Stop every daemon of a home and see it go, whatever a test did to it."""
    for pid in daemons(home.paths.home):
        with Watched([pid]) as daemon:
            if daemon.pids:
                os.kill(pid, signal.SIGTERM)
            if daemon.left(within=STOP_WITHIN):
                os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"the daemon {pid} did not stop within {STOP_WITHIN} s")
    home.paths.control_socket.unlink(missing_ok=True)


def with_registries(user: Path) -> None:
    """Give a fresh user the machine's package registries, and nothing else of its owner's."""
    for name in REGISTRIES:
        source = Path.home() / name
        if source.is_file():
            (user / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, user / name)
