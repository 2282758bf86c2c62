"""What a person reads first of a question."""

from broker.model import Call, ClientName, ServerName, SessionId
from broker.sentences import MAX_TARGET, sentence, shown


def test_a_sentence_says_who_wants_to_do_what_where() -> None:
    names = ClientName("desk"), ServerName("notes"), SessionId("s")
    wanted = sentence(Call(*names, "client", "tools/call", "write", {}, ""))
    assert wanted == "desk wants to use the tool write of notes"
    asked = sentence(Call(*names, "server", "sampling/createMessage", "sampling/createMessage", {}, ""))
    assert asked == "notes wants to ask your model something: sampling/createMessage (through desk)"


def test_a_target_in_a_sentence_is_bounded_and_on_one_line() -> None:
    assert shown("file:///notes/one") == "file:///notes/one"
    assert shown("größe") == "größe"
    assert shown("x\n    why: harmless\x1b[A") == r"'x\n    why: harmless\x1b[A'"
    assert shown("\u202egpj.exe") == r"'\u202egpj.exe'"
    assert len(shown("x" * 5000)) == MAX_TARGET
