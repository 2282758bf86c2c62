"""What an import would do, before anything is done."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clients.configs import ClientConfig
from broker.clients.entries import read_entries
from broker.clients.families import family_of
from broker.clients.jsonc import parse
from broker.clients.plan import ServerLine, plan_import, server_name
from broker.clients.rewrite import ShimEntry
from broker.clients.tree import plain
from broker.errors import ConfigError
from broker.model import ServerName
from tests.clients.examples import CLAUDE_DESKTOP, CURSOR, PATHS, SECRET, VSCODE, only, put, shim

TIME = ServerLine(("uvx", "mcp-server-time"))


def found_in(text: str, client: str = "cursor") -> ClientConfig:
    family = family_of(client)
    entries = read_entries(parse(text, comments=family.comments), family, "/home/user")
    path = Path("/home/user/.cursor/mcp.json")
    return ClientConfig(family, "Cursor", path, path, text, entries)


def test_moved_entries_keep_their_form_and_the_rest_of_the_file_every_byte(tmp_path: Path) -> None:
    put(tmp_path, "claude-desktop")
    plan = plan_import(only(tmp_path), lambda name: ShimEntry("/bin/bulkhead", ("connect", name)))
    assert (
        plan.after
        == """{
  "mcpServers": {
    "filesystem": {
      "command": "/bin/bulkhead",
      "args": [
        "connect",
        "filesystem"
      ]
    },
    "github": {
      "command": "/bin/bulkhead",
      "args": ["connect", "github"]
    }
  },
  "globalShortcut": "Ctrl+Space",
  "preferences": {"menuBarEnabled": false, "scale": 1.50}
}
"""
    )
    assert plan.servers == {
        "filesystem": ServerLine(("npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/user/Documents")),
        "github": ServerLine(
            ("npx", "-y", "@modelcontextprotocol/server-github"), {"GITHUB_PERSONAL_ACCESS_TOKEN": SECRET}
        ),
    }


def test_vscode_files_keep_comments_tabs_line_ends_and_their_mark(tmp_path: Path) -> None:
    put(tmp_path, "vscode")
    plan = plan_import(only(tmp_path), shim)
    after = plan.after
    assert after.startswith("\ufeff{\r\n\t// Servers of every workspace\r\n")
    assert after.count("\n") == after.count("\r\n")
    assert "\t\t/* asks for its key */\r\n" in after
    assert '"PERPLEXITY_API_KEY": "${input:perplexity-key}"' in after
    assert after[after.index('"inputs"') :] == VSCODE[VSCODE.index('"inputs"') :]
    playwright = plain(parse(after, comments=True).root)["servers"]["playwright"]
    assert list(playwright) == ["type", "command", "args", "gallery", "version"]
    assert playwright["type"] == "stdio"


def test_other_keys_of_an_entry_are_copied_as_written() -> None:
    text = (
        '{"mcpServers": {"a": {"disabled": true, "timeout": 6e4, "command": "x", "autoApprove": [ "b",  "\\u00e9" ]}}}'
    )
    after = plan_import(found_in(text), lambda name: ShimEntry("bulkhead", ("connect", name))).after
    assert after == (
        '{"mcpServers": {"a": {"disabled": true, "timeout": 6e4, "command": "bulkhead", "args": ["connect", "a"], '
        '"autoApprove": [ "b",  "\\u00e9" ]}}}'
    )


def test_a_file_without_any_space_stays_without() -> None:
    text = '{"mcpServers":{"a":{"command":"x","args":["y"],"env":{"K":"v"}}}}'
    after = plan_import(found_in(text), lambda name: ShimEntry("bulkhead", ("connect", name))).after
    assert after == '{"mcpServers":{"a":{"command":"bulkhead","args":["connect","a"]}}}'


def test_an_entry_that_cannot_move_stays_and_the_plan_says_why(tmp_path: Path) -> None:
    put(tmp_path, "vscode")
    plan = plan_import(only(tmp_path), shim)
    assert [one.name for one in plan.left] == ["perplexity", "local"]
    assert all(one.reason for one in plan.left)


def test_the_diff_shows_the_launch_lines_and_never_a_value_of_the_environment(tmp_path: Path) -> None:
    put(tmp_path, "claude-desktop")
    found = only(tmp_path)
    diff = plan_import(found, shim).diff
    assert diff.startswith(f"--- {found.path}\n+++ {found.path} (through Bulkhead)\n@@ -1,20 +1,23 @@\n {{\n")
    assert '-        "GITHUB_PERSONAL_ACCESS_TOKEN": "[moved, 24 characters]"\n' in diff
    assert '-        "@modelcontextprotocol/server-filesystem",\n' in diff
    assert '   "globalShortcut": "[hidden]",\n' in diff
    assert SECRET not in diff
    removed = [line for line in diff.splitlines()[2:] if line.startswith("-")]
    added = [line for line in diff.splitlines()[2:] if line.startswith("+")]
    assert (len(removed), len(added)) == (10, 13)


@pytest.mark.parametrize("client", PATHS)
def test_no_text_outside_a_moved_launch_line_is_ever_shown(tmp_path: Path, client: str) -> None:
    put(tmp_path, client)
    plan = plan_import(only(tmp_path), shim)
    assert plan.diff
    for secret in (SECRET, "top-secret", "another-secret", "sk-ant", "someone@", "explain line"):
        assert secret not in plan.diff
        assert secret not in repr(plan)
    assert "the clock" not in plan.diff
    assert "perplexity-key" not in plan.diff


def test_what_looks_like_a_secret_in_a_launch_line_is_not_shown() -> None:
    text = """{"mcpServers": {
        "a": {"command": "npx", "args": ["tool", "--api-key", "canary-1", "--region=eu", "--token=canary-2"]},
        "b": {"command": "npx", "args": ["mcp-remote", "https://h.example/mcp",
              "--header", "Authorization: Bearer canary-3"]},
        "c": {"command": "env", "args": ["GITHUB_TOKEN=canary-4", "TZ=UTC", "npx", "tool"]}
    }}"""
    diff = plan_import(found_in(text), shim).diff
    assert "canary" not in diff
    for word in ('"--api-key"', '"--region=eu"', '"TZ=UTC"', '"https://h.example/mcp"', '"[hidden]"'):
        assert word in diff


def test_a_server_elsewhere_becomes_a_program_and_its_headers_are_shown_by_name_alone() -> None:
    text = """{"mcpServers": {
      "far": {
        "disabled": false,
        "type": "http",
        "url": "https://far.example/mcp",
        "headers": { "Authorization": "Bearer canary-1", "X-Team": "canary-2" },
        "timeout": 6e4
      }
    }}"""
    plan = plan_import(found_in(text), lambda name: ShimEntry("bulkhead", ("connect", name)))
    far = plain(parse(plan.after, comments=True).root)["mcpServers"]["far"]
    assert list(far) == ["disabled", "type", "command", "args", "timeout"]
    assert (far["type"], far["command"], far["args"]) == ("stdio", "bulkhead", ["connect", "far"])
    headers = {"Authorization": "Bearer canary-1", "X-Team": "canary-2"}
    assert plan.servers == {"far": ServerLine(("https://far.example/mcp",), headers)}
    assert "canary" not in plan.diff + plan.after + repr(plan)
    assert '"headers": { "Authorization": "[moved]", "X-Team": "[moved]" },' in plan.diff
    assert '-        "url": "https://far.example/mcp",' in plan.diff


def test_a_comment_that_goes_with_an_entry_is_marked_in_the_diff() -> None:
    text = CURSOR.replace('"uvx",', '"uvx", /* key: abc\ndef */')
    diff = plan_import(found_in(text), shim).diff
    assert '-    "time": { "command": "uvx", [comment]\n-[comment] "args": ["mcp-server-time"] },\n' in diff
    assert "abc" not in diff


def test_the_line_numbers_of_the_diff_are_those_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, "claude-code")
    plan = plan_import(only(tmp_path), shim)
    old, new = plan.found.text.split("\n"), plan.after.split("\n")
    headers = [line for line in plan.diff.splitlines() if line.startswith("@@")]
    assert len(headers) >= 2
    rows = plan.diff.splitlines()
    for header in headers:
        a, b = (part[1:].split(",") for part in header.split()[1:3])
        hunk = rows[rows.index(header) + 1 :]
        hunk = hunk[: next((at for at, line in enumerate(hunk) if line.startswith("@@")), len(hunk))]
        assert len([line for line in hunk if not line.startswith("+")]) == int(a[1])
        assert len([line for line in hunk if not line.startswith("-")]) == int(b[1])
        for sign, lines, first in (("-", old, int(a[0])), ("+", new, int(b[0]))):
            at = first - 1
            for line in hunk:
                if line[0] in (" ", sign):
                    assert _outline(lines[at]) == _outline(line[1:])
                    at += 1


def _outline(line: str) -> str:
    """A line's key and indentation: what masking leaves alone."""
    return line.split(":")[0] if ":" in line else line[: len(line) - len(line.lstrip())]


