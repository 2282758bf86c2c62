"""Every promise of the README has a test, and every test that claims to keep one names a promise that is made."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.claims import CLAIMS

TESTS: Final = Path(__file__).resolve().parent
README: Final = TESTS.parent / "README.md"
PROMISE: Final = re.compile(r"^- (?P<sentence>.+?) <!-- (?P<id>C\d\d) -->$", re.MULTILINE)


def promised() -> list[tuple[str, str]]:
    return [(match["id"], match["sentence"]) for match in PROMISE.finditer(README.read_text())]


def kept() -> dict[str, list[str]]:
    """Claim ids, and the tests marked with them."""
    tests: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, node in marked_parts(ast.parse(path.read_text())):
            for claim in claims_of(node):
                tests[claim].append(f"{path.relative_to(TESTS)}::{name}")
    return tests


def marked_parts(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Every decorator of a test, and what a module gives to `pytestmark`."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test_"):
                for decorator in node.decorator_list:
                    yield name, decorator
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                yield "pytestmark", value


def claims_of(expression: ast.expr) -> Iterator[str]:
    """The ids in every `pytest.mark.claim("C01", ...)` inside an expression."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "claim":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), "a claim is named by a plain string"
                yield str(argument.value)


def test_the_readme_and_the_list_of_claims_say_the_same() -> None:
    assert dict(promised()) == CLAIMS
    assert len(promised()) == len(CLAIMS), "an id stands twice in the README"


def test_every_id_in_the_readme_ends_a_list_item() -> None:
    assert re.findall(r"\bC\d\d\b", README.read_text()) == list(CLAIMS)


def test_every_claim_is_kept_by_a_test() -> None:
    assert sorted(set(CLAIMS) - set(kept())) == []


def test_every_marker_names_a_claim_that_is_made() -> None:
    assert {claim: tests for claim, tests in kept().items() if claim not in CLAIMS} == {}
