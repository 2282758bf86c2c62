"""Names that could be mistaken for a well-known one are pointed out; the well-known ones never are."""

import importlib.resources
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.trust.typosquat import NAMES, distance, shipped, skeleton

NPM, PYPI = shipped()["npm"], shipped()["pypi"]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("@modelcontextprotoco1/server-filesystem", "@modelcontextprotocol/server-filesystem"),
        ("@modelcontextprotocoI/server-memory", "@modelcontextprotocol/server-memory"),
        ("@modelcontextprotocol/server-filesytem", "@modelcontextprotocol/server-filesystem"),
        ("@model-context-protocol/server-filesystem", "@modelcontextprotocol"),
        ("@upstach/context7-mcp", "@upstash"),
        ("server-filesystem", "@modelcontextprotocol/server-filesystem"),
        ("@somebody/server-filesystem", "@modelcontextprotocol/server-filesystem"),
        ("mcp-rernote", "mcp-remote"),
        ("mcp-remot", "mcp-remote"),
        ("chrome-devtools-mpc", "chrome-devtools-mcp"),
    ],
)
def test_a_look_alike_is_named_with_what_it_looks_like(name: str, known: str) -> None:
    assert known in NPM.warning(name)


def test_a_python_look_alike_is_found() -> None:
    assert "mcp-server-fetch" in PYPI.warning("mcp-server-fetsh")


@pytest.mark.parametrize("name", ["left-pad", "@bitwarden/mcp-server", "@acme/mcp", "mcp-server-of-mine", "time"])
def test_a_name_of_its_own_is_left_alone(name: str) -> None:
    assert NPM.warning(name) == ""


def test_no_shipped_name_is_warned_of() -> None:
    listed = tomllib.loads(importlib.resources.files("policies").joinpath(NAMES).read_text("utf-8"))
    assert len(listed["npm"]) + len(listed["pypi"]) >= 150
    assert [name for name in listed["npm"] if NPM.warning(name)] == []
    assert [name for name in listed["pypi"] if PYPI.warning(name)] == []


words = st.text("abcdef", max_size=7)


@given(words, words)
def test_distance_is_the_same_both_ways_and_nothing_for_the_same_word(one: str, other: str) -> None:
    assert distance(one, other, 7) == distance(other, one, 7)
    assert (distance(one, other, 7) == 0) is (one == other)


@given(words, st.integers(0, 6), st.sampled_from("abcdef"))
def test_one_letter_more_is_a_distance_of_one(word: str, at: int, letter: str) -> None:
    assert distance(word, word[:at] + letter + word[at:], 2) == 1


def test_swapped_neighbours_are_one_mistake() -> None:
    assert (distance("mcp-remote", "mcp-rmeote", 2), distance("abc", "xyz", 1)) == (1, 2)
    assert skeleton("MCP_Rernote") == skeleton("mcp-remote")
