"""Every attack of the list has a test that exists, or a reason why it has none."""

import ast
from pathlib import Path
from typing import Final

from tests.auth.attack_list import NOT_HERE, TRIED
from tests.auth.test_attacks import ATTACKS

TESTS: Final = Path(__file__).resolve().parents[1]
LISTED: Final = [*(f"A{number:02}" for number in range(1, 71)), *(f"M{number:02}" for number in range(1, 46))]


def test_every_attack_of_the_list_is_tried_or_said_to_be_left_out() -> None:
    assert sorted([*TRIED, *NOT_HERE]) == LISTED and all(TRIED.values())


def test_every_test_that_the_list_names_exists() -> None:
    lines = {attack.name for attack in ATTACKS}
    files = {name.partition("::")[0] for names in TRIED.values() for name in names if "::" in name}
    known = {f"{file}::{test}" for file in files for test in names_in(TESTS / file)} | lines
    assert {id: names for id, names in TRIED.items() if not set(names) <= known} == {}


def names_in(path: Path) -> list[str]:
    """The names of the tests of a file."""
    tree = ast.parse(path.read_text())
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
