"""A session reads from one side of a wall only, and a limit leaves nothing but what it names."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import PolicyError
from broker.model import Call, ClientName, Decision, ServerName, SessionId, Side, Verdict
from broker.policy.wall_book import WALLS, WallBook
from broker.policy.walls import Limit, Wall, Walls, format_walls, parse_walls, permitted

MONEY: Final = Wall("money", {"bank": ("bank", "tax-*"), "web": ("fetch", "github:acme/site")})
HERE: Final = Walls((MONEY,))
DESK: Final = ClientName("desk")


def mark(scope: str) -> str:
    return f"<{scope}>" if scope else ""


def crossing(server: str, *reads: str, scope: str = "", walls: Walls = HERE) -> Decision | None:
    """`reads`: `SERVER` or `SERVER:SCOPE`."""
    pairs = [one.partition(":") for one in reads]
    return walls.crossing(server, mark(scope), [(name, mark(part)) for name, _, part in pairs], mark)


@pytest.mark.claim("C86")
def test_who_read_on_one_side_of_a_wall_gets_nothing_of_the_other_and_is_told_why() -> None:
    assert crossing("fetch") is None and crossing("fetch", "notes") is None
    assert crossing("fetch", "notes", "tax-2026") == Decision(
        Verdict.DENY,
        "R2",
        "this session has read from tax-2026 (bank), and the wall money keeps web apart from it; to use fetch: begin a "
        "new session (bulkhead session new)",
        ("wall money: bank | web",),
    )


def test_servers_of_one_class_and_servers_outside_of_it_meet() -> None:
    assert crossing("bank", "tax-1", "notes", "github:acme/other") is None
    assert crossing("notes", "bank", "fetch") is None


def test_a_part_of_a_server_stands_on_a_side_of_its_own() -> None:
    assert crossing("github", "bank", scope="acme/other") is None
    assert crossing("github", "bank", scope="acme/site") is not None
    assert crossing("bank", "github:acme/other") is None
    assert crossing("bank", "github:acme/site") is not None


def test_where_the_side_cannot_be_told_it_is_the_other_one() -> None:
    assert crossing("github", "bank") is not None, "a call that names no part may be about any"
    assert crossing("bank", "github") is not None, "what was read from an unnamed part may be of any"
    assert crossing("bank", "?") is not None, "a read that cannot be understood may be of any server"
    both = Walls((Wall("two", {"a": ("github:acme/site",), "b": ("github:acme/shop",)}),))
    refused = crossing("github", walls=both)
    assert refused is not None and "does not say which" in refused.reason
    assert crossing("github", scope="acme/site", walls=both) is None


servers = st.sampled_from(("bank", "tax-1", "fetch", "notes", "github:acme/site", "github:acme/other"))


@given(st.lists(servers, max_size=12))
def test_whatever_is_asked_in_whatever_order_the_two_sides_never_meet(asked: list[str]) -> None:
    reads: list[str] = []
    for one in asked:
        server, _, scope = one.partition(":")
        if crossing(server, *reads, scope=scope) is None:
            reads.append(one)
    assert not ({"bank", "tax-1"} & set(reads) and {"fetch", "github:acme/site"} & set(reads))
    assert [one for one in asked if one in ("notes", "github:acme/other")] == [
        one for one in reads if one in ("notes", "github:acme/other")
    ]


def call(server: str, target: str, method: str = "tools/call", origin: Side = "client", session: str = "s") -> Call:
    return Call(DESK, ServerName(server), SessionId(session), origin, method, target, {}, "")


LIMITED: Final = Walls(limits=(Limit("l1", DESK, ("notes/read_*", "time")),))


@pytest.mark.claim("C87")
def test_a_limited_client_has_the_named_tools_of_the_named_servers_and_nothing_else() -> None:
    assert permitted(LIMITED, call("notes", "read_all")) is None
    assert permitted(LIMITED, call("time", "now")) is None
    assert permitted(LIMITED, call("time", "x", "resources/read")) is None
    refused = Decision(Verdict.DENY, "limit", "desk is limited to other tools (limit l1)")
    assert permitted(LIMITED, call("notes", "write")) == refused
    assert permitted(LIMITED, call("notes", "read_all", "prompts/get")) == refused
    assert permitted(LIMITED, call("notes", "read_all", "resources/read")) == refused
    assert permitted(LIMITED, call("mail", "read_all")) == refused
    assert permitted(LIMITED, call("mail", "sampling/createMessage", "sampling/createMessage", "server")) == refused
    assert permitted(LIMITED, replace(call("mail", "read"), client=ClientName("other"))) is None


def test_limits_add_up_and_one_of_a_session_is_for_that_session() -> None:
    more = replace(LIMITED, limits=(*LIMITED.limits, Limit("l2", DESK, ("notes",), SessionId("s"))))
    assert permitted(more, call("notes", "read_all")) is None
    assert permitted(more, call("time", "now")) == Decision(
        Verdict.DENY, "limit", "this session is limited to other tools (limit l2)"
    )
    assert permitted(more, call("time", "now", session="another")) is None


@given(st.lists(st.sampled_from(("notes", "notes/read", "time", "mail/*", "*")), max_size=4), servers, servers)
def test_another_limit_never_permits_more(tools: list[str], server: str, target: str) -> None:
    tighter = replace(LIMITED, limits=(*LIMITED.limits, Limit("l2", DESK, tuple(tools))))
    if permitted(tighter, call(server, target)) is None:
        assert permitted(LIMITED, call(server, target)) is None


class Drawer:
    """Documents in memory."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    def load(self, name: str) -> bytes | None:
        assert name == WALLS
        return self.data

    def write(self, name: str, data: bytes) -> None:
        self.data = data