def test_a_character_that_moves_the_cursor_is_escaped_in_the_diff() -> None:
    text = '{"mcpServers": {"a": {"command": "x", "args": ["\u202e\u009bok"]}}}'
    assert '"\\u202e\\u009bok"' in plan_import(found_in(text), shim).diff


def test_a_server_of_the_same_name_with_another_line_gets_the_clients_name_behind_it() -> None:
    text = '{"mcpServers": {"time": {"command": "uvx", "args": ["other-time"]}}}'
    plan = plan_import(found_in(text), shim, {ServerName("time"): TIME})
    assert list(plan.servers) == ["time-cursor"]
    assert plan.notes == ("time is called time-cursor in Bulkhead: another server has the shorter name",)
    assert '"time-cursor"' in plan.after
    assert list(plain(parse(plan.after, comments=True).root)["mcpServers"]) == ["time"]


def test_the_same_server_in_two_clients_is_registered_once() -> None:
    plan = plan_import(found_in(CURSOR), shim, {ServerName("Time"): TIME})
    assert "time" not in plan.servers
    [time] = [one for one in plan.replacements if one.entry.name == "time"]
    assert (time.server, time.known) == ("Time", True)


def test_one_client_may_have_a_name_twice_and_each_line_gets_its_own_server(tmp_path: Path) -> None:
    put(tmp_path, "claude-code")
    plan = plan_import(only(tmp_path), shim)
    assert [(one.entry.name, one.entry.project != "", one.server, one.known) for one in plan.replacements] == [
        ("time", False, "time", False),
        ("sentry", False, "sentry", False),
        ("notes", False, "notes", False),
        ("time", True, "time", True),
        ("notes", True, "notes-claude-code", False),
    ]


