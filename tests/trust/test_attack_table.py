"""Every attack has its test and every such test its attack."""

import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Final

from tests.trust.attack_table import ATTACKS

TESTS: Final = Path(__file__).resolve().parents[1]
OTHER_ROOMS: Final = (
    "test_agreed.py",
    "test_bad_index.py",
    "test_bad_input.py",
    "test_pinning.py",
    "test_race.py",
    "test_rollback.py",
)
GROUPS: Final = {"A": range(21), "B": range(1, 27), "C": range(1, 22), "D": range(1, 18), "E": range(1, 18),
                 "F": range(1, 12), "G": range(1, 13), "H": range(1, 16)}  # fmt: skip
_CASE: Final = re.compile(r"([A-H]\d\d) ")


def test_each_attack_names_exactly_the_tests_that_name_it() -> None:
    assert {row: set(attack.tests) for row, attack in ATTACKS.items()} == _named_by_tests()


def test_no_attack_of_a_group_is_left_out() -> None:
    assert list(ATTACKS) == [f"{group}{number:02}" for group, numbers in GROUPS.items() for number in numbers]
    assert all(attack.tried and attack.tests for attack in ATTACKS.values())


def _named_by_tests() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in (*sorted((TESTS / "trust").glob("test_*.py")), *(TESTS / name for name in OTHER_ROOMS)):
        place = path.relative_to(TESTS)
        module = importlib.import_module(".".join(("tests", *place.with_suffix("").parts)))
        for name, test in vars(module).items():
            if name.startswith("test_") and isinstance(test, FunctionType) and test.__module__ == module.__name__:
                for row in getattr(test, "catches", ()):
                    found[row].add(f"{place}::{name}")
                for case in _cases(test):
                    if row_of := _CASE.match(case):
                        found[row_of[1]].add(f"{place}::{name}")
    return dict(found)


def _cases(test: FunctionType) -> Iterator[str]:
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            yield from (each for each in mark.args[1] if isinstance(each, str))
