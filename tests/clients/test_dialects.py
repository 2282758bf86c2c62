"""Every client's own way of writing a server: what of it moves, what stays and why, and how it is put back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clients.configs import ClientConfig
from broker.clients.entries import read_entries
from broker.clients.families import EACH, FAMILIES, Family, family_of
from broker.clients.found import found_clients
from broker.clients.merge import Moved, put_back, value_digest
from broker.clients.notation import name_of, read
from broker.clients.plan import plan_import
from broker.clients.tree import node_at, plain
from tests.clients.examples import PATHS, apply, only, put, shim, undo

FATES = {
    "windsurf": {"github": "import", "figma": "import", "notes": "import"},
    "zed": {"time": "import", "older": "stays", "mcp-server-from-an-extension": "stays", "remote": "import"},
    "codex": {
        "time": "import",
        "github": "import",
        "io.github.acme/tool box": "import",
        "forwarding": "stays",
        "docs": "stays",
        "here": "stays",
    },
    "gemini-cli": {"time": "import", "github": "stays", "notes": "import", "docs": "import", "events": "import"},
    "cline": {"local-server": "import", "remote-server": "import"},
    "roo-code": {"puppeteer": "import", "notes": "stays", "built": "stays"},
    "goose": {
        "developer": "stays",
        "time": "import",
        "github": "import",
        "no-arguments": "import",
        "flow": "import",
        "keyring": "stays",
        "docs": "import",
    },
    "opencode": {"time": "import", "github": "import", "keyed": "stays", "jira": "import"},
    "continue": {"Clock": "import", "GitHub": "import", "keyed": "stays", "docs": "import"},
    "jetbrains": {"time": "import", "github": "import"},
    "lm-studio": {"time": "import", "hf-mcp-server": "import"},
    "warp": {"time": "import", "here": "stays", "keyed": "stays", "docs": "import"},
    "copilot-cli": {"time": "import", "docs": "import"},
}


@pytest.mark.parametrize("client", FATES)
@pytest.mark.claim("C60")
def test_each_entry_of_a_client_moves_or_stays_with_a_reason(tmp_path: Path, client: str) -> None:
    put(tmp_path, client)
    found = only(tmp_path)
    assert {entry.name: entry.fate for entry in found.entries} == FATES[client]
    assert all(entry.reason for entry in found.entries if entry.fate == "stays")


def test_launch_lines_in_every_dialect_are_the_same_line(tmp_path: Path) -> None:
    token = {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789abcdefABCD"}
    line = ("npx", "-y", "@modelcontextprotocol/server-github")
    for client in ("windsurf", "codex", "goose", "opencode", "continue", "jetbrains"):
        home = tmp_path / client
        put(home, client)
        [github] = [entry for entry in found_clients(home, "linux", {})[0].entries if entry.name.lower() == "github"]
        assert (github.argv, github.env) == (line, token | ({"PAGES": "3"} if client == "goose" else {}))


LATER = {
    "codex": ("enabled = true", "enabled = false\nstartup_timeout_sec = 9"),
    "goose": ("env_keys: []", "env_keys: []\n    available_tools: [list_issues]"),
    "continue": ("connectionTimeout: 5000", "connectionTimeout: 9000"),
    "opencode": ('"type": "local",\n      "command": [\n', '"type": "local", "timeout": 9000,\n      "command": [\n'),
}


@pytest.mark.parametrize("client", LATER)
def test_a_key_edited_since_is_kept_and_the_launch_line_and_environment_come_back(tmp_path: Path, client: str) -> None:
    path = put(tmp_path, client)
    original = only(tmp_path)
    before = {entry.where: entry for entry in original.importable}
    apply(plan_import(original, shim), tmp_path / "backups")
    old, new = LATER[client]
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))

    [undone] = undo(family_of(client).client, tmp_path / "backups")

    assert undone.how == "merged"
    assert any("the later edits are kept" in note for note in undone.notes)
    assert new.split()[-1] in path.read_text()
    after = {entry.where: entry for entry in only(tmp_path).importable}
    assert {where: (one.argv, one.env) for where, one in after.items()} == {
        where: (one.argv, one.env) for where, one in before.items()
    }


@pytest.mark.parametrize("client", ["codex", "goose"])
def test_an_environment_written_since_is_joined_with_the_one_that_comes_back(tmp_path: Path, client: str) -> None:
    path = put(tmp_path, client)
    apply(plan_import(only(tmp_path), shim), tmp_path / "backups")
    text = path.read_text()
    at = text.index("github")
    added = {
        "codex": ("enabled = true\n", 'enabled = true\n\n[mcp_servers.github.env]\nNEW = "1"\n'),
        "goose": ("envs: {}", "envs:\n      NEW: '1'"),
    }[client]
    path.write_text(text[:at] + text[at:].replace(*added, 1))

    undo(family_of(client).client, tmp_path / "backups")

    [github] = [entry for entry in only(tmp_path).entries if entry.name == "github"]
    assert github.env["NEW"] == "1"
    assert github.env["GITHUB_PERSONAL_ACCESS_TOKEN"] == "ghp_0123456789abcdefABCD"


ELSEWHERE = {
    "cursor": '{"mcpServers": {"far": {"type": "sse", "url": "https://far.example", "headers": {"X-Key": "canary"}}}}',
    "codex": '[mcp_servers.far]\nurl = "https://far.example"\nenabled = true\n\n[mcp_servers.far.http_headers]\n'
    'X-Key = "canary"\n',
    "goose": "extensions:\n  far:\n    type: sse\n    uri: https://far.example\n    headers:\n      X-Key: canary\n"
    "    enabled: true\n",
    "continue": "mcpServers:\n  - name: far\n    url: https://far.example\n    headers: {X-Key: canary}\n",
    "opencode": '{"mcp": {"far": {"type": "remote", "url": "https://far.example", "headers": {"X-Key": "canary"}}}}',
}
AFTERWARDS = {
    "cursor": ('"type": "stdio"', '"timeout": 9, "type": "stdio"'),
    "codex": ("enabled = true", "enabled = false"),
    "goose": ("enabled: true", "enabled: false"),
    "continue": ("name: far\n", "name: far\n    timeout: 9\n"),
    "opencode": ('"type": "local"', '"enabled": false, "type": "local"'),
}


@pytest.mark.parametrize("client", ELSEWHERE)
@pytest.mark.claim("C60")
def test_a_server_elsewhere_moves_and_comes_back_in_every_dialect(tmp_path: Path, client: str) -> None:
    path = put(tmp_path, client, ELSEWHERE[client])
    before = only(tmp_path)
    assert [(one.argv, one.env) for one in before.entries] == [(("https://far.example",), {"X-Key": "canary"})]
    plan = plan_import(before, shim)
    assert "canary" not in plan.diff + plan.after
    apply(plan, tmp_path / "backups")
    assert [entry.fate for entry in only(tmp_path).entries] == ["bulkhead"]
    assert [one.how for one in undo(before.client, tmp_path / "backups")] == ["restored"]
    assert path.read_text() == ELSEWHERE[client]

    apply(plan_import(only(tmp_path), shim), tmp_path / "backups")
    text = path.read_text()
    assert text.count(AFTERWARDS[client][0]) == 1, text
    path.write_text(text.replace(*AFTERWARDS[client]))
    assert [one.how for one in undo(before.client, tmp_path / "backups")] == ["merged"]
    assert [(one.argv, one.env) for one in only(tmp_path).entries] == [(("https://far.example",), {"X-Key": "canary"})]
    assert AFTERWARDS[client][1].split(', "type')[0] in path.read_text()


def test_a_list_of_servers_may_be_put_into_another_order_before_an_undo(tmp_path: Path) -> None:
    path = put(tmp_path, "continue")
    apply(plan_import(only(tmp_path), shim), tmp_path / "backups")
    document = yaml.safe_load(path.read_text())
    document["mcpServers"].reverse()
    path.write_text(yaml.safe_dump(document))
    undo(family_of("continue").client, tmp_path / "backups")
    names = {entry.name: entry for entry in only(tmp_path).importable}
    assert names["Clock"].argv == ("uvx", "mcp-server-time")
    assert names["GitHub"].env == {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789abcdefABCD"}


def test_entries_of_a_list_that_share_a_name_are_not_touched(tmp_path: Path) -> None:
    twice = "mcpServers:\n  - name: a\n    command: x\n  - name: a\n    command: y\n  - command: z\n"
    put(tmp_path, "continue", twice)
    assert only(tmp_path).entries == ()


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=10)
plain_words = words.filter(lambda text: "$" not in text and "{" not in text)
names = st.text(alphabet="abcXYZ019_-", min_size=1, max_size=8)
servers = st.dictionaries(
    names,
    st.tuples(
        plain_words.filter(bool),
        st.none() | st.lists(plain_words, max_size=3),
        st.none() | st.dictionaries(names, plain_words, max_size=2),
        st.dictionaries(st.sampled_from(["timeout", "note", "alwaysAllow", "disabled"]), st.integers(0, 9), max_size=2),
    ),
    min_size=1,
    max_size=3,
)
LAYOUTS: Mapping[str, tuple[Any, ...]] = {"JSON": (None, 0, 2, "\t"), "YAML": (False, None), "TOML": ("table",)}


def generated(family: Family, drawn: Mapping[str, Any], layout: Any) -> str:
    """A client's file with these servers in it, written by a library in one of its layouts."""
    keys = family.keys
    entries: dict[str, Any] = {}
    for name, (command, args, env, more) in drawn.items():
        entry: dict[str, Any] = {"type": sorted(family.kinds)[0], **more}
        entry[keys.command] = command if keys.args else [command, *(args or [])]
        if keys.args and args is not None:
            entry[keys.args] = args
        if env is not None:
            entry[keys.env] = env
        entries[name] = entry
    value: Any = [{"name": name, **entry} for name, entry in entries.items()] if family.lists else entries
    for step in reversed(family.maps[-1]):
        value = {"/a/project" if step == EACH else step: value}
    document = {"before": 1, **value, "zafter": "€ # no comment"}
    match name_of(Path(PATHS[family.client])):
        case "TOML":
            return tomli_w.dumps(document)
        case "YAML":
            return yaml.safe_dump(document, default_flow_style=layout, sort_keys=False, allow_unicode=True)
        case _:
            return json.dumps(document, indent=layout, ensure_ascii=False)


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.claim("C60")
def test_for_any_file_of_a_client_an_import_moves_the_launch_lines_and_an_undo_restores_every_byte(
    client: str,
) -> None:
    family, path = family_of(client), Path("/home/user") / PATHS[client]

    @settings(max_examples=200, deadline=None)
    @given(servers, st.sampled_from(LAYOUTS[name_of(path)]))
    def law(drawn: Mapping[str, Any], layout: Any) -> None:
        text = generated(family, drawn, layout)
        entries = read_entries(read(text, path, comments=family.comments), family, "/home/user")
        found = ClientConfig(family, client, path, path, text, entries)
        assert {entry.name for entry in found.importable} == set(drawn)
        for entry in found.importable:
            command, args, env, _ = drawn[entry.name]
            assert (entry.argv, entry.env) == ((command, *(args or [])), env or {})

        plan = plan_import(found, shim)

        tree = read(plan.after, path, comments=family.comments)
        was, now = plain(read(text, path, comments=family.comments).root), plain(tree.root)
        assert (now["before"], now["zafter"]) == (was["before"], was["zafter"])
        moved = []
        for one in plan.replacements:
            node = node_at(tree.root, one.entry.where)
            assert node is not None
            moved.append(Moved(one.entry.where, one.server, value_digest(node)))
        assert put_back(plan.after, text, moved, path, family) == (text, ())

    law()


def test_every_client_of_the_table_has_a_file_written_by_hand() -> None:
    assert {family.client for family in FAMILIES} == set(PATHS)
