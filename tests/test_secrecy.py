"""What is taken for a secret: by its name or its looks, and not what only sounds like one."""

import pytest

from broker.secrecy import looks_secret, secret_arguments


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_TOKEN", "anything"), ("githubToken", "anything"), ("API_KEY", "abc"), ("X-Api-Key", "abc"),
        ("Authorization", "Bearer abc"), ("OPENAI_APIKEY", "x1"), ("DB_PASSWORD", "hunter2"), ("MYACCESSTOKEN", "x1"),
        ("ANYTHING", "ghp_" + "a" * 36), ("ANYTHING", "sk-proj-" + "a" * 20), ("ANYTHING", "AKIAABCDEFGHIJKLMNOP"),
        ("ANYTHING", "xoxb-1234567890-abc"), ("DATABASE_URL", "postgres://me:pw@host/db"),
        ("URL", "https://host/mcp?api_key=abc"), ("ANYTHING", "-----BEGIN PRIVATE KEY-----\nabc"),
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name_or_by_its_looks(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TZ", "UTC"), ("MAX_TOKENS", "many"), ("TOKENIZERS_PARALLELISM", "false"), ("AUTHOR", "me"), ("API_KEY", ""),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json"), ("AUTH", "true"), ("KEY_ID", "main"),
        ("AUTH_URL", "https://login.example/authorize"), ("PUBLIC_KEY", "abc"), ("KEYBOARD", "de"),
        ("TOKEN_LIMIT", "10"), ("HOME", "C:\\Users\\me"), ("PATH", "/usr/bin"), ("COMPASS", "north"),
    ],
)  # fmt: skip
def test_what_only_sounds_like_one_is_none(name: str, value: str) -> None:
    assert not looks_secret(name, value)


def test_the_words_of_a_line_that_hold_a_secret_are_found_with_what_they_are_called() -> None:
    line = ["npx", "-y", "tool", "--api-key", "abc", "--token=def", "--region", "eu", "ghp_" + "a" * 36, "--verbose"]
    assert secret_arguments(line) == {
        4: ("api-key", "abc"), 5: ("token", "def"), 8: ("argument", "ghp_" + "a" * 36)
    }  # fmt: skip
    assert secret_arguments(["env", "GITHUB_TOKEN=abc", "TZ=UTC", "npx", "--header", "Authorization: Bearer abc"]) == {
        1: ("GITHUB_TOKEN", "abc"), 5: ("Authorization", "Bearer abc")
    }  # fmt: skip
    assert secret_arguments(["npx", "https://host.example/key", "/home/me/token", "C:\\token"]) == {}
    assert secret_arguments(["--token"]) == {}
    assert secret_arguments(["--api-key", "--verbose", "x"]) == {}
