"""The program around the screens: the daemon goes away and comes back, and the daemon never pays for the screen."""

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ui import scenes
from tests.ui.bench import HandClock, screen
from tests.ui.fake_desk import WAIT, FakeDesk
from ui.widgets.card import Card, Chosen

pytestmark = pytest.mark.anyio


async def test_a_daemon_that_went_away_is_said_and_its_questions_can_no_longer_be_answered(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        await bench.desk.go_away()
        await bench.until(lambda: "DAEMON AWAY" in bench.seen)
        assert "start it with: bulkhead up" in " ".join(bench.seen.split())
        assert "nothing can be asked or answered now" in bench.seen
        await bench.press("o", "d", "escape", "enter")
        assert bench.desk.answered == []


async def test_when_the_daemon_is_back_the_screen_starts_again_from_a_snapshot(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.desk.go_away()
        await bench.until(lambda: "DAEMON AWAY" in bench.seen)
        async with FakeDesk(socket, scenes.snapshot(questions=[scenes.CONNECTION], sessions=[])):
            await bench.until(lambda: "cursor wants to connect" in bench.seen)
            assert "DAEMON AWAY" not in bench.seen
            assert "A call is held" not in bench.seen
            await bench.press("2")
            assert "No sessions" in bench.seen


async def test_a_confirmation_closes_when_the_daemon_goes_away(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("a")
        await bench.read_card()
        await bench.desk.go_away()
        await bench.until(lambda: len(bench.app.screen_stack) == 1)
        await bench.press("y")
        assert bench.desk.answered == []


@pytest.mark.parametrize(
    "line", [b"not json\n", b'{"id": 1, "event": {"event": "from the future"}}\n', b'{"id": 1}\n', b"[]\n", b"7\n"]
)
async def test_words_it_does_not_understand_are_said_and_the_screen_starts_again(
    socket: Path, clock: HandClock, line: bytes
) -> None:
    async with screen(socket, clock) as bench:
        await bench.desk.say_raw(line)
        await bench.desk.watched(times=2)
        await bench.until(lambda: bench.app.known.events == 2)
        assert "A call is held" in bench.seen


async def test_an_unsafe_daemon_is_said_on_every_place(socket: Path, clock: HandClock) -> None:
    status = scenes.STATUS.model_copy(update={"presence": "unsafe-no-presence"})
    async with screen(socket, clock, scenes.snapshot(status=status)) as bench:
        for place in "1234":
            await bench.press(place)
            assert "UNSAFE-NO-PRESENCE: any program may answer in your place" in bench.seen


async def test_a_policy_that_did_not_load_and_changed_documents_are_said(socket: Path, clock: HandClock) -> None:
    status = scenes.STATUS.model_copy(
        update={"policy_problem": "unknown key alow in line 3", "drifted_documents": ["servers.toml"]}
    )
    async with screen(socket, clock, scenes.snapshot(status=status)) as bench:
        assert "policy: unknown key alow in line 3" in bench.seen
        assert "changed outside Bulkhead, not in force: servers.toml" in bench.seen


async def test_a_machine_without_a_sandbox_is_said_loudly(socket: Path, clock: HandClock) -> None:
    status = scenes.STATUS.model_copy(update={"tier": "none", "tier_note": "user namespaces are switched off"})
    async with screen(socket, clock, scenes.snapshot(status=status)) as bench:
        assert "!! NO SANDBOX on this machine: user namespaces are switched off" in bench.seen


async def test_the_status_line_says_version_tier_keychain_policy_and_open_questions(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        assert "bulkhead 0.1.0  tier bubblewrap  keychain file  policy balanced  2 open" in bench.seen


async def test_what_matters_can_be_found_without_colour(
    socket: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with screen(socket, clock) as bench:
        assert bench.app.no_color
        lines = bench.seen.splitlines()
        assert lines[0].startswith(" ▸ 1 Questions")
        assert lines[2].startswith("▸ call")
        assert bench.app.focused is not None
        assert bench.app.focused.styles.text_style.reverse


async def test_help_and_the_other_theme_are_one_key_away(socket: Path, clock: HandClock) -> None:
    async with screen(socket, clock) as bench:
        await bench.press("t")
        assert bench.app.theme == "textual-light"
        await bench.press("question_mark")
        assert "answer keys do nothing for 0.7 s" in bench.seen
        await bench.press("question_mark")
        assert "A call is held" in bench.seen


async def test_run_opens_on_a_real_terminal_and_returns_0_when_the_person_leaves(socket: Path) -> None:
    program = "import sys; from pathlib import Path; from ui.app import run; sys.exit(run(Path(sys.argv[1])))"
    ours, theirs = pty.openpty()
    drawn = bytearray()
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()

    def read() -> None:
        try:
            drawn.extend(os.read(ours, 65_536))
        except OSError:  # the other side closed
            loop.remove_reader(ours)
        if b"A call is held" in drawn:
            seen.set()

    async with FakeDesk(socket, scenes.snapshot()) as desk:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, str(socket), stdin=theirs, stdout=theirs, stderr=theirs,
            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
        )  # fmt: skip
        os.close(theirs)
        loop.add_reader(ours, read)
        try:
            async with asyncio.timeout(WAIT):  # a cold start on a busy machine
                await seen.wait()
                os.write(ours, b"q")
                assert await process.wait() == 0
        finally:
            loop.remove_reader(ours)
            os.close(ours)
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert desk.answered == []


@pytest.mark.parametrize("module", ["ui", "broker.cli", "broker.api.schema"])
def test_nothing_but_the_opened_screen_imports_textual(module: str) -> None:
    probe = f"import {module}, sys; sys.exit(any(name.split('.')[0] == 'textual' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", probe], timeout=60, check=False).returncode == 0


async def test_a_confirmation_whose_question_went_before_it_opened_closes_by_itself(
    socket: Path, clock: HandClock
) -> None:
    async with screen(socket, clock) as bench:
        card = bench.app.screen.query_one(Card)
        assert card.question is not None
        chosen = Chosen(card.question, "always")
        bench.app.known.lose("the daemon went away")  # between the key and the window, nothing else is ever said
        card.post_message(chosen)
        await bench.until(lambda: "nothing was answered" in bench.seen)
        assert len(bench.app.screen_stack) == 1
        assert bench.desk.answered == []
