"""The command line's own spellings: a bundle stands for a launch line and never beside one."""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import pytest

from broker.cli.arguments import parser, spelled_out
from broker.cli.later import Later


@pytest.mark.parametrize("words", [
    ["add", "x", "--bundle", "/b/x.mcpb", "--env", "K=V", "--yes"],
    ["add", "--bundle=/b/x.mcpb", "x", "--env", "K=V", "--yes"],
    ["add", "--yes", "x", "--env", "K=V", "--bundle", "/b/../b/x.mcpb"],
])  # fmt: skip
def test_a_bundle_is_the_launch_line_it_stands_for(words: list[str]) -> None:
    args = parser().parse_args(spelled_out(words))
    assert (args.name, args.command, args.env, args.yes) == ("x", ["mcpb", "run", "/b/x.mcpb"], ["K=V"], True)
    assert args.bundle is None


def test_a_bundle_beside_a_command_stays_visible_to_be_refused() -> None:
    words = ["add", "x", "--bundle", "/b/x.mcpb", "--", "npx", "-y", "pkg"]
    args = parser().parse_args(spelled_out(words))
    assert (args.bundle, args.command) == ("/b/x.mcpb", ["npx", "-y", "pkg"])


def test_a_server_of_its_own_that_takes_a_bundle_keeps_its_words() -> None:
    words = ["add", "x", "--", "npx", "-y", "pkg", "--bundle", "y"]
    assert spelled_out(words) == words


def every_command(line: argparse.ArgumentParser) -> Iterator[object]:
    for action in line._actions:
        for inner in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            if (run := inner.get_default("run")) is not None:
                yield run
            yield from every_command(inner)


def test_every_command_of_the_grammar_is_there_when_it_is_asked_for() -> None:
    found = list(every_command(parser()))
    assert len(found) > 40
    assert all(callable(run.command if isinstance(run, Later) else run) for run in found)


def test_the_grammar_alone_loads_nothing_that_only_some_commands_need() -> None:
    look = "import sys, broker.cli.arguments; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    heavy = {
        "broker.trust",
        "broker.policy",
        "broker.clients",
        "broker.vault",
        "cryptography",
        "textual",
        "mcp",
        "httpx2",
    }
    assert set(done.stdout.split()).isdisjoint(heavy)
