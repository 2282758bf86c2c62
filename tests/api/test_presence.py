"""Who may loosen something at the desk."""

import pytest

from broker.api import schema
from broker.api.presence import why_absent
from broker.processes import Process

SHELL = Process(30, 20, "bash", 34816, 300)
APP = Process(20, 1, "app", 34816, 200)
FIRST = Process(1, 0, "init", 0, 1)
SUPERVISOR = 99


def test_a_person_at_a_terminal_may() -> None:
    assert why_absent([SHELL, APP, FIRST], frozenset(), SUPERVISOR, "required") is None


def test_nobody_below_a_client_may() -> None:
    why = why_absent([SHELL, APP, FIRST], {(APP.pid, APP.started)}, SUPERVISOR, "required")
    assert why == "the call came from inside app, which is a client of Bulkhead"
    assert why_absent([SHELL, APP, FIRST], {(APP.pid, APP.started + 1)}, SUPERVISOR, "required") is None


def test_a_caller_whose_line_cannot_be_seen_may_not_in_any_home() -> None:
    for presence in ("required", "unsafe-no-presence", "throw-away home"):
        assert why_absent([], frozenset(), SUPERVISOR, presence) is not None


@pytest.mark.parametrize(
    "route", [schema.APPROVE, schema.AGREE, schema.ACCEPT, schema.POLICY_USE, schema.CONNECT, schema.SESSION_END]
)
def test_what_lets_somebody_do_more_needs_a_person(route: schema.Route) -> None:
    """To end a session is to forget what it has read: whatever was held because of that would go through."""
    assert route.access == "loosen"
