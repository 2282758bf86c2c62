"""A plan written into a client's file, and taken back byte for byte or around later edits."""

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.clients.apply import Undone, imported_clients, swap
from broker.clients.apply import apply as written
from broker.clients.apply import undo as taken_back
from broker.clients.backups import all_backups
from broker.clients.found import found_clients
from broker.clients.jsonc import parse
from broker.clients.plan import ImportPlan, plan_import
from broker.clients.tree import plain
from broker.errors import ConfigError
from broker.model import ClientName
from tests.clients.examples import CURSOR, PATHS, SECRET, apply, only, put, shim, undo

CURSOR_NAME = ClientName("cursor")


def moved_in(home: Path, backups: Path) -> ImportPlan:
    plan = plan_import(only(home), shim)
    apply(plan, backups)
    return plan


def left_in(folder: Path) -> list[str]:
    """Backups of any kind that are still there."""
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "state" / "clients"


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.claim("C60")
def test_an_import_is_undone_byte_for_byte(home: Path, backups: Path, client: str) -> None:
    path = put(home, client)
    before = path.read_bytes()
    plan = moved_in(home, backups)
    assert path.read_bytes() == plan.after.encode() != before

    [undone] = undo(ClientName(client), backups)

    assert path.read_bytes() == before
    assert (undone.path, undone.how, undone.notes) == (path, "restored", ())
    assert set(undone.servers) == {one.server for one in plan.replacements}
    assert left_in(backups) == []


@pytest.mark.parametrize("client", PATHS)
def test_importing_twice_changes_nothing_the_second_time(home: Path, backups: Path, client: str) -> None:
    path = put(home, client)
    moved_in(home, backups)
    after, kept = path.read_bytes(), left_in(backups)
    assert apply(plan_import(only(home), shim), backups) is None
    assert (path.read_bytes(), left_in(backups)) == (after, kept)


def test_undoing_twice_says_that_there_is_nothing_to_undo(home: Path, backups: Path) -> None:
    put(home, "cursor")
    moved_in(home, backups)
    undo(CURSOR_NAME, backups)
    with pytest.raises(ConfigError, match="there is nothing to undo for cursor") as caught:
        undo(CURSOR_NAME, backups)
    assert "bulkhead clients" in caught.value.hint


