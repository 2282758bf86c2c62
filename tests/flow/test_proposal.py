"""Labels proposed from definitions: reading is told from changing and sending, and silence is the worst case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.flow.compartments import of_arguments, scope_of
from broker.flow.labels import WORST, Labels
from broker.flow.proposal import proposal, propose, words
from broker.model import JsonObject


def tool(name: str, description: str, *parameters: str) -> JsonObject:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in parameters}}
    return {"name": name, "description": description, "inputSchema": schema}


@pytest.mark.parametrize(
    ("definition", "flags", "level"),
    [
        (tool("read_mail", "Reads the inbox", "folder"), "PU", "L"),
        (tool("getBalance", "Gets the balance of the account"), "PU", "L"),
        (tool("getBalance", "Gets the balance of your account"), "P", "L"),
        (tool("get_profile", "Gets your profile, or that of a colleague", "user_id"), "PU", "L"),
        (tool("get_channel_history", "Gets your recent messages", "channel_id"), "PU", "L"),
        (tool("git_branch", "Lists branches"), "PUM", "L"),
        (tool("unfollow", "Stops following somebody", "name"), "EM", "H"),
        (tool("update_slide", "Updates a slide", "slide_number", "apply_to_existing"), "M", "L"),
        (tool("update_ticket", "Updates a ticket", "new_owner_id"), "EM", "H"),
        (tool("weather", "Retrieves the weather", "city"), "PU", "L"),
        (tool("get_current_time", "Tells the time"), "", "L"),
        (tool("web_search", "Searches the web", "query"), "EU", "L"),
        (tool("fetch-page", "Fetches a page", "url"), "EU", "L"),
        (tool("write_note", "Writes a note", "title", "text"), "M", "L"),
        (tool("sendReply", "Sends an answer", "to", "text"), "EM", "H"),
        (tool("create_meeting", "Creates a meeting", "title", "participants"), "EM", "H"),
        (tool("create_entry", "Creates an entry. It also sends an email to the team", "title"), "EM", "H"),
        (tool("delete_note", "Deletes a note", "id"), "M", "H"),
        (tool("run_command", "Runs a command", "line"), "PUM", "H"),
        (tool("frobnicate", ""), "PUEM", "H"),
        (tool("frobnicate", "Frobnicates"), "PUEM", "H"),
    ],
)
def test_a_definition_says_roughly_what_its_tool_does(definition: JsonObject, flags: str, level: str) -> None:
    proposed = propose(definition)
    assert ("".join(sorted(proposed.flags)), proposed.level) == ("".join(sorted(flags)), level)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=30) | st.integers() | st.none(), max_size=4))
def test_any_definition_gets_labels(definition: JsonObject) -> None:
    assert propose(definition).flags <= WORST.flags


def test_a_tool_that_was_not_defined_is_the_worst_case() -> None:
    labels = proposal([tool("read_mail", "Reads the inbox")])
    assert labels.of("tools/call", "read_mail").level == "L"
    assert labels.of("tools/call", "other") == WORST == labels.of("resources/read", "read_mail")


@pytest.mark.parametrize("name", ["get_issueBody", "get-issue-body", "GetIssueBody", "get.issue.body"])
def test_names_are_read_in_every_spelling(name: str) -> None:
    assert words(name) == ("get", "issue", "body")


def test_a_scope_is_what_the_arguments_say_it_is() -> None:
    labels = propose(tool("get_file", "Gets a file of a repository", "owner", "repo", "path"))
    assert labels.scope == ("owner", "repo")
    assert scope_of(labels, {"owner": "Ann", "repo": "Notes ", "path": "x"}) == "ann/notes"
    assert scope_of(labels, {}) == scope_of(labels, {"repo": None}) == scope_of(WORST, {"repo": "x"}) == ""


@pytest.mark.parametrize(
    "path", ["/w/.git/config", "~/.bashrc", "/home/me/.cursor/mcp.json", "/etc/hosts", "x/run.sh", "Makefile"]
)
def test_a_change_to_a_path_that_programs_obey_is_grave(path: str) -> None:
    writes, reads = Labels(frozenset({"M"}), "L"), Labels(frozenset({"P"}), "L")
    assert of_arguments(writes, {"path": path}).level == "H"
    assert of_arguments(reads, {"path": path}).level == "L"
    assert of_arguments(writes, {"path": "/w/notes.txt"}).level == "L"
