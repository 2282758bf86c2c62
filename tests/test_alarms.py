"""Alerts: when one is due, told once and in our own words, and sent nowhere but where a person said."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.alarms.book import MAX_UNTOLD, Alarms, Alert
from broker.alarms.rules import AlertRules, parse_alerts
from broker.alarms.telling import tell
from broker.alarms.vitals import MAX_TIMED, Vitals
from broker.alarms.webhook import Webhook
from broker.errors import PolicyError, SandboxError
from broker.model import Decision, Fact, Verdict
from tests.waiting import WITHIN, until

ALERT = Alert(1, "drift", "notes", "", "notes advertises other things than you agreed to", 1.0, 1.0)
SECRET_PATH = "/services/T0/very-secret"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Documents:
    def __init__(self, text: bytes) -> None:
        self.text = text

    def load(self, _name: str) -> bytes | None:
        return self.text


class Hands:
    """Two clocks moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def alarms_with(text: str, clock: Hands) -> Alarms:
    return Alarms(AlertRules(Documents(f"version = 1\n{text}".encode())), clock=clock)


def decision(verdict: Verdict) -> Fact:
    return Fact("decision", "client", "tools/call", "write", decision=Decision(verdict, "rule", "reason"))


def result(failed: bool) -> Fact:
    body: dict[str, Any] = {"result": {"isError": failed, "content": []}}
    return Fact("result", "server", "tools/call", "write", body=body)


def answers(vitals: Vitals, *failed: bool) -> None:
    link = vitals.link("cursor", "notes")
    for turn, one in enumerate(failed, 1):
        link.heard(decision(Verdict.ALLOW), turn)
        link.heard(result(one), turn)


def test_half_of_ten_answers_being_errors_is_an_alert_and_nine_answers_are_none() -> None:
    clock = Hands()
    vitals = Vitals(Alarms(clock=clock), clock)
    answers(vitals, *[True] * 9)
    assert vitals.alarms.all() == ()
    answers(vitals, True)
    [alert] = vitals.alarms.all()
    assert (alert.rule, alert.server, alert.text) == (
        "errors",
        "notes",
        "10 of the last 10 answers of notes were errors",
    )


def test_errors_that_are_few_or_long_ago_are_no_alert() -> None:
    clock = Hands()
    vitals = Vitals(Alarms(clock=clock), clock)
    answers(vitals, *[True] * 9)
    clock.now += 61
    answers(vitals, *[True, False, False] * 6)
    assert vitals.alarms.all() == ()


def test_a_burst_of_denials_is_an_alert_about_that_client_at_that_server() -> None:
    clock = Hands()
    vitals = Vitals(alarms_with("denied = { calls = 3, seconds = 10 }", clock), clock)
    for client in ("cursor", "zed", "cursor"):
        vitals.link(client, "notes").heard(decision(Verdict.DENY), 0)
    clock.now += 11
    vitals.link("cursor", "notes").heard(decision(Verdict.DENY), 0)
    assert vitals.alarms.all() == ()
    for _ in range(2):
        vitals.link("cursor", "notes").heard(decision(Verdict.DENY), 0)
    assert [(alert.rule, alert.client) for alert in vitals.alarms.all()] == [("denied", "cursor")]


def test_the_same_alert_is_counted_within_its_quiet_time_and_told_again_after_it() -> None:
    clock = Hands()
    alarms = alarms_with("quiet = 60", clock)
    for _ in range(3):
        alarms.sound("drift", "notes", "notes changed")
    assert [(alert.times, alert.number) for alert in alarms.all()] == [(3, 1)]
    clock.now += 61
    alarms.sound("drift", "notes", "notes changed")
    alarms.sound("drift", "time", "time changed")
    assert [(alert.server, alert.times) for alert in alarms.all()] == [("notes", 3), ("notes", 1), ("time", 1)]


def test_a_rule_that_is_off_is_silent() -> None:
    alarms = alarms_with('off = ["drift"]', Hands())
    alarms.sound("drift", "notes", "notes changed")
    assert alarms.all() == ()


