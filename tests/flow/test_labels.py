"""Labels: what nobody vouched for is the worst case, and a file speaks for its own package only."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.flow.label_file import ACCEPTED, Accepted, format_accepted, parse_accepted, parse_labels
from broker.flow.labels import UNLABELLED, WORST, Labels, ServerLabels, hinted
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
        ('class = "L"', 'class = "M"', "line 10: 'tool[0].class' is not acceptable"),
        ('class = "L"', 'klass = "L"', "line 10: unknown key 'tool[0].klass'"),
        ('class = "L"', 'class = "L"\nextra = 1', "line 11: unknown key 'tool[0].extra'"),
        ('labels = ["P", "U"]', 'labels = ["X"]', "line 9: 'tool[0].labels[0]' is not acceptable"),
        ('reason = "reads a file"', "", "line 7: the key 'tool[0].reason' is missing"),
        ('ecosystem = "npm"', 'ecosystem = "any"', "line 3: 'ecosystem' is not acceptable"),
        ("version = 1", "version = true", "line 2: 'version' is not acceptable"),
        ("version = 1", "version = ", "line 2 is not TOML"),
        ("[[tool]]", '[[tool]]\nname = "read"\nlabels = []\nclass = "H"\nreason = "x"\n[[tool]]',
         "line 13 lists a tool twice"),
    ],
)  # fmt: skip
def test_a_label_file_that_is_wrong_is_refused_with_file_and_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(PolicyError) as caught:
        parse_labels(GOOD.replace(old, new).encode(), "acme.toml")
    assert str(caught.value).startswith(f"acme.toml, {said}")


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
        ("npm", "@modelcontextprotocol/server-brave-search"),
        ("npm", "@modelcontextprotocol/server-github"),
        ("npm", "@modelcontextprotocol/server-google-maps"),
        ("npm", "@modelcontextprotocol/server-postgres"),
        ("npm", "@modelcontextprotocol/server-slack"),
        ("npm", "@brave/brave-search-mcp-server"),
        ("npm", "@notionhq/notion-mcp-server"),
        ("npm", "@playwright/mcp"),
        ("npm", "@upstash/context7-mcp"),
        ("npm", "tavily-mcp"),
        ("pypi", "duckduckgo-mcp-server"),
        ("pypi", "mcp-server-sqlite"),
        ("pypi", "mcp-server-time"),
        ("pypi", "mcp-server-git"),
        ("pypi", "mcp-server-fetch"),
    }
    assert all(labels.source for labels in shipped_labels().values())


def test_every_shipped_tool_that_changes_something_or_takes_an_address_is_held() -> None:
    quiet = {("mcp-server-sqlite", "append_insight")}  # a line in its own memory
    for labels in shipped_labels().values():
        for name, tool in labels.tools.items():
            if "M" in tool.flags and (labels.package, name) not in quiet:
                assert tool.level == "H", (labels.package, name)
            if tool.reason.startswith("an address carries"):
                assert tool.level == "H" and "E" in tool.flags, (labels.package, name)


def test_what_a_server_with_hosts_is_told_counts_as_leaving_whatever_its_file_says() -> None:
    labels = parse_labels(GOOD.encode(), "acme.toml")
    assert labels.reaching(()) == labels
    one = labels.reaching(["api.example.com"]).of("tools/call", "read")
    assert (one.flags, one.level) == (frozenset({"P", "U", "E"}), "L")
    assert one.reason == "reads a file; and what it is told may leave"
    assert labels.reaching(["api.example.com"]).of("prompts/get", "x") == WORST
    writes = parse_labels(GOOD.replace('["P", "U"]', '["M"]').encode(), "acme.toml")
    assert writes.of("tools/call", "read").level == "L"
    assert writes.reaching(["api.example.com"]).of("tools/call", "read").level == "H"


def test_a_server_elsewhere_and_one_that_keeps_something_count_like_one_with_hosts() -> None:
    labels = parse_labels(GOOD.encode(), "acme.toml")
    assert labels.reaching((), elsewhere=True) == labels.reaching(["a.example"]) == labels.reaching((), keeps=True)


def test_what_a_server_with_the_whole_network_says_was_written_by_strangers(book: LabelBook) -> None:
    quiet = parse_labels(GOOD.replace('labels = ["P", "U"]', "labels = []").encode(), "acme.toml")
    assert quiet.reaching(["api.example.com"]).of("tools/call", "read").flags == frozenset({"E"})
    wide = quiet.reaching(["public:*"]).of("tools/call", "read")
    assert (wide.flags, wide.level) == (frozenset({"E", "U"}), "H")


def test_labels_of_a_package_do_not_hold_for_one_that_another_repository_published(book: LabelBook) -> None:
    assert book.of("npm", FILES, "https://github.com/ModelContextProtocol/servers").package == FILES
    assert book.of("npm", FILES, "https://github.com/evil/servers") is UNLABELLED
    nobody = "@modelcontextprotocol/server-slack"  # its publications were never attested
    assert book.of("npm", nobody).package == nobody
    assert book.of("npm", nobody, "https://github.com/evil/servers") is UNLABELLED


_HINTS: Final = st.fixed_dictionaries(
    {},
    optional={name: st.booleans() for name in ("readOnlyHint", "destructiveHint", "openWorldHint", "idempotentHint")},
)
_LABELS: Final = st.builds(
    Labels,
    st.frozensets(st.sampled_from(["P", "U", "E", "M"])),
    st.sampled_from(["H", "L"]),
    st.just("why"),
    st.lists(st.sampled_from(["owner", "repo"]), unique=True).map(tuple),
)


@given(_LABELS, st.one_of(_HINTS, st.text()))
def test_what_a_server_says_of_its_own_tool_never_takes_a_risk_away(before: Labels, notes: object) -> None:
    after = hinted(before, {"name": "t", "annotations": notes})
    assert after.flags >= before.flags and (before.level, after.level) != ("H", "L")


def test_a_server_that_warns_of_its_own_tool_is_believed() -> None:
    quiet = Labels(frozenset(), "L", "computes")
    assert hinted(quiet, {"annotations": {"destructiveHint": True}}).level == "H"
    assert hinted(quiet, {"annotations": {"readOnlyHint": False}}).flags == {"M"}
    assert hinted(quiet, {"annotations": {"openWorldHint": True}}).flags == {"U"}
    assert hinted(quiet, {"annotations": {"readOnlyHint": True, "openWorldHint": False}}) == quiet
    known = parse_labels(GOOD.encode(), "acme.toml").hinted(
        [{"name": "read", "annotations": {"destructiveHint": True}}]
    )
    assert known.of("tools/call", "read").level == "H"


@given(st.dictionaries(st.text(min_size=1, max_size=20), _LABELS, min_size=1, max_size=5))
def test_what_a_person_accepted_is_read_as_it_was_written(tools: dict[str, Labels]) -> None:
    accepted = Accepted("npm x", "a" * 64, ServerLabels(source=ACCEPTED, tools=tools))
    again = parse_accepted(format_accepted(accepted), "labels/x.toml")
    assert (again.publisher, again.catalog, dict(again.labels.tools)) == ("npm x", "a" * 64, tools)


def test_a_call_is_labelled_by_its_method_and_target(book: LabelBook) -> None:
    call = Call(ClientName("c"), ServerName("anything"), SessionId("s"), "client", "tools/call", "write_file", {}, "")
    assert book.of("npm", FILES).of_call(call).flags == {"M"}
