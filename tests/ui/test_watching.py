"""Doctor, clients, dashboard, catalog: what they show, what their keys do, and that foreign words stay inert."""

import json
from pathlib import Path

import pytest

from broker.api import schema
from tests.ui import scenes
from tests.ui.bench import HandClock, screen
from ui.shell import Printed

pytestmark = pytest.mark.anyio


async def test_the_doctor_looks_when_its_place_is_opened_and_says_what_to_do(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        bench.shell.prints["doctor"] = Printed(1, json.dumps(scenes.FINDINGS))
        await bench.press("7")
        await bench.until(lambda: "3 findings: 1 bad, 1 warning" in bench.seen)
        lines = bench.seen.splitlines()
        assert next(line for line in lines if line.startswith("▸")).split()[1:3] == ["BAD", "user"]  # the worst first
        assert "To do: write this into" in bench.seen
        await bench.press("enter")
        assert all("▌" in line for line in bench.seen.splitlines() if "abi <abi/4.0>" in line)
        bench.shell.prints["doctor"] = Printed(1, "not json", "it came to no end within 300 s")
        await bench.press("escape", "r")
        await bench.until(lambda: "the doctor said nothing: it came to no end" in bench.seen)
        assert bench.shell.asked == [("doctor", "--json")] * 2


async def test_the_doctor_works_while_the_daemon_is_away(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        bench.shell.prints["doctor"] = Printed(0, json.dumps(scenes.FINDINGS))
        await bench.desk.go_away()
        await bench.until(lambda: "DAEMON AWAY" in bench.seen)
        await bench.press("7")
        await bench.until(lambda: "3 findings" in bench.seen)


async def test_an_entry_that_came_back_is_seen_everywhere_and_imported_with_one_key(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        assert "6 Cli(1)" in bench.seen  # from the home screen
        await bench.press("6")
        assert "AGAIN" in bench.seen and "not read: is not JSON" in bench.seen
        await bench.press("i")
        assert "nothing of it goes past Bulkhead" in bench.seen
        await bench.press("down", "enter")
        assert "they were moved in before" in bench.seen and "▌ fetch" in bench.seen
        assert "project file: /home/ann/src/.cursor/mcp.json" in bench.seen
        await bench.press("escape", "i")
        # no terminal is behind this screen: what to type is said instead
        await bench.until(lambda: "run this in a terminal: bulkhead import cursor" in bench.seen)
        fixed = [one.model_copy(update={"past": [], "came_back": False}) for one in scenes.APPLICATIONS]
        await bench.show(schema.ApplicationsChanged(applications=fixed))
        assert "AGAIN" not in bench.seen and "3 Serv(1) 4 Audit 5 Pol ▸ 6 Clients  7" in bench.seen


async def test_a_new_alert_is_said_on_every_place_and_counted_until_the_dashboard_was_looked_at(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        assert "8 Dash(2)" in bench.seen
        new = schema.AlertView(number=3, rule="malware", server="time", text="what time runs is known as malware",
                               at=scenes.NOON, last=scenes.NOON)  # fmt: skip
        await bench.show(schema.AlertsChanged(alerts=[*scenes.ALERTS, new]))
        assert "ALERT (8 shows all): what time runs is known as malware" in bench.seen
        assert "8 Dash(3)" in bench.seen
        await bench.press("8")
        assert "▸ 8 Dashboard\n" in bench.seen and "MALWARE" in bench.seen
        assert "memory of the daemon" in bench.seen and "█" in bench.seen
        await bench.press("enter")
        assert "bulkhead remove NAME" in bench.seen
        await bench.press("escape", "1")
        assert "8 Dash " in f"{bench.seen.splitlines()[0]} "


async def test_a_catalog_is_searched_and_a_tool_switched_off_at_once_and_on_after_a_second_yes(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("3", "c")
        assert "Catalog of filesystem  2 tools of 2" in bench.seen
        await bench.press("slash", *"writes one", "enter")
        assert "Catalog of filesystem  1 tool of 2" in bench.seen
        await bench.press("enter")
        assert all("▌" in line for line in bench.seen.splitlines() if "[bold red]" in line) and "\x1b" not in bench.seen
        await bench.press("escape", "space")
        assert await bench.desk.asked_for(schema.DISABLE) == [schema.Name(name="filesystem/write_file")]
        off = scenes.FILESYSTEM.model_copy(update={"disabled_tools": ["write_file"]})
        await bench.show(schema.ServersChanged(servers=[off, scenes.TIME]))
        assert "▸ off  write_file" in bench.seen
        await bench.press("space")
        await bench.read_card()
        await bench.press("enter")
        assert len(bench.desk.answered) == 1
        await bench.press("space")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.ENABLE) == [schema.Name(name="filesystem/write_file")]
        await bench.show(schema.ServersChanged(servers=[scenes.TIME]))
        await bench.until(lambda: len(bench.app.screen_stack) == 1)


async def test_a_server_s_page_says_who_signed_in_and_names_its_secrets_and_off_is_one_key(
    socket: Path, clock: HandClock
) -> None:
    token = schema.TokenView(client="cursor", server="filesystem", state="signed in", issuer="https://login.example",
                             expires=scenes.NOON + 60, renews=True)  # fmt: skip
    secrets = schema.SecretList(
        vault=schema.VaultView(where="file", lasts=True),
        secrets=[schema.SecretView(name="github-key", kept=False, servers=["filesystem"])],
    )
    async with screen(socket, clock, size=(120, 60)) as bench:
        bench.desk.answers["tokens"] = lambda _: schema.TokenList(tokens=[token])
        bench.desk.answers["secrets"] = lambda _: secrets
        await bench.press("3")
        await bench.desk.asked_for(schema.SECRETS)
        await bench.until(lambda: not bench.app.known.in_flight)
        await bench.press("enter")
        assert "cursor: signed in until 12:01:00, renewed by itself  at https://login.example" in bench.seen
        assert "github-key  (missing: bulkhead secret set)" in bench.seen
        await bench.press("escape", "space")
        assert await bench.desk.asked_for(schema.DISABLE) == [schema.Name(name="filesystem")]
        for key, line in (
            ("p", "pin filesystem --update"),
            ("w", "sandbox learn filesystem"),
            ("i", "login filesystem"),
        ):
            await bench.press(key)
            await bench.says(f"run this in a terminal: bulkhead {line}")
        await bench.press("a", *"x -- npx y", "enter")
        await bench.until(lambda: "run this in a terminal: bulkhead add x -- npx y" in bench.seen)


async def test_a_session_shows_its_reads_yeses_memory_and_autonomy_and_each_can_be_taken_back(
    socket: Path, clock: HandClock
) -> None:
    first = scenes.SESSIONS[0]
    read = schema.ReadView(id="r1", server="mail", what="tools/call search", labels=["P", "U"], times=3,
                           last=scenes.NOON, digest="d")  # fmt: skip
    session = first.model_copy(update={
        "readings": [read], "effects": 6, "autonomy": 0.5,
        "links": [link.model_copy(update={"memory": 70 << 20}) for link in first.links],
    })  # fmt: skip
    grant = schema.GrantView(id="g1", kind="call", client="claude-desktop", server="filesystem", target="write_file",
                             lifetime="session", session=first.id)  # fmt: skip
    async with screen(socket, clock, scenes.snapshot(sessions=[session], grants=[grant])) as bench:
        await bench.press("2")
        for words in ("6 effects, 50% of them without a question", "7 calls  70 MiB",
                      "has read private, untrusted from mail (tools/call search), 3 times",
                      "was allowed filesystem write_file until it ends"):  # fmt: skip
            assert words in bench.seen
        await bench.press("x")
        assert "put the cursor on a yes first" in bench.seen
        await bench.press("end", "x")
        assert await bench.desk.asked_for(schema.REVOKE) == [schema.Name(name="g1")]
        await bench.press("up", "h")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.DECLASSIFY) == [schema.Declassify(read="r1")]
        await bench.press("n")
        await bench.read_card()
        await bench.press("escape")
        await bench.press("n")
        await bench.read_card()
        await bench.press("y")
        assert await bench.desk.asked_for(schema.SESSION_NEW) == [schema.Name(name="claude-desktop")]


async def test_every_place_has_its_keys_on_its_help_page_and_in_the_palette(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        titles = ("Questions", "Sessions", "Servers", "Audit", "Policy", "Clients", "Doctor", "Dashboard")
        for number, title in enumerate(titles, 1):
            await bench.press(str(number), "question_mark")
            assert f"Keys of {title}" in bench.seen
            place = bench.app.screen_stack[0]
            commands = {command.title for command in bench.app.get_system_commands(place)}
            assert {*titles, "Help", "Quit", "Light or dark"} <= commands
            assert {"Explain", "Compare", "Learn", "Use"} <= commands or title != "Policy"
            await bench.press("escape")
