"""The official conformance suite, directly and through Bulkhead, side by side.

    python -m tests.conformance [--rev 2025-11-25|2026-07-28] [--leg server|client]

Server leg: the SDK's fixture server, by HTTP as it is, and on standard input and output in its sandbox behind
Bulkhead's address.  Client leg: the SDK's fixture client, at the suite's address as it is, and at Bulkhead's with the
suite's as a remote server.  The policy is the one that only watches, because nobody is there to answer.  Ends with 0
only if everything that passes directly passes through Bulkhead too.
"""

import argparse
import json
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conformance.bearer import with_bearer
from tests.conformance.installed import Fixtures, fixtures
from tests.conformance.suite import REVISIONS, Outcome, Suite
from tests.conformance.through import CLIENT
from tests.e2e.running import Running, home_of_a_stranger, with_registries

LEGS: Final = ("server", "client")
ADD_WITHIN: Final = 300.0
UP_WITHIN: Final = 60.0
SERVER: Final = "everything"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.split("\n")[0])
    parser.add_argument("--rev", choices=REVISIONS, action="append")
    parser.add_argument("--leg", choices=LEGS, action="append")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bh-suite-") as name, home_of_a_stranger() as home:
        folder = Path(name)
        suite, fixture = Suite(folder), fixtures(folder)
        with_registries(home.user)
        home.up()
        _done(home, "policy", "use", "observe")
        _done(home, "client", "add", CLIENT)
        alike = True
        for leg in wanted.leg or LEGS:
            run = {"server": _server_leg, "client": _client_leg}[leg]
            for revision, direct, through in run(home, suite, fixture, tuple(wanted.rev or REVISIONS)):
                alike &= _tell(leg, revision, direct, through)
    return 0 if alike else 1


Compared = Iterator[tuple[str, dict[str, Outcome], dict[str, Outcome]]]


def _server_leg(home: Running, suite: Suite, fixture: Fixtures, revisions: tuple[str, ...]) -> Compared:
    _done(home, "add", SERVER, "--yes", "--", "uv", "--directory", fixture.project, "run", "serve.py")
    found = json.loads(_done(home, "endpoint", SERVER, "--client", CLIENT, "--json"))
    with _by_http(fixture) as plain, with_bearer(found["url"], found["headers"]) as brokered:
        for revision in revisions:
            yield revision, suite.server(plain, revision), suite.server(brokered, revision)


def _client_leg(home: Running, suite: Suite, fixture: Fixtures, revisions: tuple[str, ...]) -> Compared:
    plain = shlex.join([sys.executable, str(fixture.client)])
    brokered = shlex.join([sys.executable, "-m", "tests.conformance.through", str(fixture.client)])
    for revision in revisions:
        yield revision, suite.client(plain, revision), suite.client(brokered, revision, home.environment)


@contextmanager
def _by_http(fixture: Fixtures) -> Iterator[str]:
    """The fixture server by HTTP, without Bulkhead."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, str(fixture.by_http), "--port", str(port), "--log-level", "CRITICAL"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.terminate()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + UP_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the fixture server did not come up")


def _done(home: Running, *words: str | Path) -> str:
    done = home.bulkhead(*words, within=ADD_WITHIN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def _tell(leg: str, revision: str, direct: dict[str, Outcome], through: dict[str, Outcome]) -> bool:
    """Print one table; true if nothing that passed directly failed through Bulkhead."""
    good = [sum(outcome.passed for outcome in outcomes.values()) for outcomes in (direct, through)]
    print(f"\n{leg} {revision}: direct {good[0]}/{len(direct)}, through Bulkhead {good[1]}/{len(through)}")
    for name in direct:
        print(f"  {name:<48} {direct[name]!s:<14} {through[name]}", flush=True)
    return all(through[name].passed for name in direct if direct[name].passed)


if __name__ == "__main__":
    sys.exit(main())
