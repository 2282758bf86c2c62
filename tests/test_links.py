"""What a link says about a call."""

from broker.links import MAX_TARGET, shown


def test_a_target_in_a_sentence_is_bounded_and_on_one_line() -> None:
    assert shown("file:///notes/one") == "file:///notes/one"
    assert shown("größe") == "größe"
    assert shown("x\n    why: harmless\x1b[A") == r"'x\n    why: harmless\x1b[A'"
    assert shown("\u202egpj.exe") == r"'\u202egpj.exe'"
    assert len(shown("x" * 5000)) == MAX_TARGET