def test_a_second_import_after_an_undo_works_and_can_be_undone_too(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    first = moved_in(home, backups)
    undo(CURSOR_NAME, backups)
    assert moved_in(home, backups).after == first.after
    undo(CURSOR_NAME, backups)
    assert path.read_text() == CURSOR


def test_the_copy_and_its_note_are_the_owners_alone_and_the_note_holds_no_secret(home: Path, backups: Path) -> None:
    put(home, "claude-desktop")
    moved_in(home, backups)
    assert left_in(backups) == ["000001-claude-desktop.before", "000001-claude-desktop.json"]
    assert all(stat.S_IMODE((backups / name).stat().st_mode) == 0o600 for name in left_in(backups))
    assert stat.S_IMODE(backups.stat().st_mode) == 0o700
    assert not [name for name in left_in(backups) if SECRET.encode() in (backups / name).read_bytes()]
    assert imported_clients(backups) == ("claude-desktop",)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_of_the_file_is_kept(home: Path, backups: Path, mode: int) -> None:
    path = put(home, "cursor")
    path.chmod(mode)
    moved_in(home, backups)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    undo(CURSOR_NAME, backups)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_a_link_and_the_file_behind_it_is_edited(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    real = home / "dotfiles/cursor.json"
    real.parent.mkdir()
    path.rename(real)
    path.symlink_to(real)
    plan = moved_in(home, backups)
    assert path.is_symlink()
    assert real.read_text() == plan.after
    undo(CURSOR_NAME, backups)
    assert path.is_symlink()
    assert real.read_text() == CURSOR


def test_a_link_turned_elsewhere_between_reading_and_writing_is_refused(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    one, other = home / "one.json", home / "other.json"
    path.rename(one)
    other.write_bytes(one.read_bytes())
    path.symlink_to(one)
    plan = plan_import(only(home), shim)
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(ConfigError, match="changed while Bulkhead was at work"):
        apply(plan, backups)
    assert one.read_text() == other.read_text() == CURSOR


def test_a_file_changed_between_reading_and_writing_is_refused_and_left_as_it_is(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    plan = plan_import(only(home), shim)
    changed = CURSOR.replace("mcp-server-time", "mcp-server-time@2")
    path.write_text(changed)
    with pytest.raises(ConfigError, match="changed while Bulkhead was at work") as caught:
        apply(plan, backups)
    assert caught.value.hint == "nothing was written; run it again"
    assert path.read_text() == changed
    assert left_in(backups) == []


def test_the_last_look_before_writing_sees_a_change_too(home: Path) -> None:
    path = put(home, "cursor")
    with pytest.raises(ConfigError, match="changed while"):
        swap(path, b"{}", expected=b"what was read earlier")
    assert path.read_text() == CURSOR
    assert os.listdir(path.parent) == ["mcp.json"]


def test_a_file_with_a_second_name_is_refused_and_no_backup_stays(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    os.link(path, home / "second")
    with pytest.raises(ConfigError, match="second name"):
        moved_in(home, backups)
    assert path.read_text() == CURSOR
    assert left_in(backups) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        moved_in(home, backups)
    assert path.read_text() == CURSOR


def test_a_file_that_went_away_is_refused(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    plan = plan_import(only(home), shim)
    path.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        apply(plan, backups)
    assert not path.exists()


def test_two_imports_at_a_time_are_refused(home: Path, backups: Path) -> None:
    put(home, "cursor")
    moved_in(home, backups)
    with (backups / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another import or undo is at work"):
            undo(CURSOR_NAME, backups)
    assert undo(CURSOR_NAME, backups)[0].how == "restored"


def test_later_edits_of_the_client_are_kept_and_only_our_entries_go_back(home: Path, backups: Path) -> None:
    path = put(home, "claude-code")
    original = json.loads(path.read_text())
    moved_in(home, backups)
    now = json.loads(path.read_text())
    now["numStartups"] += 1
    now["mcpServers"]["fresh"] = {"type": "stdio", "command": "fresh", "args": []}
    path.write_text(json.dumps(now, indent=4, sort_keys=True))  # the client lays its file out anew

    [undone] = undo(ClientName("claude-code"), backups)

    original["numStartups"] += 1
    original["mcpServers"]["fresh"] = now["mcpServers"]["fresh"]
    assert json.loads(path.read_text()) == original
    assert (undone.how, undone.notes) == ("merged", ())


def test_an_entry_of_ours_that_was_edited_gets_its_launch_line_back_and_keeps_the_edit(
    home: Path, backups: Path
) -> None:
    path = put(home, "claude-desktop")
    moved_in(home, backups)
    now = json.loads(path.read_text())
    now["mcpServers"]["github"] |= {"disabled": True, "env": {"LATER": "1"}}
    path.write_text(json.dumps(now))

    [undone] = undo(ClientName("claude-desktop"), backups)

    assert json.loads(path.read_text())["mcpServers"]["github"] == {
        "command": "npx",
        "args": ["-y", "@modelcontextprotocol/server-github"],
        "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": SECRET, "LATER": "1"},
        "disabled": True,
    }
    assert undone.how == "merged"
    assert undone.notes == ("github was edited since: its launch line is back, the later edits are kept",)


def test_removed_replaced_and_copied_entries_are_left_and_named(home: Path, backups: Path) -> None:
    path = put(home, "claude-desktop")
    moved_in(home, backups)
    now = json.loads(path.read_text())
    now["mcpServers"]["copy"] = now["mcpServers"].pop("filesystem")
    now["mcpServers"]["github"] = {"command": "docker", "args": ["run", "-i", "github"]}
    path.write_text(json.dumps(now))

    [undone] = undo(ClientName("claude-desktop"), backups)

    assert json.loads(path.read_text()) == now
    assert undone.how == "unchanged"
    assert undone.notes == (
        "filesystem was removed since and stays removed",
        "github was changed since to something of its own and stays as it is",
        "copy still goes through Bulkhead: no import put it there",
    )


def test_an_entry_put_back_by_hand_needs_no_word(home: Path, backups: Path) -> None:
    path = put(home, "claude-desktop")
    original = json.loads(path.read_text())
    moved_in(home, backups)
    now = json.loads(path.read_text())
    now["mcpServers"]["github"] = original["mcpServers"]["github"]
    path.write_text(json.dumps(now))
    [undone] = undo(ClientName("claude-desktop"), backups)
    assert json.loads(path.read_text()) == original
    assert (undone.how, undone.notes) == ("merged", ())


def test_comments_written_since_survive_an_undo(home: Path, backups: Path) -> None:
    path = put(home, "vscode")
    before = path.read_bytes()
    moved_in(home, backups)
    path.write_bytes(path.read_bytes() + b"// written later\r\n")
    [undone] = undo(ClientName("vscode"), backups)
    assert path.read_bytes() == before + b"// written later\r\n"
    assert undone.how == "merged"


def test_two_imports_of_one_file_are_both_undone(home: Path, backups: Path) -> None:
    path = put(home, "claude-desktop")
    moved_in(home, backups)
    between = json.loads(path.read_text())
    between["mcpServers"]["time"] = {"command": "uvx", "args": ["mcp-server-time"]}
    path.write_text(json.dumps(between))
    assert list(moved_in(home, backups).servers) == ["time"]
    assert [one.number for one in all_backups(backups)] == [1, 2]

    [undone] = undo(ClientName("claude-desktop"), backups)

    servers = json.loads(path.read_text())["mcpServers"]
    assert {name: entry["command"] for name, entry in servers.items()} == {
        "filesystem": "npx",
        "github": "npx",
        "time": "uvx",
    }
    assert servers["github"]["env"] == {"GITHUB_PERSONAL_ACCESS_TOKEN": SECRET}
    assert undone.how == "merged"
    assert left_in(backups) == []


@pytest.mark.claim("C61")
def test_a_file_that_is_no_longer_json_is_left_and_its_backup_kept_and_named(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    moved_in(home, backups)
    broken = path.read_text() + "}"
    path.write_text(broken)
    kept = left_in(backups)

    [undone] = undo(CURSOR_NAME, backups)

    assert path.read_text() == broken
    assert left_in(backups) == kept
    assert undone.how == "failed"
    assert "is no longer JSON its client can read, line 10, column 1: expected the end of the file" in undone.notes[0]
    assert str(backups / "000001-cursor.before") in undone.notes[-1]


def test_a_backup_that_was_changed_is_not_written_back(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    plan = moved_in(home, backups)
    (backups / "000001-cursor.before").write_text('{"mcpServers": {"evil": {"command": "sh"}}}')
    [undone] = undo(CURSOR_NAME, backups)
    assert undone.how == "failed"
    assert "was changed since it was made" in undone.notes[0]
    assert path.read_text() == plan.after


def test_a_closed_vault_is_said_and_costs_nothing(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    plan, kept = moved_in(home, backups), left_in(backups)

    def closed() -> bytes:
        raise ConfigError("the vault is sealed under a passphrase", hint="bulkhead vault unlock")

    for key, why in ((closed, "sealed under a passphrase"), (lambda: b"x" * 32, "sealed by another home")):
        [undone] = taken_back(CURSOR_NAME, backups, key)
        assert undone.how == "failed" and why in undone.notes[0]
        assert (path.read_text(), left_in(backups)) == (plan.after, kept)
    assert undo(CURSOR_NAME, backups)[0].how == "restored" and path.read_text() == CURSOR


def test_a_copy_that_was_made_in_the_clear_is_sealed_by_the_next_import_and_stands_in_for_no_other(
    home: Path, backups: Path
) -> None:
    path, other = put(home, "claude-desktop"), put(home, "cursor")
    before = path.read_bytes()
    found = {config.client: config for config in found_clients(home, "linux", {})}
    written(plan_import(found[ClientName("claude-desktop")], shim), backups)
    first = backups / "000001-claude-desktop.before"
    assert first.read_bytes() == before
    apply(plan_import(found[CURSOR_NAME], shim), backups)
    second = backups / "000002-cursor.before"
    assert SECRET.encode() not in first.read_bytes() and stat.S_IMODE(first.stat().st_mode) == 0o600
    mine, theirs = first.read_bytes(), second.read_bytes()
    second.write_bytes(mine)
    [undone] = undo(CURSOR_NAME, backups)
    assert undone.how == "failed" and "it was changed" in undone.notes[0]
    second.write_bytes(theirs)
    assert undo(CURSOR_NAME, backups)[0].how == "restored" and other.read_text() == CURSOR
    assert undo(ClientName("claude-desktop"), backups)[0].how == "restored" and path.read_bytes() == before


def test_a_file_that_is_gone_is_not_made_again(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    moved_in(home, backups)
    path.unlink()
    [undone] = undo(CURSOR_NAME, backups)
    assert (undone.how, undone.notes[0]) == ("failed", f"{path} is gone")
    assert not path.exists()
    assert left_in(backups) == ["000001-cursor.before", "000001-cursor.json"]


def test_an_undo_after_an_import_that_never_wrote_finds_the_file_as_it_was(home: Path, backups: Path) -> None:
    path = put(home, "cursor")
    moved_in(home, backups)
    path.write_text(CURSOR)  # as if the process had ended between the backup and the file
    assert undo(CURSOR_NAME, backups) == (Undone(path, "unchanged", ("time", "linear", "home")),)
    assert left_in(backups) == []


def test_a_note_nobody_can_read_is_named_with_the_way_out(home: Path, backups: Path) -> None:
    put(home, "cursor")
    moved_in(home, backups)
    note = backups / "000001-cursor.json"
    note.write_text('{"version": 99}')
    with pytest.raises(ConfigError, match="is not a note this version of Bulkhead wrote") as caught:
        undo(CURSOR_NAME, backups)
    assert str(backups / "000001-cursor.before") in caught.value.hint


def test_one_client_is_undone_and_the_others_stay(home: Path, backups: Path) -> None:
    vscode, cursor = put(home, "vscode"), put(home, "cursor")
    plans = [plan_import(found, shim) for found in found_clients(home, "linux", {})]
    for plan in plans:
        apply(plan, backups)
    assert imported_clients(backups) == ("cursor", "vscode")

    undo(CURSOR_NAME, backups)

    assert cursor.read_bytes() == plans[0].found.text.encode()
    assert vscode.read_bytes() == plans[1].after.encode()
    assert imported_clients(backups) == ("vscode",)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
entries = st.fixed_dictionaries(
    {"command": st.sampled_from(["npx", "uvx"])},
    optional={"args": st.lists(st.text(alphabet="ab/-é", max_size=5), max_size=3), "x": values},
)
configs = st.fixed_dictionaries(
    {"mcpServers": st.dictionaries(st.text(max_size=5), entries | values, max_size=4)}, optional={"other": values}
)


@given(configs, configs, st.sampled_from([None, 0, 2, "\t"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@pytest.mark.claim("C60")
def test_for_any_document_an_undo_restores_every_byte_and_keeps_later_values(
    tmp_path: Path, config: dict[str, Any], later: dict[str, Any], indent: int | None
) -> None:
    backups = tmp_path / "backups"
    text = json.dumps(config, indent=indent, ensure_ascii=False)
    path = put(tmp_path, "claude-desktop", text)

    plan = moved_in(tmp_path, backups)
    if plan.replacements:
        undo(ClientName("claude-desktop"), backups)
    assert path.read_bytes() == text.encode()

    moved_in(tmp_path, backups)
    now = plain(parse(path.read_text(), comments=False).root)
    added = {f"later-{name}": value for name, value in later["mcpServers"].items()}
    now["mcpServers"] |= added
    now["later"] = later.get("other")
    path.write_text(json.dumps(now, ensure_ascii=False))
    if plan.replacements:
        undo(ClientName("claude-desktop"), backups)
    expected = {**config, "mcpServers": {**config["mcpServers"], **added}, "later": later.get("other")}
    assert json.loads(path.read_text()) == expected
    assert not backups.exists() or left_in(backups) == []
