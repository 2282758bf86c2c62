"""`declassify`: one card with what is known of one read, and a yes to exactly it.  `client answers`: on and off."""

import json
from collections.abc import Iterator

import pytest

from broker.api import schema
from tests.cli.test_main import SESSION, Desk, bulkhead, running


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("h")
        patch.setenv("BULKHEAD_HOME", str(home))
        with running(home.resolve()) as found:
            yield found


def test_a_read_is_declassified_by_a_yes_to_its_card_and_by_nothing_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = SESSION.readings[0]
    desk.answers = {
        "sessions": schema.Sessions(sessions=[SESSION]), "session.declassify": read.model_copy(update={"clean": True})
    }  # fmt: skip
    assert bulkhead("declassify", "r9") == 1
    assert "no live session has a read 'r9'" in capsys.readouterr().err
    assert bulkhead("declassify", "r1") == 1, "nobody was there to say yes"
    shown = capsys.readouterr().out
    assert "desk (session s1) has read notes:" in shown and "[private], 2 times" in shown and "counts again" in shown
    assert [method for method, _ in desk.asked if method == "session.declassify"] == []
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "y")
    assert bulkhead("declassify", "r1") == 0
    assert desk.asked[-1] == ("session.declassify", schema.Declassify(read="r1"))
    capsys.readouterr()
    assert bulkhead("declassify", "r1", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["clean"] is True


def test_answers_inside_a_client_are_turned_on_and_off_by_its_name(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.answers = {"client.answers": schema.Nothing()}
    assert bulkhead("client", "answers", "desk", "on") == 0
    assert desk.asked[-1] == ("client.answers", schema.ClientAnswers(name="desk", on=True))
    assert "answered inside it too, for once each" in capsys.readouterr().out
    assert bulkhead("client", "answers", "desk") == 2
    assert "try: bulkhead client answers desk on" in capsys.readouterr().err
