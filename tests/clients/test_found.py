"""Clients found on a machine, and what their entries mean."""

import os
from pathlib import Path

import pytest

from broker.clients.entries import goes_through_bulkhead
from broker.clients.families import FAMILIES, base_folders, family_of
from broker.clients.found import found_clients, project_configs
from broker.clients.rewrite import fast_form
from broker.errors import ConfigError
from broker.model import ClientName
from tests.clients.examples import CLAUDE_DESKTOP, PATHS, SECRET, VSCODE, claude_code, only, put


def test_every_client_is_found_where_it_keeps_its_file_on_linux(tmp_path: Path) -> None:
    for client in PATHS:
        put(tmp_path, client)
    found = found_clients(tmp_path, "linux", {})
    assert {one.client: one.path for one in found} == {
        ClientName(client): tmp_path / path for client, path in PATHS.items()
    }
    assert {one.client for one in found} == {family.client for family in FAMILIES}
    assert not any(one.problem for one in found)


def test_every_client_is_found_where_it_keeps_its_file_on_macos(tmp_path: Path) -> None:
    support = tmp_path / "Library/Application Support"
    paths = [
        support / "Claude/claude_desktop_config.json",
        tmp_path / ".claude.json",
        tmp_path / ".cursor/mcp.json",
        support / "Code/User/mcp.json",
        support / "Code - Insiders/User/mcp.json",
        support / "VSCodium/User/profiles/-2a5f/mcp.json",
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    found = found_clients(tmp_path, "darwin", {"XDG_CONFIG_HOME": str(tmp_path / "elsewhere")})
    assert [one.path for one in found] == paths
    labels = ["Claude Desktop", "Claude Code", "Cursor", "VS Code", "VS Code Insiders", "VSCodium (profile)"]
    assert [one.label for one in found] == labels


def test_variables_move_the_folders_and_a_relative_one_counts_as_unset(tmp_path: Path) -> None:
    moved = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "CLAUDE_CONFIG_DIR": str(tmp_path / "claude")}
    bases = base_folders(tmp_path, "linux", moved)
    assert (bases["home"], bases["config"], bases["claude"]) == (tmp_path, tmp_path / "xdg", tmp_path / "claude")
    unset = base_folders(tmp_path, "linux", {"XDG_CONFIG_HOME": "xdg", "CLAUDE_CONFIG_DIR": "", "CODEX_HOME": "x"})
    assert (unset["config"], unset["claude"], unset["codex"]) == (tmp_path / ".config", tmp_path, tmp_path / ".codex")


def test_a_machine_without_clients_has_none(tmp_path: Path) -> None:
    assert found_clients(tmp_path, "linux", {}) == []


def test_claude_desktop_entries_carry_their_command_and_environment(tmp_path: Path) -> None:
    put(tmp_path, "claude-desktop")
    filesystem, github = only(tmp_path).entries
    assert (filesystem.name, filesystem.fate) == ("filesystem", "import")
    assert filesystem.argv == ("npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/user/Documents")
    assert github.env == {"GITHUB_PERSONAL_ACCESS_TOKEN": SECRET}
    assert SECRET not in repr(only(tmp_path))


def test_claude_code_has_servers_of_the_user_and_of_single_projects(tmp_path: Path) -> None:
    put(tmp_path, "claude-code")
    entries = [(one.name, one.project, one.fate) for one in only(tmp_path).entries]
    project = str(tmp_path / "work/app-3")
    assert entries == [
        ("time", "", "import"),
        ("sentry", "", "import"),
        ("notes", "", "import"),
        ("deploy", "", "stays"),
        ("time", project, "import"),
        ("notes", project, "import"),
    ]


def test_a_file_a_project_brought_along_is_named_and_none_of_its_servers_are_taken(tmp_path: Path) -> None:
    put(tmp_path, "claude-code")
    brought = tmp_path / "work/app-7/.mcp.json"
    brought.parent.mkdir(parents=True)
    brought.write_text('{"mcpServers": {"sneaky": {"command": "sh"}}}')
    found = only(tmp_path)
    assert found.project_files == (brought,)
    assert "sneaky" not in {one.name for one in found.entries}


def test_vscode_files_with_comments_trailing_commas_and_a_mark_are_read(tmp_path: Path) -> None:
    put(tmp_path, "vscode")
    found = only(tmp_path)
    assert [(one.name, one.fate) for one in found.entries] == [
        ("playwright", "import"),
        ("perplexity", "stays"),
        ("local", "stays"),
        ("io.github.acme/tool box", "import"),
        ("api.github.com", "import"),
    ]
    assert found.text == VSCODE
    assert found.entries[3].env == {"PORT": "8080"}


