"""How the daemon, its shims and its servers begin and end: in order when asked, and all together when killed."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import Watched, daemons, descendants
from tests.e2e.running import Running, home_of_a_stranger
from tests.fakes.raw_client import RawClient

pytestmark = pytest.mark.sandbox

GONE_WITHIN: Final = 10.0
STOPPED_WITHIN: Final = 20.0
SOON: Final = 15.0  # less than a shim waits for a daemon that stops; alone it takes a fifth of a second
WRONG_USAGE: Final = 2
NO_DAEMON: Final = 3


def in_mid_call(home: Running) -> RawClient:
    """A link of a client of its own whose server is in the middle of a call."""
    client = home.newcomer("honest")
    link = home.connect("honest", client)
    link.open()
    link.start_request("tools/call", {"name": "slow", "arguments": {"seconds": 60}})
    home.desk.link_in("running", "honest", client)
    return link


def refused(link: RawClient, code: int = NO_DAEMON) -> list[str]:
    """What a shim that finds no daemon says, line by line."""
    assert link.wait(within=GONE_WITHIN) == code
    assert link.receive_line() == b"", "standard output belongs to the protocol"
    return link.errors().splitlines()


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.claim("C23")
@pytest.mark.parametrize("way", ["SIGTERM", "down"])
def test_a_daemon_that_is_asked_to_stop_ends_every_link_in_order(running: Running, way: str) -> None:
    running.add_toy("honest")
    pid = running.desk.status().pid
    with in_mid_call(running) as busy, running.connect("honest", running.newcomer("honest")) as idle:
        idle.open()
        with Watched(descendants(pid)) as everything:
            assert len(everything.pids) > 3
            if way == "down":
                assert running.bulkhead("down").returncode == 0
                assert daemons(running.paths.home) == []
            else:
                os.kill(pid, signal.SIGTERM)
            assert everything.left(within=STOPPED_WITHIN) == {}
        assert "bulkhead is stopping" in json.loads(busy.receive_line())["error"]["message"]  # its open call is told
        for link in (busy, idle):
            assert link.wait() == 1
            assert link.receive_line() == b""
            assert link.errors() == "bulkhead: bulkhead is stopping\n"
    assert not running.paths.connect_socket.exists()
    assert not running.paths.control_socket.exists()
    assert running.bulkhead("audit", "verify").returncode == 0
    running.up()
    ends = running.desk.receipts(kind="link-closed")
    assert [entry["body"]["reason"] for entry in ends] == ["bulkhead is stopping"] * 2
    assert [entry["method"] for entry in running.desk.receipts(kind="daemon")] == ["start", "stop", "start"]


@pytest.mark.claim("C23")
def test_a_killed_daemon_leaves_no_server_no_sandbox_and_no_shim(running: Running) -> None:
    running.add_toy("honest")
    running.add_toy("daemonises")
    pid = running.desk.status().pid
    stubborn = running.newcomer("daemonises")
    with in_mid_call(running) as busy, running.connect("daemonises", stubborn) as children:
        children.open()
        children.call("go")
        with Watched(descendants(pid)) as everything:
            lines = everything.left().values()
            assert any("bwrap" in line[0] for line in lines)
            assert sum(line[-1].endswith("daemonises.py") for line in lines) >= 4
            os.kill(pid, signal.SIGKILL)
            assert everything.left(within=GONE_WITHIN) == {}
        for link in (busy, children):
            assert link.wait() == 1
            assert link.receive_line() == b""
            assert link.errors().startswith("bulkhead: the daemon ended\ntry: ")
    assert running.paths.connect_socket.exists(), "nobody was left to remove it"

    running.up()
    with running.connect("honest", running.newcomer("honest")) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
    assert running.bulkhead("audit", "verify").returncode == 0


@pytest.mark.claim("C23")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_shim_that_is_ended_by_its_client_takes_the_server_along(running: Running, number: signal.Signals) -> None:
    running.add_toy("daemonises")
    client = running.newcomer("daemonises")
    with running.connect("daemonises", client) as link:
        link.open()
        link.call("go")
        with Watched(descendants(running.desk.link("daemonises", client).pid)) as tree:
            assert len(tree.pids) > 3
            link.process.send_signal(number)
            assert tree.left(within=GONE_WITHIN) == {}
        running.desk.no_link("daemonises", client)


def test_a_removed_server_and_an_ended_session_end_their_links_with_the_reason(running: Running) -> None:
    running.add_toy("honest")
    with in_mid_call(running) as first, in_mid_call(running) as second:
        session = next(s for s in running.desk.sessions() if s.client == "client-1")
        assert running.bulkhead("session", "end", session.id).returncode == 0
        assert first.wait() == 1
        assert "you ended this session" in first.errors()
        assert second.request("ping")["result"] == {}
        assert running.bulkhead("remove", "honest").returncode == 0
        assert second.wait() == 1
        assert "honest was removed" in second.errors()
    with running.connect("honest", "client-1") as late:
        assert late.wait() == 1
        assert "there is no server honest" in late.errors()


# --- the beginning ----------------------------------------------------------------------------------------------------


def test_a_shim_starts_the_daemon_that_does_not_run(running: Running) -> None:
    running.add_toy("honest")
    client = running.newcomer("honest")
    first = running.desk.status().pid
    assert running.bulkhead("down").returncode == 0
    with running.connect("honest", client) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
        assert link.call_text("echo", {"text": "ahoy"}) == "ahoy"
        assert daemons(running.paths.home) == [running.desk.status().pid] != [first]


def test_shims_that_start_at_once_share_one_daemon(running: Running) -> None:
    running.add_toy("honest")
    clients = [running.newcomer("honest") for _ in range(4)]
    assert running.bulkhead("down").returncode == 0
    links = [running.connect("honest", client) for client in clients]
    try:
        for link in links:
            assert link.open()["result"]["serverInfo"]["name"] == "honest"
        assert running.desk.status().links == len(links)
        one = running.desk.status().pid
        with Watched(set(daemons(running.paths.home)) - {one}) as others:
            assert others.left(within=GONE_WITHIN) == {}
        assert daemons(running.paths.home) == [one]
    finally:
        for link in links:
            link.close()


def test_a_shim_that_comes_while_the_daemon_stops_gets_the_next_one(running: Running) -> None:
    running.add_toy("daemonises")
    old, new = running.newcomer("daemonises"), running.newcomer("daemonises")
    pid = running.desk.status().pid
    with running.connect("daemonises", old) as stubborn:
        stubborn.open()
        stubborn.call("go")
        os.kill(pid, signal.SIGTERM)  # the server ignores what it can: its daemon needs seconds to end it
        with Watched([pid]) as daemon, running.connect("daemonises", new) as link:
            assert link.open()["result"]["serverInfo"]["name"] == "daemonises"
            assert daemon.left() == {}
            assert running.desk.status().pid != pid


def test_a_second_up_says_that_the_daemon_runs_already(running: Running) -> None:
    pid = running.desk.status().pid
    again = running.bulkhead("up")
    assert again.returncode == 0
    assert again.stdout.startswith("the daemon runs already\n")
    foreground = running.bulkhead("up", "--foreground", within=20)
    assert foreground.returncode == NO_DAEMON
    assert "a daemon already runs for this home\ntry: " in foreground.stderr
    assert daemons(running.paths.home) == [pid]


def test_a_stale_socket_and_a_stale_file_in_its_place_are_replaced(resting: Running) -> None:
    resting.up()
    resting.bulkhead("down")
    for path in (resting.paths.control_socket, resting.paths.connect_socket):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    assert resting.up() > 0
    resting.bulkhead("down")
    resting.paths.control_socket.write_text("not a socket")
    assert resting.up() > 0


def test_status_without_a_daemon_says_so_and_starts_none(resting: Running) -> None:
    done = resting.bulkhead("status")
    assert done.returncode == NO_DAEMON
    assert done.stdout == ""
    assert done.stderr.splitlines()[1] == "try: start it with: bulkhead up"
    assert resting.bulkhead("down").stdout == "no daemon runs\n"
    assert daemons(resting.paths.home) == []


# --- a daemon that cannot start ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped() -> Iterator[Running]:
    """A home that was used, whose daemon does not run."""
    with home_of_a_stranger() as home:
        home.up()
        home.add_toy("honest")
        home.newcomer("honest")
        assert home.bulkhead("down").returncode == 0
        yield home


@pytest.mark.claim("C62")
@pytest.mark.parametrize("trouble", ["no folder", "no lock", "no key", "not a key", "no log", "no conf", "open conf"])
def test_when_no_daemon_can_start_a_shim_says_soon_what_to_do_and_nothing_on_standard_output(
    stopped: Running, trouble: str
) -> None:
    paths = stopped.paths
    culprit = {
        "no folder": paths.state,
        "no lock": paths.state / "daemon.lock",
        "no key": paths.state / "integrity.key",
        "not a key": paths.state / "integrity.key",
        "no log": paths.audit,
        "no conf": paths.home / "home.conf",
        "open conf": paths.home / "home.conf",
    }[trouble]
    with spoilt(culprit, trouble):
        started = time.monotonic()
        with stopped.connect("honest", "client-1") as link:
            said = refused(link)
            waited = time.monotonic() - started
        assert said[0].startswith("bulkhead: ")
        assert str(culprit) in said[0] or str(paths.home) in said[0]
        assert said[1].startswith("try: ")
        assert waited < SOON, f"{waited:.1f} s"
        with Watched(daemons(paths.home)) as rest:
            assert rest.left(within=GONE_WITHIN) == {}


@contextmanager
def spoilt(path: Path, trouble: str) -> Iterator[None]:
    """Break the home in a way that stops root, too."""
    away = path.with_name("away")
    path.rename(away)
    if trouble in ("no folder", "no log"):
        path.write_text("in the way\n")
    elif trouble == "no lock":
        path.mkdir()
    elif trouble == "no key":
        path.write_bytes(b"")
    elif trouble == "not a key":
        path.write_bytes(b"\xff these are no 64 digits\n")
    elif trouble == "open conf":
        shutil.copyfile(away, path)
        path.chmod(0o666)
    try:
        yield
    finally:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        away.rename(path)


@pytest.mark.claim("C62")
def test_a_shim_with_a_wrong_line_says_what_to_do(running: Running) -> None:
    for argv in (["--client", "x"], ["honest", "--home", str(running.paths.home)], ["a", "b"]):
        shim = running.shim("honest", "x")[:5]
        with RawClient([*shim, *argv], env=running.environment) as link:
            assert refused(link, WRONG_USAGE)[1].startswith("try: bulkhead connect NAME")


@pytest.mark.claim("C62")
def test_the_home_of_a_shim_is_never_taken_from_its_environment(running: Running, tmp_path: Path) -> None:
    running.add_toy("honest")
    client = running.newcomer("honest")
    misled = {**running.environment, "BULKHEAD_HOME": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": "/nowhere"}
    with RawClient(running.shim("honest", client), env=misled) as link:
        assert link.open()["result"]["serverInfo"]["name"] == "honest"
    assert list(tmp_path.iterdir()) == []