def test_what_was_put_up_stands_after_a_restart_until_it_is_taken_down() -> None:
    drawer = Drawer()
    book = WallBook(drawer, lambda: "l1")
    book.add_wall(MONEY)
    book.add_limit(DESK, ("notes/read_*",), SessionId("a" * 64))
    again = WallBook(drawer, lambda: "l2")
    assert (
        again.current == book.current == Walls((MONEY,), (Limit("l1", DESK, ("notes/read_*",), SessionId("a" * 64)),))
    )
    again.remove_wall("money")
    again.forget(session="a" * 64)
    assert WallBook(drawer, str).current == Walls()


def test_a_document_gone_bad_leaves_the_last_good_walls_and_starts_nothing() -> None:
    drawer = Drawer(format_walls(HERE))
    book = WallBook(drawer, str)
    drawer.data = b"version = 1\nwal = []"
    assert "'wal' is not acceptable" in book.reload() and book.current == HERE
    with pytest.raises(PolicyError, match="'wal' is not acceptable"):
        WallBook(drawer, str)


ONE_SIDE: Final = b'version = 1\n[[wall]]\nname = "w"\nclasses = { a = ["x"] }\n'
BOTH: Final = b'version = 1\n[[wall]]\nname = "w"\nclasses = { a = ["x"], b = ["x"] }\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ONE_SIDE, "the wall w has no two sides"),
        (BOTH, "something stands on both sides of the wall w"),
        (b"version = 2", "'version' is not acceptable"),
        (b"version = ", "is not TOML"),
        (format_walls(Walls((MONEY, MONEY))), "two of its walls have one name"),
        (format_walls(replace(LIMITED, limits=LIMITED.limits * 2)), "two of its limits have one name"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused_by_name(text: bytes, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        parse_walls(text, WALLS)


@pytest.mark.parametrize(("act", "said"), [("remove_wall", "no wall 'x'"), ("remove_limit", "no limit 'x'")])
def test_what_is_not_there_cannot_be_taken_away(act: str, said: str) -> None:
    take: Callable[[str], object] = getattr(WallBook(Drawer(), str), act)
    with pytest.raises(PolicyError, match=said):
        take("x")
