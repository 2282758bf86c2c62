"""Applications stay known to whoever restarts the daemon."""

import os
import subprocess
import sys
from pathlib import Path

from broker.applications import Applications
from broker.processes import process


def here() -> tuple[int, int]:
    me = process(os.getpid())
    assert me is not None
    return me.pid, me.started


def test_an_application_outlives_the_daemon_that_saw_it(tmp_path: Path) -> None:
    Applications(tmp_path / "applications").add({here()})
    again = Applications(tmp_path / "applications")
    assert again.seen == {here()}


def test_one_that_ended_is_forgotten_and_so_is_its_number(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = process(child.pid)
        assert found is not None
        Applications(tmp_path / "applications").add({(found.pid, found.started), here()})
    _, started = here()
    assert Applications(tmp_path / "applications").seen == {here()}
    (tmp_path / "applications").write_text((tmp_path / "applications").read_text().replace(str(started), "1"))
    assert Applications(tmp_path / "applications").seen == set()  # another process under that number


def test_what_another_boot_wrote_means_nothing(tmp_path: Path) -> None:
    pid, started = here()
    (tmp_path / "applications").write_text(f"another boot\n{pid} {started}\n")
    assert Applications(tmp_path / "applications").seen == set()
    Applications(tmp_path / "applications").add({here()})
    assert Applications(tmp_path / "applications").seen == {here()}
