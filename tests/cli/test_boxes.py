"""`limits`, `sandbox`, `state` and the same choices of `add`: what is asked of the desk, and what a person is shown."""

import json
from collections.abc import Iterator
from typing import Final

import pytest

from broker.api import schema
from tests.cli.test_main import Desk, bulkhead, running

VIEW: Final = schema.SandboxView(name="notes", boxed=True, state="none", tier="A", limits={"memory": "64M"})
PROPOSAL: Final = schema.Proposal(
    id="p1", name="notes", digest="d" * 64, lines=["runs notes"], state="server", keeps="its memory is one file"
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("h")
        patch.setenv("BULKHEAD_HOME", str(home))
        with running(home.resolve()) as found:
            yield found


@pytest.fixture(autouse=True)
def fresh(desk: Desk) -> None:
    desk.asked.clear()
    desk.answers = {"server.sandbox": VIEW, "server.sandbox.show": VIEW, "server.prepare": PROPOSAL}


def test_limits_are_shown_and_changed_and_nonsense_is_refused_before_a_daemon_is_asked(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulkhead("limits", "notes") == 0
    assert "memory" in capsys.readouterr().out
    assert bulkhead("limits", "notes", "--memory", "64M", "--open-files", "100", "--json") == 0
    assert json.loads(capsys.readouterr().out)["limits"] == {"memory": "64M"}
    chosen = schema.SandboxChoice(name="notes", limits={"memory": "64M", "open-files": "100"})
    assert desk.asked == [("server.sandbox.show", schema.Name(name="notes")), ("server.sandbox", chosen)]
    assert bulkhead("limits", "notes", "--memory", "lots") != 0
    assert "write a size such as 512M or 2G" in capsys.readouterr().err and len(desk.asked) == 2


def test_a_server_leaves_its_box_only_with_a_yes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("broker.cli.output.ask", lambda *_: "n")
    assert bulkhead("sandbox", "notes", "off") == 1
    assert desk.asked == [] and "it stays in its sandbox" in capsys.readouterr().out
    assert bulkhead("sandbox", "notes", "off", "--yes") == 0
    assert desk.asked == [("server.sandbox", schema.SandboxChoice(name="notes", boxed=False))]


def test_what_is_kept_is_listed_cleared_and_chosen(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    kept = schema.StateView(server="notes", key="server", size=4096, in_use=True)
    desk.answers["states"] = schema.States(states=[kept])
    assert bulkhead("state", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [kept.model_dump()]
    assert bulkhead("state", "clear", "notes") == 0
    assert bulkhead("state", "use", "notes", "server") == 0
    assert desk.asked[1:] == [
        ("state.clear", schema.Name(name="notes")),
        ("server.sandbox", schema.SandboxChoice(name="notes", state="server")),
    ]
    assert bulkhead("state", "clear") != 0
    assert bulkhead("state", "use", "notes") != 0
    assert "try: bulkhead state clear NAME" in (said := capsys.readouterr().err) and "none|session|server" in said


@pytest.mark.parametrize(
    ("words", "replaces", "state", "limits", "shown"),
    [
        ((), False, "server", {}, "its memory is one file (so says Bulkhead's own label of this package)"),
        (("--state", "none"), False, "none", {}, ""),
        (("--state", "session"), False, "session", {}, "it keeps a folder of its own for each session of a client"),
        ((), True, None, {}, ""),
        (("--memory", "64M", "--state", "none"), False, "none", {"memory": "64M"}, "its own limits: memory 64M"),
    ],
)
def test_adding_shows_what_is_kept_and_limited_before_the_yes_that_covers_it(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    replaces: bool,
    state: str | None,
    limits: dict[str, str],
    shown: str,
) -> None:
    desk.answers["server.prepare"] = PROPOSAL.model_copy(update={"replaces": replaces})
    bulkhead("add", "notes", "--yes", *words, "--", "npx", "-y", "notes")
    (agreed,) = (params for method, params in desk.asked if method == schema.AGREE.method)
    assert isinstance(agreed, schema.Agree) and (agreed.state, agreed.limits) == (state, limits)
    said = capsys.readouterr().out
    assert shown in said
    assert ("it keeps" in said) is (state in ("session", "server"))


def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_prepared(desk: Desk) -> None:
    assert bulkhead("add", "notes", "--yes", "--processes", "2", "--", "npx", "-y", "notes") != 0
    assert desk.asked == []


def test_adding_shows_how_its_connections_are_looked_into_before_the_yes_that_covers_it(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--host", "api.example.com", "--rule", "GET api.example.com/v1/*"]
    words += ["--inject", "TOKEN Authorization GET api.example.com/v1/*", "--env", "TOKEN=s3cret"]
    bulkhead("add", "notes", "--yes", *words, "--", "npx", "-y", "notes")
    (agreed,) = (params for method, params in desk.asked if method == schema.AGREE.method)
    assert isinstance(agreed, schema.Agree) and agreed.inspect and agreed.rules == ["GET api.example.com/v1/*"]
    place = schema.SecretPlace(
        name="TOKEN", header="Authorization", host="api.example.com", method=["GET"], path="/v1/*"
    )
    assert agreed.secrets == [place]
    said = capsys.readouterr().out
    assert "looked into" in said and "GET api.example.com/v1/*" in said and "s3cret" not in said
    assert bulkhead("add", "notes", "--inject", "TOKEN", "--", "npx", "-y", "notes") == 2
    assert "--inject takes four words" in capsys.readouterr().err
