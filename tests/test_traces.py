"""An exported audit log is replayed as any other trace: against another policy, and against the laws."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from broker.audit.export import jsonl
from broker.cli import main
from broker.model import JsonObject
from tests.house import Rooms, housed, pin_server
from tests.protocol.stage import INITIALIZE, INITIALIZED, call
from tests.test_judge import answered, mailbox, reply

POLICY: Final = 'version = 1\nname = "{}"\ndescription = "-"\n[[rule]]\nname = "{}"\neffect = "{}"\nreason = "-"\n'


async def two_servers(rooms: Rooms) -> None:
    """A read of one server, and a call of another that a person says yes to."""
    pin_server(rooms, "other")
    ends = [rooms.enter(name)[1] for name in ("notes", "other")]
    for number, far in enumerate(ends):
        await far.say(INITIALIZE, INITIALIZED, call(1, text=f"line {number}"))
        if number:
            await answered(rooms, allowed=True)
        await reply(far, 1)
        far.close()


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[JsonObject], list[JsonObject]]:
    """All receipts of such a session, opened and sealed."""
    folder = tmp_path_factory.mktemp("lived")

    async def live() -> tuple[list[JsonObject], list[JsonObject]]:
        async with housed(folder, toy=mailbox) as rooms:
            await two_servers(rooms)
            opened = [jsonl(entry) for entry in rooms.receipts()]
            lines = [line for file in sorted(rooms.paths.audit.glob("*.jsonl")) for line in file.open()]
        return opened, [json.loads(line) for line in lines]

    return asyncio.run(live())


def written(folder: Path, rows: list[JsonObject]) -> str:
    file = folder / "audit.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


Entries = tuple[list[JsonObject], list[JsonObject]]


def test_an_exported_log_is_replayed_and_went_by_the_laws(
    tmp_path: Path, entries: Entries, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "quiet.toml"
    policy.write_text(POLICY.format("quiet", "no", "deny"))
    file = written(tmp_path, entries[0])
    assert main(["replay", file, "--against", str(policy), "--json"]) == 0
    row, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["calls"], [one["rule"] for one in row["holds"]], row["denies"]) == (2, ["R3"], [])
    assert [(one["index"], one["policy"]["verdict"], one["against"]["verdict"]) for one in row["changed"]] == [
        (0, "allow", "deny"), (1, "ask", "deny")
    ]  # fmt: skip
    summary = last["summary"]
    assert (summary["holds"], summary["changed"], summary["laws_broken"]) == (1, 2, 0)
    assert summary["against"]["denies"] == 2
    assert main(["replay", file, "--against", str(policy)]) == 0
    told = capsys.readouterr().out
    assert "call 2: ask (R3), and against that deny (no)" in told and "against quiet: 0 held, 2 denied" in told


def test_a_log_in_which_nobody_said_yes_goes_against_the_laws_and_says_where(
    tmp_path: Path, entries: Entries, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, [row for row in entries[0] if row["kind"] != "answer"])
    assert main(["replay", file, "--json"]) == 1
    row, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["broken"] and all("on record: entry" in line and ": T2: " in line for line in row["broken"])
    assert last["summary"]["laws_broken"] == 1


def test_what_is_sealed_or_cut_off_or_no_receipt_is_named_by_file_and_line(
    tmp_path: Path, entries: Entries, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, sealed = entries
    number = 1 + next(at for at, row in enumerate(sealed) if row["kind"] in ("decision", "result"))
    assert main(["replay", written(tmp_path, sealed)]) == 1
    told = capsys.readouterr().err
    assert f"audit.jsonl, line {number}: what was said is sealed" in told
    assert "try: bulkhead audit export --bodies" in told
    file = Path(written(tmp_path, opened))
    file.write_bytes(file.read_bytes()[:-30])
    assert main(["replay", str(file)]) == 1
    assert f"audit.jsonl, line {len(opened)} is not JSON; the file ends in the middle of it" in capsys.readouterr().err
    assert main(["replay", written(tmp_path, [*opened[:3], {"id": "a", "events": []}])]) == 1
    assert "audit.jsonl, line 4 is no receipt" in capsys.readouterr().err