def test_the_home_variable_is_filled_in_and_every_other_variable_keeps_its_entry_where_it_is(tmp_path: Path) -> None:
    put(tmp_path, "cursor")
    time, linear, docs, home = only(tmp_path).entries
    assert (linear.fate, linear.argv) == ("import", ("https://mcp.linear.app/mcp",))
    assert linear.env == {"Authorization": "Bearer top-secret"}
    assert (docs.fate, docs.reason) == ("stays", "uses ${workspaceFolder}, which Bulkhead cannot fill in yet")
    assert home.argv == ("node", f"{tmp_path}/docs/server.js")
    assert home.env == {"CACHE": f"{tmp_path}/.cache"}
    assert time.fate == "import"


@pytest.mark.parametrize(
    ("entry", "fate", "reason"),
    [
        ('{"command": "a", "cwd": "/srv"}', "stays", "sets a working folder"),
        ('{"command": "a", "envFile": ".env"}', "stays", "loads variables from a file"),
        ('{"command": "a", "dev": {"watch": "src/**"}}', "stays", "is in development mode"),
        ('{"command": "a", "sandboxEnabled": true}', "stays", "asks for the client's own sandbox"),
        ('{"command": "a", "url": "https://a.example"}', "stays", "names both a command and a URL"),
        ('{"command": "a", "type": "grpc"}', "stays", "has a type that is not stdio"),
        ('{"command": ["a"]}', "stays", "has a command that is not a text"),
        ('{"command": ""}', "stays", "has a command that is not a text"),
        ('{"command": "a", "args": "b c"}', "stays", "has args that are not a list of texts"),
        ('{"command": "a", "args": ["b", 3]}', "stays", "has args that are not a list of texts"),
        ('{"command": "a", "env": ["A=b"]}', "stays", "has an env that is not names with texts"),
        ('{"command": "a", "env": {"A": true}}', "stays", "has an env that is not names with texts"),
        ('{"command": "a", "env": {"A": null}}', "stays", "has an env that is not names with texts"),
        ('{"command": "a", "env": {"A=B": "x"}}', "stays", "holds characters that no command line"),
        ('{"command": "a\\u0000b"}', "stays", "holds characters that no command line"),
        ('{"command": "a", "args": ["\\ud800"]}', "stays", "holds characters that no command line"),
        ('{"command": "a", "args": ["${\\u001b[2J"]}', "stays", "uses ${\\u001b[2J, which Bulkhead"),
        ("{}", "stays", "names no command"),
        ("[]", "stays", "is not an object"),
        ('{"type": "sse", "serverUrl": "https://a.example/sse", "timeout": 9, "env": {}}', "import", ""),
        ('{"url": "https://a.example", "headers": {"A": "b", "C": 3}, "disabled": false}', "import", ""),
        ('{"url": "https://a.example", "uri": "https://b.example"}', "stays", "does not name one address"),
        ('{"type": "http"}', "stays", "does not name one address"),
        ('{"type": "http", "url": ["https://a.example"]}', "stays", "does not name one address"),
        ('{"type": "ws", "url": "wss://a.example"}', "stays", "has a type that is no transport Bulkhead speaks"),
        (
            '{"url": "https://a.example", "oauth": {"clientId": "c"}}',
            "stays",
            "has oauth, which Bulkhead does not know",
        ),
        ('{"url": "https://a.example", "env": {"A": "b"}}', "stays", "has env, which Bulkhead does not know"),
        ('{"url": "https://a.example", "headers": ["A: b"]}', "stays", "has headers that are not names with texts"),
        ('{"url": "https://a.example", "headers": {"A": "${KEY}"}}', "stays", "uses ${KEY}, which Bulkhead"),
        ('{"url": "https://a.example?token=canary"}', "stays", "has a secret in its address"),
        ('{"url": "https://me:canary@a.example"}', "stays", "has a secret in its address"),
        ('{"command": "a", "cwd": "", "dev": null, "envFile": "", "args": null, "env": null}', "import", ""),
    ],
)
def test_what_cannot_be_carried_stays_with_its_reason(tmp_path: Path, entry: str, fate: str, reason: str) -> None:
    put(tmp_path, "vscode", f'{{"servers": {{"it": {entry}}}}}')
    [one] = only(tmp_path).entries
    assert one.fate == fate
    assert one.reason.startswith(reason)
    assert (one.argv == ()) == (fate != "import")


