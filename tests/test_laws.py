"""The verifier that reads receipts alone finds what breaks the rules, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from broker import laws
from broker.laws import violations

BLANK: Final[dict[str, Any]] = {
    "session": "s", "client": "desk", "server": "mail", "link": "l1", "kind": "decision", "side": "client",
    "method": "tools/call", "target": "send", "request": 1, "verdict": "allow", "rule": "agreed-server",
    "reason": "fine", "evidence": [], "digest": "d", "body": None, "time": "2026-01-01T00:00:00Z",
}  # fmt: skip
READ: Final = [
    {**BLANK, "evidence": ["class L in mail part m1"]},
    {**BLANK, "kind": "result", "side": "server", "verdict": None},
]
SEND: Final = {**BLANK, "server": "files", "link": "l2", "evidence": ["class H in files"]}
YES: Final = {
    **SEND,
    "kind": "answer",
    "side": "person",
    "reason": "allowed by somebody, once (R5 token 0123456789abcdef)",
}
GONE: Final = {**SEND, "rule": "person:R3", "reason": "a person said yes (R5 token 0123456789abcdef)"}


def found(*entries: dict[str, Any]) -> list[str]:
    return [line.split(": ")[1] for line in violations(entries)]


def test_an_effect_after_a_read_of_elsewhere_needs_a_yes_to_exactly_it() -> None:
    assert found(*READ, YES, GONE) == []
    assert found(*READ, SEND) == ["T1"] and found(SEND, *READ) == []
    assert found(*READ, {**SEND, "evidence": []}) == ["T1"], "what says no class is an effect"
    assert found(*READ, {**SEND, "evidence": ["class L in files"]}) == []
    assert found(*READ, YES, {**GONE, "digest": "e"}) == ["T1"]


def test_a_part_of_a_server_is_a_place_of_its_own() -> None:
    send = {**SEND, "server": "mail", "link": "l1"}
    assert found(*READ, {**send, "evidence": ["class H in mail part m1"]}) == []
    assert found(*READ, {**send, "evidence": ["class H in mail part m2"]}) == ["T1"]


def test_one_yes_lets_one_call_go_in_time_and_in_its_session() -> None:
    assert found(*READ, YES, GONE, {**GONE, "request": 2}) == ["T4"]
    assert found(*READ, YES, {**GONE, "time": "2026-01-01T00:02:01Z"}) == ["T4"]
    assert found(*READ, GONE) == ["T2"]
    assert found(*READ, {**YES, "session": "t"}, GONE) == ["T2"]


@pytest.mark.parametrize("kind", [
    {"kind": "notification", "side": "server", "method": "notifications/message", "body": {"data": "x"}},
    {"kind": "result", "side": "broker", "method": "resources/list", "body": {"pinned": "resources", "count": 1}},
    {"kind": "result", "side": "server", "method": "tasks/result", "body": {"result": {"x": 1}}},
    {"kind": "result", "side": "server", "method": "tools/call", "body": {"error": {"message": "x"}}},
    {"kind": "decision", "side": "server", "method": "sampling/createMessage", "body": {"messages": []}},
])  # fmt: skip
def test_whatever_brings_words_of_a_server_is_a_read(kind: dict[str, Any]) -> None:
    assert found({**BLANK, **kind}, SEND) == ["T1"]


def test_what_was_dropped_or_refused_was_not_read_and_a_new_session_has_read_nothing() -> None:
    dropped = {**READ[1], "body": {"dropped": "it was cancelled"}}
    refused = {**READ[1], "side": "broker", "body": {"result": {"isError": True}}}
    assert found(dropped, SEND) == [] and found(*READ, refused, SEND) == []
    anew = {**BLANK, "session": "", "kind": "link-closed", "side": "person", "method": "session.new"}
    assert found(*READ, anew, SEND) == []


def test_what_a_person_declassified_holds_nothing_until_it_is_read_again() -> None:
    body = {"part": "m1", "method": "tools/call", "target": "send"}
    mark = {**BLANK, "kind": "policy", "side": "person", "method": "session.declassify", "body": body}
    assert found(*READ, mark, SEND) == [] and found(mark, *READ, SEND) == ["T1"]
    assert found(*READ, mark, *READ, SEND) == ["T1"]
    for other in ({"session": "t"}, {"side": "client"}, {"server": "web"}, {"body": {**body, "target": "x"}}):
        assert found(*READ, {**mark, **other}, SEND) == ["T1"]


def test_it_reads_an_exported_log_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in (*READ, SEND)))
    done = subprocess.run([sys.executable, "-m", "broker.laws", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "entry 3: T1: send of ('files', '') went after ('mail', 'm1') was read, and nobody said yes\n",
    )


def test_it_shares_nothing_with_what_it_checks() -> None:
    source = Path(laws.__file__).read_text()
    assert "import broker" not in source and "from broker" not in source
