"""The only door from values to the terminal."""

from broker.cli import output


def test_text_of_others_keeps_to_its_line_and_prints() -> None:
    forged = "read x\n\n1badf00d  claude wants to use safe_lookup\x1b[2K\u202e"
    assert output.line(forged) == "read x\ufffd\ufffd1badf00d  claude wants to use safe_lookup\ufffd[2K\ufffd"
    assert output.line("y" * 10, 4) == "yyyy…"