def test_an_entry_that_goes_through_bulkhead_is_known_in_both_forms() -> None:
    fast = fast_form("/usr/bin/python3", "/usr/lib/broker/shim.py", ClientName("cursor"), "/home/user/bh")("time")
    assert goes_through_bulkhead(fast.command, list(fast.args))
    assert goes_through_bulkhead("/home/user/.local/bin/bulkhead", ["connect", "time", "--client", "cursor"])


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("python3", ["-I", "-S", "-E", "/srv/evil.py", "time", "--client", "c", "--home", "h"]),
        ("python3", ["/usr/lib/broker/shim.py", "time", "--client", "c", "--home", "h"]),
        ("python3", ["-I", "-S", "-E", "/usr/lib/broker/shim.py", "time", "--client", "c"]),
        ("bulkhead", ["status"]),
        ("bulkhead-evil", ["connect", "time"]),
        ("bulkhead", "connect"),
        (None, []),
    ],
)
def test_what_only_looks_like_bulkhead_is_not(command: object, args: object) -> None:
    assert not goes_through_bulkhead(command, args)


@pytest.mark.parametrize(
    ("client", "text", "problem"),
    [
        ("claude-desktop", '{"mcpServers": {\n "a": {,}}}', "is not JSON its client can read, line 2, column 8: "),
        ("claude-desktop", "// note\n" + CLAUDE_DESKTOP, "is not JSON its client can read, line 1, column 1: "),
        ("cursor", '{"mcpServers": []}', "is not JSON its client can read, line 1, column 16: "),
        ("cursor", "[]", "is not JSON its client can read, line 1, column 1: the file should hold an object"),
        ("claude-code", '{"projects": {"/a": 3}}', "is not JSON its client can read, line 1, column 21: "),
    ],
)
def test_a_broken_file_is_named_with_line_and_column(tmp_path: Path, client: str, text: str, problem: str) -> None:
    path = put(tmp_path, client, text)
    found = only(tmp_path)
    assert (found.path, found.entries) == (path, ())
    assert found.problem.startswith(problem)
    assert path.read_text() == text


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = put(tmp_path, "cursor", "")
    path.write_bytes('{"mcpServers": {}}'.encode("utf-16"))
    assert only(tmp_path).problem == "is not UTF-8 text at byte 1"


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "{}", '{"mcpServers": null}'])
def test_an_empty_file_has_no_entries_and_no_problem(tmp_path: Path, text: str) -> None:
    put(tmp_path, "cursor", text)
    found = only(tmp_path)
    assert (found.entries, found.problem) == ((), "")


def test_a_folder_a_ring_of_links_and_a_pipe_in_the_place_of_a_file_are_named_and_hide_no_other(tmp_path: Path) -> None:
    (tmp_path / ".claude.json").mkdir()
    ring = tmp_path / ".cursor/mcp.json"
    ring.parent.mkdir()
    ring.symlink_to(ring)
    pipe = tmp_path / PATHS["vscode"]
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    put(tmp_path, "claude-desktop")
    desktop, *others = found_clients(tmp_path, "linux", {})
    assert len(desktop.entries) == 2
    assert [one.problem for one in others] == [
        "is not a regular file",
        "cannot be read: its links lead nowhere, or a folder is closed",
        "is not a regular file",
    ]


def test_a_link_that_leads_nowhere_counts_as_no_file(tmp_path: Path) -> None:
    (tmp_path / ".claude.json").symlink_to(tmp_path / "gone.json")
    assert found_clients(tmp_path, "linux", {}) == []


def test_a_client_outside_the_table_is_refused_with_the_names_it_knows() -> None:
    with pytest.raises(ConfigError) as caught:
        family_of("emacs")
    assert caught.value.hint.startswith("choose from claude-desktop, claude-code, cursor, vscode, windsurf, ")


def test_a_large_file_is_read(tmp_path: Path) -> None:
    put(tmp_path, "claude-code", claude_code(tmp_path, projects=300))
    assert len(only(tmp_path).importable) == 5


def test_the_files_of_the_project_in_a_folder_are_found_for_every_client_and_the_home_is_no_project(
    tmp_path: Path,
) -> None:
    home, project = tmp_path / "home", tmp_path / "app"
    for folder in (home, project):
        for name in (".mcp.json", ".cursor/mcp.json", ".zed/settings.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / ".mcp.json").write_text('{"mcpServers": {"notes": {"command": "npx", "args": ["notes"]}}}')
        (folder / ".cursor/mcp.json").write_text("{ half")
        (folder / ".zed/settings.json").write_text('{"theme": "dark"}')  # no server in it: nothing to say
    found = {str(config.client): config for config in project_configs(project, home)}
    assert found.keys() == {"claude-code", "cursor"}
    assert [entry.name for entry in found["claude-code"].entries] == ["notes"]
    assert "is not JSON" in found["cursor"].problem
    assert project_configs(home, home) == []
