"""What a server's document says of its network, and what was blocked, as a person sees it."""

from pathlib import Path

import pytest

from broker.blocked import KEPT, BlockedBook
from broker.documents import parse
from broker.errors import ConfigError, SandboxError
from broker.model import Decision, Fact, Grants, Injection, Inspection, ServerName, Verdict
from broker.network import EgressTable, SecretTable, check_network, inspection_of, tables

TOY = ServerName("toy")
TOKEN = Injection("TOKEN", "Authorization", "api.example.com", ("GET",), "/v1/*")
INSPECTION = Inspection(("GET api.example.com/v1/*",), (TOKEN,))


def test_what_is_written_is_read_back() -> None:
    written = tables(INSPECTION)
    secrets = {name: SecretTable(**table) for name, table in written["secrets"].items()}
    assert inspection_of(EgressTable(**written["egress"]), secrets) == INSPECTION
    assert inspection_of(EgressTable(), {}) is None and tables(None) == {}


def test_an_unknown_key_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"the document of server toy is wrong at inspct"):
        parse(EgressTable, b"inspct = true", "server toy")
    with pytest.raises(ConfigError, match=r"wrong at header"):
        parse(SecretTable, b'host = "a.example"\nmethod = ["GET"]', "secret")


@pytest.mark.parametrize(
    ("egress", "secrets", "key"),
    [(EgressTable(rules=["api.example.com"]), {}, "egress.rules"),
     (EgressTable(), {"TOKEN": SecretTable(header="X-Key", host="a.example", method=["GET"])}, "secrets.TOKEN")],
)  # fmt: skip
def test_rules_and_secrets_without_inspection_are_refused(
    egress: EgressTable, secrets: dict[str, SecretTable], key: str
) -> None:
    with pytest.raises(SandboxError, match=f"{key} needs connections that are looked into"):
        inspection_of(egress, secrets)


@pytest.mark.parametrize(
    ("grants", "variables", "said"),
    [(Grants(hosts=("api.example.com",), inspection=INSPECTION), [], "secrets.TOKEN of toy names no variable"),
     (Grants(hosts=("x.example.com",), inspection=INSPECTION), ["TOKEN"], "secrets.TOKEN.host of toy is"),
     (Grants(hosts=("public:*",)), ["TOKEN"], "cannot have public"),
     (Grants(hosts=("public:*",), read=(Path("/srv/notes"),)), [], "cannot have public")],
)  # fmt: skip
def test_what_may_not_stand_together_is_refused(grants: Grants, variables: list[str], said: str) -> None:
    with pytest.raises(SandboxError, match=said):
        check_network(TOY, grants, variables)
    check_network(TOY, Grants(hosts=("api.example.com",), inspection=INSPECTION), ["TOKEN"])


def denied(grant: str | None, verdict: Verdict = Verdict.DENY) -> Fact:
    body = {"via": "proxy", **({"grant": grant} if grant else {})}
    return Fact("egress", "server", "connect", f"{grant}:443", decision=Decision(verdict, "hosts", "no"), body=body)


def test_what_was_blocked_is_kept_once_each_with_the_grant_that_would_allow_it() -> None:
    book = BlockedBook(lambda: 7.0)
    for fact in (denied("a.example"), denied("b.example"), denied("a.example"), denied(None),
                 denied("c.example", Verdict.ALLOW)):  # fmt: skip
        book.note(TOY, fact)
    assert [(one.grant, one.times) for one in book.of(TOY)] == [("a.example", 2), ("b.example", 1)]
    book.forget(TOY, ("a.example",))
    assert [one.grant for one in book.of(TOY)] == ["b.example"]
    book.forget(TOY)
    assert book.of(TOY) == ()


def test_no_server_fills_the_book() -> None:
    book = BlockedBook(lambda: 7.0)
    for number in range(1000):
        book.note(TOY, denied(f"h{number}.example"))
    assert [one.grant for one in book.of(TOY)][:2] == ["h999.example", "h998.example"] and len(book.of(TOY)) == KEPT


def test_limits_that_ended_a_server_and_what_it_left_are_told_once_each_and_newest_first() -> None:
    book = BlockedBook(lambda: 7.0)
    ended = Fact("exit", "broker", "limit", TOY, body={"limit": "memory", "reason": "it was over its limit of 512M"})
    files = [f"/home/ann/notes/.git/hooks/{number} (runs)" for number in range(5)]
    left = Fact("violation", "broker", "leftover", TOY, body={"left": files, "more": 2, "whole": True})
    for fact in (ended, left, ended, Fact("exit", "server", "normal", TOY)):
        book.note(TOY, fact)
    assert [(one.text, one.times) for one in book.happened(TOY)] == [
        ("it was over its limit of 512M", 2),
        (f"it left {', '.join(files[:3])} and 4 more", 1),
    ]
    assert book.of(TOY) == ()
    book.forget(TOY)
    assert book.happened(TOY) == ()
