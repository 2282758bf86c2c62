"""Labels: what nobody vouched for is the worst case, and a file speaks for its own package only."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.flow.labels import UNLABELLED, WORST, Labels, parse_labels
from broker.flow.store import LabelBook, shipped_labels
from broker.model import Call, ClientName, ServerName, SessionId

GOOD: Final = """
version = 1
ecosystem = "npm"
package = "@acme/files"
source = "read in the published code"

[[tool]]
name = "read"
labels = ["P", "U"]
class = "L"
reason = "reads a file"
"""
FILES: Final = "@modelcontextprotocol/server-filesystem"


@pytest.fixture(scope="module")
def book() -> LabelBook:
    return LabelBook(shipped_labels())


def test_a_label_file_says_what_its_tools_do() -> None:
    labels = parse_labels(GOOD.encode(), "acme.toml")
    assert (labels.ecosystem, labels.package) == ("npm", "@acme/files")
    assert labels.of("tools/call", "read") == Labels(frozenset({"P", "U"}), "L", "reads a file")


def test_a_server_that_keeps_something_says_why_and_only_then(book: LabelBook) -> None:
    memory = book.of("npm", "@modelcontextprotocol/server-memory")
    assert memory.state == "server" and "one file" in memory.keeps
    assert (UNLABELLED.state, parse_labels(GOOD.encode(), "acme.toml").state) == ("none", "none")
    for words in ('state = "server"', 'keeps = "a file"', 'state = "for-ever"\nkeeps = "a file"'):
        with pytest.raises(PolicyError, match="state"):
            parse_labels(GOOD.replace("version = 1", f"version = 1\n{words}").encode(), "acme.toml")


@given(st.text(), st.text())
def test_whatever_is_not_listed_is_the_worst_case(method: str, target: str) -> None:
    labels = parse_labels(GOOD.encode(), "acme.toml")
    if (method, target) != ("tools/call", "read"):
        assert labels.of(method, target) == WORST
    assert UNLABELLED.of(method, target) == WORST
    assert len(WORST.flags) == 4 and WORST.level == "H"


@pytest.mark.parametrize("method", ["resources/read", "prompts/get", "completion/complete", "tools/Call"])
def test_labels_of_a_tool_say_nothing_about_another_method_with_its_name(method: str) -> None:
    assert parse_labels(GOOD.encode(), "acme.toml").of(method, "read") == WORST


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('class = "L"', 'class = "M"', "'tool.0.class' is not acceptable"),
        ('class = "L"', 'klass = "L"', "'tool.0.class' is not acceptable"),
        ('class = "L"', 'class = "L"\nextra = 1', "'tool.0.extra' is not acceptable"),
        ('labels = ["P", "U"]', 'labels = ["X"]', "'tool.0.labels.0' is not acceptable"),
        ('reason = "reads a file"', "", "'tool.0.reason' is not acceptable"),
        ('ecosystem = "npm"', 'ecosystem = "any"', "'ecosystem' is not acceptable"),
        ("version = 1", "version = true", "'version' is not acceptable"),
        ("version = 1", "version = ", "is not TOML"),
        ("[[tool]]", '[[tool]]\nname = "read"\nlabels = []\nclass = "H"\nreason = "x"\n[[tool]]', "lists a tool twice"),
    ],
)
def test_a_label_file_that_is_wrong_is_refused_and_named(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(PolicyError, match=rf"^acme.toml.*{said}"):
        parse_labels(GOOD.replace(old, new).encode(), "acme.toml")


def test_labels_are_found_by_ecosystem_and_package_and_by_nothing_else(book: LabelBook) -> None:
    assert book.of("npm", FILES).of("tools/call", "read_file").level == "L"
    for ecosystem, package in (("pypi", FILES), ("npm", "server-filesystem"), ("npm", FILES.upper()), ("binary", ""),
                               ("npm", "@evil/server-filesystem"), ("script", FILES)):  # fmt: skip
        assert book.of(ecosystem, package) is UNLABELLED


def test_pypi_names_are_one_name_however_they_are_spelt(book: LabelBook) -> None:
    for name in ("mcp-server-time", "mcp_server_time", "MCP.Server-Time"):
        assert book.of("pypi", name).package == "mcp-server-time"


def test_every_shipped_file_says_where_its_labels_come_from_and_which_server_it_is_for() -> None:
    packages = {(ecosystem, package) for ecosystem, package in shipped_labels()}
    assert packages == {
        ("npm", FILES),
        ("npm", "@modelcontextprotocol/server-memory"),
        ("npm", "@modelcontextprotocol/server-everything"),
        ("npm", "@modelcontextprotocol/server-sequential-thinking"),
        ("npm", "@playwright/mcp"),
        ("pypi", "mcp-server-time"),
        ("pypi", "mcp-server-git"),
        ("pypi", "mcp-server-fetch"),
    }
    assert all(labels.source for labels in shipped_labels().values())


def test_no_shipped_tool_that_changes_or_sends_something_goes_unheld() -> None:
    for labels in shipped_labels().values():
        for name, tool in labels.tools.items():
            assert tool.level == "H" or not tool.flags & {"E", "M"}, (labels.package, name)


def test_what_a_server_with_hosts_is_told_counts_as_leaving_whatever_its_file_says() -> None:
    labels = parse_labels(GOOD.encode(), "acme.toml")
    assert labels.reaching(()) == labels
    one = labels.reaching(["api.example.com"]).of("tools/call", "read")
    assert (one.flags, one.level) == (frozenset({"P", "U", "E"}), "H")
    assert one.reason == "reads a file; and it was granted hosts to reach"
    assert labels.reaching(["api.example.com"]).of("prompts/get", "x") == WORST


def test_what_a_server_with_the_whole_network_says_was_written_by_strangers(book: LabelBook) -> None:
    quiet = parse_labels(GOOD.replace('labels = ["P", "U"]', "labels = []").encode(), "acme.toml")
    assert quiet.reaching(["api.example.com"]).of("tools/call", "read").flags == frozenset({"E"})
    assert quiet.reaching(["public:*"]).of("tools/call", "read").flags == frozenset({"E", "U"})


def test_a_call_is_labelled_by_its_method_and_target(book: LabelBook) -> None:
    call = Call(ClientName("c"), ServerName("anything"), SessionId("s"), "client", "tools/call", "write_file", {}, "")
    assert book.of("npm", FILES).of_call(call).flags == {"M"}
