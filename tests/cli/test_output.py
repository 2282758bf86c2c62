"""The only door from values to the terminal."""

import pytest

from broker.cli import audit, output


def test_text_of_others_keeps_to_its_line_and_prints() -> None:
    forged = "read x\n\n1badf00d  claude wants to use safe_lookup\x1b[2K\u202e"
    assert output.line(forged) == "read x\ufffd\ufffd1badf00d  claude wants to use safe_lookup\ufffd[2K\ufffd"
    assert output.line("y" * 10, 4) == "yyyy…"


def test_a_receipt_is_one_line_whatever_its_target_says(capsys: pytest.CaptureFixture[str]) -> None:
    forged = "a://b\n8  12:00  desk  notes  decision  tools/call  safe  allow"
    audit._show({"seq": 7, "method": "resources/read", "target": forged, "verdict": "deny"}, as_json=False)
    assert capsys.readouterr().out.count("\n") == 1
