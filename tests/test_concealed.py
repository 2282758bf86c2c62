"""Secrets that stand in a launch line: what is written in their place, and what a server gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.audit.words import secret_words
from broker.concealed import conceal, handed_over, marks, restored
from broker.pin import LaunchRequest
from broker.secrecy import secret_arguments
from broker.trust import launch_spec

HERE = lambda _path: True  # noqa: E731 - every path is there
TOKEN = "ghp_" + "a" * 36


def concealed(line: list[str]) -> tuple[LaunchRequest, dict[str, str]]:
    launch = launch_spec.parse(line, exists=HERE)
    return conceal(launch, dict(launch.env))


@pytest.mark.parametrize(("line", "shown", "values"), [
    (["npx", "-y", "tool@1", "--api-key", "abc", "--region", "eu"],
     ["npx", "-y", "tool@1", "--api-key", "@argument.api-key@", "--region", "eu"], {"argument.api-key": "abc"}),
    (["uvx", "tool==1", "--token=abc", "--token=def"],
     ["uvx", "tool==1", "--token=@argument.token@", "--token=@argument.token-2@"],
     {"argument.token": "abc", "argument.token-2": "def"}),
    (["npx", "tool@1", TOKEN, "--header", "X-Api-Key: abc", "tool@1"],
     ["npx", "tool@1", "@argument.argument@", "--header", "X-Api-Key: @argument.X-Api-Key@", "tool@1"],
     {"argument.argument": TOKEN, "argument.X-Api-Key": "abc"}),
    (["npx", "tool@1", "--password", "tool@1"], ["npx", "tool@1", "--password", "@argument.password@"],
     {"argument.password": "tool@1"}),
    (["docker", "run", "-i", "--rm", "mcp/tool", "--token", "def"],
     ["docker", "run", "-i", "--rm", "mcp/tool", "--token", "@argument.token@"], {"argument.token": "def"}),
    (["sh", "-c", "env API_KEY=abc ZONE=UTC npx -y tool@1"],
     ["sh", "-c", "env API_KEY=@API_KEY@ ZONE=UTC npx -y tool@1"],
     {"API_KEY": "abc", "ZONE": "UTC"}),
    (["sh", "-c", "npx -y tool@1 --api-key a-long-secret-word"],
     ["sh", "-c", "npx -y tool@1 --api-key @argument.api-key@"], {"argument.api-key": "a-long-secret-word"}),
    (["npx", "-y", "tool@1", "--region", "eu"], ["npx", "-y", "tool@1", "--region", "eu"], {}),
])  # fmt: skip
def test_a_line_is_written_down_without_its_secrets_and_means_the_same_with_them(
    line: list[str], shown: list[str], values: dict[str, str]
) -> None:
    launch, found = concealed(line)
    assert (list(launch.argv), found) == (shown, values)
    assert restored(launch.argv, found) == tuple(line)
    assert handed_over(launch.args, found)[0] == launch_spec.parse(line, exists=HERE).args
    assert secret_arguments(launch.argv) == {} and secret_words(launch.argv) == []  # a name is no secret
    again, none = concealed(list(launch.argv))  # what stands in a document is read as it stands
    assert again.args == launch.args and not set(none) & marks(launch.argv)


def test_arguments_are_no_variables_and_a_name_without_a_value_stays() -> None:
    values = {"argument.key": "abc", "TOKEN": "def"}
    assert handed_over(["--key", "@argument.key@", "@argument.gone@", "@TOKEN@"], values) == (
        ("--key", "abc", "@argument.gone@", "@TOKEN@"), {"TOKEN": "def"},
    )  # fmt: skip


@given(st.lists(st.text(alphabet="abk@.-=:key/", min_size=1, max_size=12), max_size=5))
def test_whatever_a_line_holds_its_server_gets_it_word_for_word(words: list[str]) -> None:
    line = ("npx", "tool@1", *words)
    launch, values = conceal(LaunchRequest(line, "npx", "npm", "tool@1", tuple(words)), {})
    assert handed_over(launch.args, values)[0] == tuple(words) and restored(launch.argv, values) == line