def test_a_third_line_of_one_name_is_counted() -> None:
    lines = {name: ServerLine((name,)) for name in (ServerName("time"), ServerName("time-cursor"))}
    assert "time-cursor-2" in plan_import(found_in(CURSOR), shim, lines).servers


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("github", "github"),
        ("io.github.acme/tool box", "io.github.acme-tool-box"),
        ("../../etc", "etc"),
        ("--home", "home"),
        ("", "server"),
        ("日本", "server"),
        ("a" * 100, "a" * 64),
    ],
)
def test_names_are_put_into_the_letters_allowed(wanted: str, name: str) -> None:
    assert server_name(wanted) == name


@given(st.text(max_size=80))
def test_every_name_fits_the_grammar(wanted: str) -> None:
    name = server_name(wanted)
    assert len(name) <= 64
    assert name.isascii()
    assert name[0].isalnum()
    assert all(c.isalnum() or c in "_.-" for c in name)


def test_a_mapped_name_is_said() -> None:
    [note] = plan_import(found_in('{"mcpServers": {"a b": {"command": "x"}}}'), shim).notes
    assert note == "a b is called a-b in Bulkhead, whose names are letters, digits, _, . and -"


def test_a_plan_can_be_narrowed_to_the_servers_that_could_be_registered(tmp_path: Path) -> None:
    put(tmp_path, "claude-desktop")
    plan = plan_import(only(tmp_path), shim)
    narrow = plan.only({"github"})
    servers = plain(parse(narrow.after, comments=False).root)["mcpServers"]
    assert servers["filesystem"]["command"] == "npx"
    assert servers["github"]["command"] == "/usr/lib/bulkhead/bin/python3"
    assert list(narrow.servers) == ["github"]
    assert "filesystem" not in "".join(line for line in narrow.diff.splitlines() if line[0] in "+-")
    assert plan.only(()).after == CLAUDE_DESKTOP
    assert plan.only(()).diff == ""


