"""Too much is ended, and said in a sentence that names the limit and how to raise it."""

import textwrap
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.model import Limits
from broker.sandbox.limits import KINDS, Meter, Use, changed, differing, parsed, written
from tests.sandbox.conftest import PYTHON_INSIDE, Yard

SMALL = {"memory": 96 << 20, "tmp_size": 256 << 20, "processes": 40, "file_size": 1 << 20}


def hog(text: str) -> list[str]:
    return [PYTHON_INSIDE, "-c", textwrap.dedent(text)]


HOGS: dict[str, tuple[str, list[str]]] = {
    "memory of its own": (
        "memory",
        hog("""
            import time
            x = []
            while 1:
                try: x.append(bytearray(1 << 20))
                except MemoryError: time.sleep(600)  # the kernel's wall; there the watch finds it
        """),
    ),
    "memory that processes share": (
        "memory",
        hog("""
            import mmap, os, time
            m = mmap.mmap(-1, 200 << 20)
            if os.fork():
                for _ in range(200): m.write(bytes(1 << 20))
            time.sleep(600)
        """),
    ),
    "files in memory": (
        "memory",
        hog("""
            import time
            for number in range(250):
                with open(f"/tmp/{number}", "wb") as file: file.write(bytes(1 << 19))
            time.sleep(600)
        """),
    ),
    "files without a name that nobody maps": (
        "memory",
        hog("""
            import os, time
            keep = [os.memfd_create("x") for _ in range(150)]
            for f in keep: os.write(f, bytes(1 << 20))
            time.sleep(600)
        """),
    ),
    "a fork bomb": (
        "processes",
        hog("""
            import os
            while 1:
                try: os.fork()
                except OSError: pass
        """),
    ),
    "processor time": ("processor", hog("while 1: pass")),
    "a large file": (
        "file-size",
        ["/bin/dd", "if=/dev/zero", "of=/tmp/large", "bs=65536", "count=64"],
    ),
}


@pytest.fixture(scope="module")
def ends(yard: Yard) -> dict[str, dict[str, Any]]:
    """Every hog, one after another, in a sandbox of its own."""
    jobs = [
        {"argv": argv, "limits": SMALL | ({"processor": 1} if flag == "processor" else {})}
        for flag, argv in HOGS.values()
    ]
    return dict(zip(HOGS, yard.ask({"jobs": jobs})["results"], strict=True))


@pytest.mark.sandbox
@pytest.mark.claim("C29")
@pytest.mark.parametrize("name", HOGS)
def test_a_server_over_a_limit_is_ended_with_a_sentence_about_it(ends: dict[str, dict[str, Any]], name: str) -> None:
    flag, ended = HOGS[name][0], ends[name]
    assert "error" not in ended, ended
    assert ended["code"] != 0
    assert "it was over its limit of " in ended["ending"], ended
    assert f"bulkhead limits toy --{flag} " in ended["ending"]
    assert ended["facts"] == [{"kind": "exit", "method": "limit", "limit": flag}]


@pytest.mark.sandbox
def test_what_stays_within_its_limits_is_left_alone(yard: Yard) -> None:
    result = yard.run(hog("import time; x = bytearray(32 << 20); time.sleep(0.5); print(len(x))"), limits=SMALL)
    assert (result["code"], result["out"], result["ending"], result["facts"]) == (0, f"{32 << 20}\n", "", [])


LIMITS = Limits(memory=100, processor=360, processes=10, state_size=50)


def test_each_limit_has_its_own_sentence() -> None:
    for use, flag in (
        (Use(memory=101), "memory"),
        (Use(processes=10), "processes"),
        (Use(processor=361.0), "processor"),
        (Use(state=51), "state-size"),
    ):
        found = Meter("notes", LIMITS).over(use, 0.0)
        assert found is not None and found.flag == flag
        assert f"bulkhead limits notes --{flag} " in found.text
    assert Meter("notes", LIMITS).over(Use(100, 9, 360.0, 50), 0.0) is None


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 0.1)), max_size=50))
def test_a_server_at_its_steady_share_of_processor_time_is_never_ended(steps: list[tuple[float, float]]) -> None:
    meter, now, used = Meter("notes", LIMITS), 0.0, 0.0
    for passed, share in steps:  # 360 s per hour are a tenth
        now, used = now + passed, used + passed * share
        assert meter.over(Use(processor=used), now) is None


def test_processor_time_of_long_ago_does_not_count() -> None:
    meter = Meter("notes", LIMITS)
    assert meter.over(Use(processor=350.0), 400.0) is None
    assert meter.over(Use(processor=690.0), 400.0 + 3600) is None
    assert meter.over(Use(processor=1100.0), 400.0 + 3601) is not None


@given(st.sampled_from(sorted(KINDS)), st.integers(1, 1 << 45))
def test_what_is_written_is_read_back(flag: str, value: int) -> None:
    kind = KINDS[flag]
    if kind.least <= value <= kind.most:
        assert parsed(kind, written(kind, value)) == value
        limits = changed(Limits(), {flag: str(value)})
        assert changed(Limits(), differing(limits)) == limits
    else:
        with pytest.raises(ConfigError):
            parsed(kind, str(value))


@pytest.mark.parametrize(
    ("flag", "text"), [("memory", "lots"), ("memory", "-1"), ("memory", "1"), ("processes", "2G"), ("colour", "1")]
)
def test_a_limit_that_makes_no_sense_is_refused_with_what_does(flag: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        changed(Limits(), {flag: text})
    assert refused.value.hint


def test_every_limit_can_be_set() -> None:
    assert {kind.field for kind in KINDS.values()} == set(Limits.__slots__)
    assert changed(Limits(), {"memory": "4G"}) == replace(Limits(), memory=4 << 30)
