"""The command line's own spellings: a bundle stands for a launch line and never beside one."""

import pytest

from broker.cli.arguments import parser, spelled_out


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
