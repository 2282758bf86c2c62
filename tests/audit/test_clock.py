"""A clock that is set: the chain tells of it, and what nothing tells of is a broken link."""

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.audit.log import AuditLog
from broker.audit.verify import Report, verify
from broker.model import Fact, Origin
from tests.audit import independent_verifier
from tests.audit.facts import KEY, NOON, VAULT, called, lines_of
from tests.audit.test_verify import rewrite

DAY = 86_400.0


class Clocks:
    """A clock people can set, and one they cannot."""

    def __init__(self) -> None:
        self.wall = NOON
        self.gone_by = 0.0

    def go(self, seconds: float, *, wall: float | None = None) -> None:
        self.gone_by += seconds
        self.wall += seconds if wall is None else wall

    def log(self, folder: Path) -> AuditLog:
        return AuditLog.open(folder, VAULT, lambda: self.wall, steady=lambda: self.gone_by)


def report(folder: Path) -> Report:
    found = verify(folder, KEY)
    assert (independent_verifier.verify(folder, KEY) == "") is found.ok
    return found


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        pytest.param([(1, 1), (3600, 3600)], [], id="time goes by"),
        pytest.param([(1, -0.5)], [], id="set back by less than a second, as what keeps it right does"),
        pytest.param([(1, -DAY)], ["the clock was set back by 86401 s"], id="set back by a day"),
        pytest.param([(1, DAY)], ["the clock was set forward by 86399 s"], id="set forward by a day"),
        pytest.param([(1, 25)], [], id="a little ahead"),
        pytest.param(
            [(1, -DAY), (5, 5), (5, DAY)],
            ["the clock was set back by 86401 s", "the clock was set forward by 86395 s"],
            id="and set right again",
        ),
    ],
)
def test_a_clock_that_is_set_is_told_of_in_the_chain(
    tmp_path: Path, steps: list[tuple[float, float]], told: list[str]
) -> None:
    clocks = Clocks()
    log = clocks.log(tmp_path)
    log.append(Origin(), called())
    for seconds, wall in steps:
        clocks.go(seconds, wall=wall)
        log.append(Origin(), called())
    log.close()
    found = report(tmp_path)
    assert found.ok and [what for _, what in found.jumps] == told
    assert found.entries == 1 + len(steps) + len(told)


def test_a_clock_set_back_while_no_daemon_ran_is_told_of_at_the_first_entry(tmp_path: Path) -> None:
    clocks = Clocks()
    log = clocks.log(tmp_path)
    log.append(Origin(), called())
    log.close()
    clocks.go(0, wall=-DAY)
    again = clocks.log(tmp_path)
    again.append(Origin(), called())
    again.close()
    assert report(tmp_path).jumps == ((2, "the clock was set back by 86400 s"),)


def test_a_clock_set_back_right_after_a_crash_is_told_of_too(tmp_path: Path) -> None:
    clocks = Clocks()
    log = clocks.log(tmp_path)
    head = (tmp_path / "head").read_bytes()
    log.append(Origin(), called())
    log.close()
    (tmp_path / "head").write_bytes(head)  # the entry is in the file, and its checkpoint is not
    clocks.go(0, wall=-DAY)
    again = clocks.log(tmp_path)
    again.append(Origin(), called())
    again.close()
    assert [seq for seq, _ in report(tmp_path).jumps] == [2]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda entry: entry.update(time="2024-01-01T00:00:00.000000Z"), id="an older time"),
        pytest.param(lambda entry: entry.update(time="yesterday"), id="no time"),
    ],
)
def test_an_entry_older_than_the_one_before_is_a_broken_link(
    tmp_path: Path, change: Callable[[dict[str, object]], None]
) -> None:
    """As whoever holds the signing key would have it: every hash fits, and the clock ran backwards."""
    clocks = Clocks()
    log = clocks.log(tmp_path)
    for _ in range(3):
        log.append(Origin(), called())
        clocks.go(1)
    log.append(Origin(), Fact("daemon", "broker", "stop"))
    log.close()
    rewrite(tmp_path, 3, change)
    found = verify(tmp_path, KEY)
    assert found.broken is not None and found.broken.seq == 3 and len(lines_of(tmp_path)) == 4