def test_a_sample_says_what_happened_since_the_last_one_and_the_times_clients_waited() -> None:
    clock = Hands()
    vitals = Vitals(Alarms(clock=clock), clock)
    link = vitals.link("cursor", "notes")
    for turn in range(1, 101):
        link.heard(decision(Verdict.ALLOW), turn)
    for turn in range(1, 101):
        clock.now += 0.001
        link.heard(result(turn == 100), turn)
    link.heard(decision(Verdict.ASK), 101)
    link.heard(decision(Verdict.DENY), 102)
    done = vitals.sample(5.0, 10.0, 20.0)
    assert (done.answers, done.errors, done.holds, done.denials) == (100, 1, 1, 1)
    assert (round(done.half, 3), round(done.most, 3), done.memory, done.servers) == (0.051, 0.099, 10.0, 20.0)
    assert vitals.sample(7.0, 0.0, 0.0).answers == 0
    answers(vitals, *[False] * (MAX_TIMED + 10))
    assert vitals.sample(9.0, 0.0, 0.0).answers == MAX_TIMED + 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 2", "'version' is not acceptable"),
        ("version = 1\nwebhok = 'https://a.example'", "'webhok' is not acceptable"),
        ("version = 1\nwebhook = 'http://a.example/x'", "the webhook: http://a.example is not encrypted"),
        ("version = 1\nwebhook = 'https://me:word@a.example/x'", "holds no user name"),
        ("version = 1\noff = ['everything']", "'off.0' is not acceptable"),
        ("version = 1\nerrors = { share = 2 }", "'errors.share' is not acceptable"),
        ("no toml", "is not TOML"),
    ],
)
def test_a_document_that_says_what_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_alerts(text.encode(), "alerts.toml")


def test_a_document_that_was_broken_by_hand_leaves_the_last_rules_in_force() -> None:
    documents = Documents(b"version = 1\nquiet = 7")
    rules = AlertRules(documents)
    documents.text = b"nonsense"
    assert "is not TOML" in rules.reload()
    assert rules.current.quiet == 7


# --- telling --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(*statuses: int) -> AsyncIterator[tuple[str, list[tuple[bytes, bytes]]]]:
    """An address on this machine that answers with these statuses in turn, and what it was sent."""
    heard: list[tuple[bytes, bytes]] = []
    left = list(statuses)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        [size] = [
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        heard.append((head, await reader.readexactly(size)))
        where = b"location: /elsewhere\r\n" if left[0] == 302 else b""
        writer.write(b"HTTP/1.1 %d x\r\n%scontent-length: 0\r\nconnection: close\r\n\r\n" % (left.pop(0), where))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{SECRET_PATH}", heard


@pytest.mark.anyio
async def test_a_webhook_is_sent_what_the_screen_shows_and_asked_again_when_it_fails() -> None:
    async with listening(500, 200) as (url, heard), asyncio.timeout(WITHIN):
        assert await Webhook(url, pauses=(0.0, 0.0, 0.0))(ALERT)
    assert [json.loads(body) for _, body in heard] == [
        {"from": "bulkhead", "number": 1, "rule": "drift", "server": "notes", "client": "", "text": ALERT.text,
         "at": 1.0, "last": 1.0, "times": 1}
    ] * 2  # fmt: skip


@pytest.mark.anyio
async def test_a_webhook_that_keeps_failing_is_given_up_and_its_path_is_in_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening(500, 302, 404) as (url, heard), asyncio.timeout(WITHIN):
        assert not await Webhook(url, pauses=(0.0, 0.0, 0.0))(ALERT)
    assert len(heard) == 3  # a redirect leads nowhere
    assert "did not take an alert: it answered 404" in caplog.text
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize("url", ["http://alerts.example/x", "ftp://127.0.0.1/x", "https://10.0.0.1.example:bad/"])
def test_a_webhook_is_https_or_this_machine(url: str) -> None:
    with pytest.raises(SandboxError):
        Webhook(url)


@pytest.mark.anyio
async def test_a_name_that_leads_into_the_users_own_network_is_not_dialled(caplog: pytest.LogCaptureFixture) -> None:
    assert not await Webhook("https://169.254.169.254/x", pauses=(0.0,))(ALERT)
    assert "did not take an alert" in caplog.text


@pytest.mark.anyio
async def test_each_alert_goes_to_the_desktop_when_nobody_watches_and_to_the_webhook_always() -> None:
    alarms = alarms_with('webhook = "https://a.example/x"', Hands())
    shown, hooked, watched = list[str](), list[str](), [False]

    def hook(url: str) -> Any:
        async def send(alert: Alert) -> bool:
            hooked.append(f"{url} {alert.server}")
            return True

        return send

    def show(alert: Alert) -> None:
        shown.append(alert.server)
        raise OSError("no desktop")

    task = asyncio.create_task(tell(alarms, lambda: watched[0], show, hook))
    alarms.sound("drift", "notes", "changed")
    await until(lambda: len(hooked) == 1)
    watched[0] = True
    alarms.sound("drift", "time", "changed")
    await until(lambda: len(hooked) == 2)
    task.cancel()
    assert (shown, hooked) == (["notes"], ["https://a.example/x notes", "https://a.example/x time"])


@pytest.mark.anyio
async def test_alerts_that_wait_to_be_told_are_bounded() -> None:
    alarms = Alarms(clock=Hands())
    for number in range(MAX_UNTOLD + 5):
        alarms.sound("drift", f"s{number}", "changed")
    assert (await alarms.next()).server == "s5"
