"""The lists: open questions, servers, receipts; and the daemon in one line.

One row is one line, cut to the width there is; every string goes through `present`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from textual.content import Content

from broker.api import schema
from ui import blocked
from ui.known import Known, ReceiptLine
from ui.present import columns, left, untrusted, untrusted_block

QUESTION_WIDTHS: Final = (10, 7, 28)
SERVER_WIDTHS: Final = (18, 10, 12, 12, 5)
RECEIPT_WIDTHS: Final = (8, 12, 14, 12, 5)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a list.  `cells` is laid out for the width there is; without `widths` it is one running text."""

    key: str
    cells: tuple[Content, ...]
    widths: tuple[int, ...] = ()

    def draw(self, width: int) -> Content:
        return columns(self.cells, self.widths, width)


def _heading(names: Sequence[str], widths: Sequence[int]) -> Row:
    return Row("", tuple(Content(name) for name in names), tuple(widths))


SERVER_HEADING: Final = _heading(("Server", "State", "Version", "Tree", "Tools", "Command"), SERVER_WIDTHS)
RECEIPT_HEADING: Final = _heading(("UTC", "Kind", "Client", "Server", "Said", "About"), RECEIPT_WIDTHS)


def question_row(question: schema.QuestionView, now: float) -> Row:
    cells = (
        untrusted(question.kind),
        Content(f"{left(question.deadline, now):>7}"),
        Content.assemble(untrusted(question.client), " → ", untrusted(question.server)),
        untrusted(question.what),
    )
    return Row(question.id, cells, QUESTION_WIDTHS)


# --- servers -----------------------------------------------------------------------------------------------------


def server_state(server: schema.ServerView) -> str:
    """In one word, the worst first."""
    if server.malware:
        return "malware"
    if not server.enabled:
        return "disabled"
    return "vulnerable" if server.vulnerabilities and server.state == "pinned" else server.state


def server_row(server: schema.ServerView) -> Row:
    state = server_state(server)
    cells = (
        untrusted(server.name),
        Content(state).stylize("bold" if state in ("malware", "drift", "vulnerable") else ""),
        untrusted(server.version or "-"),
        untrusted(short(server.tree) or "-"),
        Content(f"{len(server.tools):>5}"),
        untrusted(" ".join(server.argv)),
    )
    return Row(server.name, cells, SERVER_WIDTHS)


def server_rows(server: schema.ServerView) -> list[Row]:
    """A server, and below it what it may not reach."""
    below = [Row(key, (Content.assemble("    └ ", words),)) for key, words in blocked.words_of(server)]
    return [server_row(server), *below]


def server_at(known: Known, key: str) -> schema.ServerView | None:
    """The server whose row, or one of whose rows, has `key`."""
    wanted = blocked.wanted_at(known, key)
    return wanted.server if wanted is not None else known.server(key)


def short(digest: str) -> str:
    """Enough of a hash to recognise it; `sha256:` says nothing a person needs."""
    return digest.removeprefix("sha256:")[:12]


# --- receipts ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A receipt in the tail; drawn only while it is on the screen."""

    line: ReceiptLine
    name: str = ""
    """Its key, where another one is wanted than its place in the tail."""

    @property
    def key(self) -> str:
        return self.name or self.line.key

    def draw(self, width: int) -> Content:
        column = self.line.column
        about = " ".join(text for text in (column("target"), column("method")) if text)
        rule = f"  [{column('rule')}]" if column("rule") else ""
        cells = (
            untrusted(_time_of_day(column("time"))),
            untrusted(column("kind")),
            untrusted(column("client")),
            untrusted(column("server")),
            untrusted(column("verdict")),
            untrusted(about + rule),
        )
        return columns(cells, RECEIPT_WIDTHS, width)


def receipt_words(line: ReceiptLine) -> Content:
    return untrusted_block(json.dumps(line.entry, indent=2, ensure_ascii=False))


def _time_of_day(stamp: str) -> str:
    """`2026-11-21T12:03:20.000000Z` -> `12:03:20`, as it is written: receipts say UTC."""
    return stamp.partition("T")[2][:8] or stamp[:8]


# --- the daemon --------------------------------------------------------------------------------------------------


def status_line(status: schema.Status | None, known: Known) -> Content:
    if status is None:
        return Content("waiting for the daemon")
    return Content.assemble(
        "bulkhead ", untrusted(status.version, 20), "  tier ", untrusted(status.tier, 24), "  keychain ",
        untrusted(status.keychain, 16), "  policy ", untrusted(status.policy, 24), "  ",
        f"{len(known.questions)} open", "  throw-away home" if status.presence == "throw-away home" else "",
    )  # fmt: skip


def warnings(known: Known) -> list[Content]:
    """What a person must not overlook, loudest first."""
    said: list[Content] = []
    status = known.status
    if status is not None and status.presence == "unsafe-no-presence":
        said.append(Content("UNSAFE-NO-PRESENCE: any program may answer in your place"))
    if not known.connected:
        said.append(Content.assemble("DAEMON AWAY: ", untrusted(known.trouble or "connecting")))
    if status is not None and status.tier == "none":
        said.append(Content.assemble("NO SANDBOX on this machine: ", untrusted(status.tier_note)))
    if status is not None and status.policy_problem:
        said.append(Content.assemble("policy: ", untrusted(status.policy_problem)))
    if status is not None and status.drifted_documents:
        names = untrusted(", ".join(status.drifted_documents))
        said.append(Content.assemble("changed outside Bulkhead, not in force: ", names, " (3, then r)"))
    return said
