"""Secrets among the words of a launch line."""

import pytest

from broker.audit.redact import Redactor
from broker.audit.words import secret_words


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (["server", "--token", "abcdefgh12345678", "/data"], ["abcdefgh12345678"]),
        (["server", "--api-key=abcdefgh12345678"], ["abcdefgh12345678"]),
        (["server", "--DB_PASSWORD", "hunter2hunter2"], ["hunter2hunter2"]),
        (["server", "--token", "--verbose"], []),
        (["server", "--token"], []),
        (["server", "--timezone", "UTC", "/home/ada/keys"], []),
    ],
)
def test_the_value_of_a_flag_that_names_a_secret_is_found(argv: list[str], found: list[str]) -> None:
    assert secret_words(argv) == found


@pytest.mark.claim("C42")
def test_a_key_among_the_launch_words_is_cut_out_of_what_is_recorded() -> None:
    argv = ["/usr/bin/server", "--api-key", "abcdefgh12345678"]
    redactor = Redactor()
    for value in secret_words(argv):
        redactor.add("server/argument", value)
    assert "abcdefgh12345678" not in redactor.json({"argv": argv})
