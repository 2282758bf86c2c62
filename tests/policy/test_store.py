"""The policy and the grants in force: from agreed documents, never looser than what was agreed to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError, PolicyError
from broker.model import Call, ClientName, Decision, Lifetime, ServerName, SessionId, Verdict
from broker.policy.document import parse_policy
from broker.policy.grants import Grant, format_grants, grant_for, parse_grants
from broker.policy.store import GRANTS, POLICY, GrantBook, PolicyStore, shipped

CALL = Call(ClientName("cursor"), ServerName("files"), SessionId("s-1"), "client", "tools/call", "write_file", {},
            "d" * 64)  # fmt: skip
ASKED = Decision(Verdict.ASK, "every-call", "this policy asks for every tool call")
R3 = Decision(Verdict.ASK, "R3", "read from time", ("sources: time", "read from time: tools/call now"))
LOOSE = b"""version = 1
name = "loose"
description = "allows all"
[[rule]]
name = "all"
effect = "allow"
reason = "fine"
"""


class Shelf:
    """Agreed documents in memory."""

    def __init__(self, **texts: bytes) -> None:
        self.texts = {name.replace("_", "."): text for name, text in texts.items()}
        self.full = False

    def load(self, name: str) -> bytes | None:
        return self.texts.get(name)

    def write(self, name: str, data: bytes) -> None:
        if self.full:
            raise ConfigError(f"{name} cannot be written: no space left on device")
        self.texts[name] = data


def book(shelf: Shelf) -> GrantBook:
    numbers = iter(range(1, 1000))
    return GrantBook(shelf, lambda: 1000.0, lambda: f"g{next(numbers)}")


def test_without_an_agreed_policy_the_shipped_default_is_in_force() -> None:
    assert PolicyStore(Shelf()).current == parse_policy(shipped("balanced"), "balanced.toml")


def test_a_policy_with_an_unknown_key_keeps_the_daemon_from_starting() -> None:
    with pytest.raises(PolicyError, match=r"policy.toml, line 1: unknown key 'foo'"):
        PolicyStore(Shelf(policy_toml=b"foo = 1\n" + LOOSE))


def test_a_policy_that_goes_bad_later_leaves_the_last_good_one_in_force() -> None:
    shelf = Shelf(policy_toml=shipped("strict"))
    store = PolicyStore(shelf)
    shelf.texts[POLICY] = LOOSE.replace(b"effect", b"effct")
    problem = store.reload()
    assert "line 6" in problem and "the last good policy (strict) stays in force" in problem
    assert (store.current.name, store.problem) == ("strict", problem)
    shelf.texts[POLICY] = shipped("observe")
    assert (store.reload(), store.problem, store.current.name) == ("", "", "observe")


def test_a_chosen_policy_is_checked_before_anything_is_written() -> None:
    shelf = Shelf(policy_toml=shipped("strict"))
    store = PolicyStore(shelf)
    with pytest.raises(PolicyError):
        store.use(b"nonsense", "mine.toml")
    assert (shelf.texts[POLICY], store.current.name) == (shipped("strict"), "strict")
    assert store.use(LOOSE, "mine.toml").name == "loose"
    assert PolicyStore(shelf).current.name == "loose"


def test_a_policy_that_cannot_be_written_is_not_in_force() -> None:
    shelf = Shelf()
    store = PolicyStore(shelf)
    shelf.full = True
    with pytest.raises(ConfigError):
        store.use(LOOSE, "mine.toml")
    assert store.current.name == "balanced"


def test_there_is_no_shipped_policy_of_another_name() -> None:
    for name in ("../balanced", "cases/balanced", "none"):
        with pytest.raises(PolicyError, match="there is no policy named"):
            shipped(name)


def test_a_yes_for_always_answers_the_same_question_after_a_restart() -> None:
    shelf = Shelf()
    grant = book(shelf).add("call", CALL, ASKED, "always")
    settled = book(shelf).settle(replace(CALL, session=SessionId("s-2"), digest="e" * 64), ASKED)
    assert settled == Decision(Verdict.ALLOW, "grant:g1", "you allowed it (always)")
    assert grant == parse_grants(shelf.texts[GRANTS], GRANTS)[0]


def test_a_yes_for_the_session_ends_with_it_and_is_never_written() -> None:
    shelf = Shelf()
    grants = book(shelf)
    grants.add("call", CALL, ASKED, "session")
    assert grants.settle(CALL, ASKED).verdict is Verdict.ALLOW
    assert grants.settle(replace(CALL, session=SessionId("s-2")), ASKED) is ASKED
    assert shelf.texts == {} and book(shelf).settle(CALL, ASKED) is ASKED
    grants.end_session(CALL.session)
    assert grants.settle(CALL, ASKED) is ASKED and grants.all() == ()


def test_a_yes_for_once_leaves_nothing_behind() -> None:
    grants = book(Shelf())
    assert grants.add("call", CALL, ASKED, "once") is None
    assert grants.settle(CALL, ASKED) is ASKED


@pytest.mark.parametrize(
    "other",
    [
        replace(CALL, client=ClientName("claude")),
        replace(CALL, server=ServerName("time")),
        replace(CALL, method="prompts/get"),
        replace(CALL, target="write_files"),
    ],
)
def test_a_yes_is_for_exactly_what_was_asked(other: Call) -> None:
    grants = book(Shelf())
    grants.add("call", CALL, ASKED, "always")
    assert grants.settle(other, ASKED) is ASKED
    assert grants.settle(CALL, replace(ASKED, rule="another-rule")).verdict is Verdict.ASK


def test_a_target_with_pattern_characters_is_no_pattern() -> None:
    grants = book(Shelf())
    grants.add("call", replace(CALL, target="*"), ASKED, "always")
    assert grants.settle(CALL, ASKED) is ASKED


@given(
    verdict=st.sampled_from(Verdict),
    rule=st.sampled_from(("every-call", "R3", "default")),
    lifetime=st.sampled_from(("session", "always")),
    evidence=st.sampled_from(((), ("sources: a",), ("sources: a, b", "x"))),
)
def test_no_grant_lifts_a_denial(verdict: Verdict, rule: str, lifetime: Lifetime, evidence: tuple[str, ...]) -> None:
    grant = grant_for("g", "call", CALL, Decision(Verdict.ASK, rule, "", evidence), lifetime, 0.0)
    decision = Decision(verdict, rule, "", evidence)
    assert grant.matches(CALL, decision) == (verdict is Verdict.ASK)
    grants = book(Shelf(grants_toml=format_grants((grant,))))
    if verdict is not Verdict.ASK:
        assert grants.settle(CALL, decision) is decision


def test_a_denial_cannot_be_granted_at_all() -> None:
    for verdict in (Verdict.DENY, Verdict.ALLOW):
        with pytest.raises(PolicyError, match="only a question can be granted"):
            book(Shelf()).add("call", CALL, Decision(verdict, "r", ""), "always")


def test_a_yes_to_a_cross_server_hold_is_for_its_sources_and_this_session_only() -> None:
    shelf = Shelf()
    grants = book(shelf)
    grant = grants.add("call", CALL, R3, "always")
    assert grant is not None and (grant.lifetime, grant.basis) == ("session", "sources: time")
    assert shelf.texts == {}
    assert grants.settle(CALL, R3).verdict is Verdict.ALLOW
    assert grants.settle(CALL, replace(R3, evidence=("sources: mail, time",))).verdict is Verdict.ASK
    assert grants.settle(replace(CALL, session=SessionId("s-2")), R3) is R3


def test_an_import_grants_a_connection_and_only_where_the_policy_asks() -> None:
    shelf, balanced = Shelf(), parse_policy(shipped("balanced"), "")
    grants = book(shelf)
    client, server, session = CALL.client, CALL.server, CALL.session
    assert grants.connected(client, server, session, balanced).verdict is Verdict.ASK
    assert grants.connect(client, server, balanced) is not None
    assert grants.connect(client, server, balanced) is None, "once is enough"
    assert book(shelf).connected(client, server, session, balanced).verdict is Verdict.ALLOW
    assert grants.connected(client, ServerName("time"), session, balanced).verdict is Verdict.ASK
    assert grants.connected(ClientName("x"), server, session, balanced).verdict is Verdict.ASK
    denying = parse_policy(LOOSE.replace(b"allow", b"deny"), "")
    assert grants.connected(client, server, session, denying).verdict is Verdict.DENY
    assert grants.connect(client, ServerName("time"), denying) is None


def test_what_is_taken_back_is_gone_on_disk_too() -> None:
    shelf = Shelf()
    grants = book(shelf)
    standing, session = grants.add("call", CALL, ASKED, "always"), grants.add("call", CALL, ASKED, "session")
    assert grants.all() == (standing, session)
    assert grants.revoke("g1") == standing and grants.revoke("g2") == session and grants.revoke("g1") is None
    assert grants.settle(CALL, ASKED) is ASKED and book(shelf).all() == ()


def test_a_removed_server_takes_its_grants_with_it() -> None:
    shelf = Shelf()
    grants = book(shelf)
    for server in ("files", "time"):
        for lifetime in ("always", "session"):
            grants.add("call", replace(CALL, server=ServerName(server)), ASKED, lifetime)
    assert len(grants.forget(server="files")) == 2
    assert {grant.server for grant in grants.all()} == {"time"} == {grant.server for grant in book(shelf).all()}
    assert len(grants.forget(client="cursor")) == 2 and grants.all() == ()
    assert grants.forget() == ()


def test_a_grant_that_cannot_be_written_is_not_in_force() -> None:
    shelf = Shelf()
    grants = book(shelf)
    shelf.full = True
    with pytest.raises(ConfigError):
        grants.add("call", CALL, ASKED, "always")
    assert grants.settle(CALL, ASKED) is ASKED


@pytest.mark.parametrize("text", [b"nonsense", b"version = 2", b"version = 1\nextra = 1", b"\xff",
                                  b'version = 1\n[[grant]]\nid = "a"\nkind = "call"\nclient = "c"'])  # fmt: skip
def test_grants_that_cannot_be_read_are_no_grants(text: bytes) -> None:
    with pytest.raises(PolicyError, match=r"^grants.toml"):
        book(Shelf(grants_toml=text))
    shelf = Shelf()
    grants = book(shelf)
    grants.add("call", CALL, ASKED, "always")
    shelf.texts[GRANTS] = text
    assert grants.reload().startswith("grants.toml")
    assert grants.settle(CALL, ASKED) is ASKED


words = st.text(min_size=1, max_size=20).filter(lambda text: "\r" not in text)


@given(st.lists(st.builds(
    Grant, id=words, kind=st.sampled_from(("connection", "call")), client=words.map(ClientName),
    server=words.map(ServerName), lifetime=st.just("always"), created=st.floats(0, 2e9), method=words, target=words,
    rule=words, digest=words,
), max_size=5))  # fmt: skip
def test_grants_come_back_from_their_text_as_they_were(grants: list[Grant]) -> None:
    assert parse_grants(format_grants(tuple(grants)), GRANTS) == tuple(grants)