@pytest.mark.parametrize("client", PATHS)
def test_a_second_plan_over_an_imported_file_has_nothing_to_do(tmp_path: Path, client: str) -> None:
    put(tmp_path, client)
    first = plan_import(only(tmp_path), shim)
    put(tmp_path, client, first.after)
    again = plan_import(only(tmp_path), shim)
    assert (again.replacements, again.diff, again.after) == ((), "", first.after)


@pytest.mark.claim("C61")
def test_a_file_with_a_problem_has_no_plan(tmp_path: Path) -> None:
    path = put(tmp_path, "cursor", "{")
    with pytest.raises(ConfigError, match=r"mcp\.json is not JSON its client can read, line 1, column 2: ") as caught:
        plan_import(only(tmp_path), shim)
    assert str(path) in str(caught.value)
    assert caught.value.hint == "mend the file and import again; it was left untouched"


@pytest.mark.parametrize(
    "bad", [ShimEntry("sh", ("-c", "true")), ShimEntry("bulkhead\ud800", ("connect",)), ShimEntry("", ())]
)
def test_a_stand_in_that_would_not_be_recognised_again_is_refused(bad: ShimEntry) -> None:
    with pytest.raises(ConfigError, match="would not"):
        plan_import(found_in(CURSOR), lambda _: bad)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)
entries = st.fixed_dictionaries(
    {"command": st.sampled_from(["npx", "uvx", "/bin/server"])},
    optional={
        "args": st.lists(st.text(alphabet="abc/-. é", max_size=6), max_size=4),
        "env": st.dictionaries(st.text(alphabet="ABC_", min_size=1, max_size=6), st.text(alphabet="xyz", max_size=6)),
        "disabled": st.booleans(),
        "extra": values,
    },
)
configs = st.fixed_dictionaries(
    {"mcpServers": st.dictionaries(st.text(max_size=6), entries | values, max_size=5)},
    optional={"before": values, "after": values},
)


@given(configs, st.sampled_from([None, 0, 2, 4, "\t"]), st.booleans())
def test_an_import_changes_the_launch_lines_of_moved_entries_and_no_other_value(
    config: dict[str, Any], indent: int | None, turned: bool
) -> None:
    text = json.dumps(dict(reversed(config.items())) if turned else config, indent=indent, ensure_ascii=False)
    plan = plan_import(found_in(text), shim)
    expected = json.loads(text)
    for one in plan.replacements:
        entry = expected["mcpServers"][one.entry.name]
        launch = shim(one.server)
        entry.pop("env", None)
        entry |= {"command": launch.command, "args": list(launch.args)}
    assert json.loads(plan.after) == expected
    assert len(plan.after.split("\n")) - len(text.split("\n")) == plan.diff.count("\n+") - plan.diff.count("\n-") - (
        bool(plan.diff)
    )
