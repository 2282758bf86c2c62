"""The sessions as an indented list: client, its sessions, their links, what was denied, read and allowed.

Keys say what a row is about; whoever acts on one asks here what that is.
"""

from datetime import tzinfo
from typing import Final

from textual.content import Content

from broker.api import schema
from ui import blocked
from ui.known import Known
from ui.listings import Row
from ui.present import clock_time, count, untrusted

LINK_WIDTHS: Final = (22, 17)


def session_rows(known: Known, zone: tzinfo | None) -> list[Row]:
    """Client, its sessions, their links and what was read, as an indented list.  Keys of sessions are `session:ID`."""
    rows: list[Row] = []
    by_client: dict[str, list[schema.SessionView]] = {}
    for session in known.sessions:
        by_client.setdefault(session.client, []).append(session)
    for client, sessions in by_client.items():
        rows.append(Row(f"client:{client}", (untrusted(client).stylize("bold"),)))
        for session in sessions:
            rows.extend(_session(session, known, zone))
    return rows


def session_at(known: Known, key: str) -> schema.SessionView | None:
    """The session whose row, or one of whose rows, has `key`."""
    return next(
        (found for found in known.sessions if key == _session_key(found) or key.startswith(f"{_session_key(found)}:")),
        None,
    )


def link_at(known: Known, key: str) -> schema.LinkView | None:
    """The link whose row has `key`."""
    return next(
        (link for one in known.sessions for link in one.links if key == f"{_session_key(one)}:link:{link.id}"), None
    )


def read_at(known: Known, key: str) -> schema.ReadView | None:
    """The read whose row has `key`."""
    return next(
        (read for one in known.sessions for read in one.readings if key == f"{_session_key(one)}:read:{read.id}"), None
    )


def grant_at(known: Known, key: str) -> schema.GrantView | None:
    """The yes whose row has `key`."""
    _, sign, id = key.rpartition(":grant:")
    return next((grant for grant in known.grants if sign and grant.id == id), None)


READS: Final = {"P": "private", "U": "untrusted", "E": "told to others", "M": "changed something"}
"""In the words a person thinks in; the letters are those of the labels."""


def read_words(read: schema.ReadView) -> Content:
    """`private, untrusted from mail (tools/call search), 3 times`."""
    kinds = ", ".join(READS[flag] for flag in read.labels) or "what is harmless"
    harmless = "  (declared harmless)" if read.clean else ""
    times = f", {count(read.times, 'time')}" if read.times > 1 else ""
    return Content.assemble(
        Content(kinds).stylize("bold"),
        " from ",
        untrusted(read.server),
        " (",
        untrusted(read.what),
        ")",
        times,
        harmless,
    )


def _is_of(grant: schema.GrantView, session: schema.SessionView) -> bool:
    return (
        grant.lifetime == "session" and bool(grant.session) and session.id.startswith(grant.session[: len(session.id)])
    )


def _grant(grant: schema.GrantView) -> Content:
    what = "may use " if grant.kind == "connection" else "was allowed "
    return Content.assemble(
        what, untrusted(grant.server), " ", untrusted(grant.target), " until it ends  (x takes it back)"
    )


def _session_key(session: schema.SessionView) -> str:
    return f"session:{session.id}"


def _session(session: schema.SessionView, known: Known, zone: tzinfo | None) -> list[Row]:
    key = _session_key(session)
    about = Content.assemble(
        "  session ", untrusted(session.id, 40).stylize("bold"), f"  since {clock_time(session.started, zone)}  ",
        untrusted(session.root_executable), f" ({session.root_pid})",
    )  # fmt: skip
    inside: list[tuple[str, tuple[Content, ...]]] = [(f"link:{link.id}", _link(link)) for link in session.links]
    for name in dict.fromkeys(link.server for link in session.links):
        server = known.server(name)
        inside.extend((at, (words,)) for at, words in (blocked.words_of(server) if server is not None else ()))
    reads = [(read.id, read_words(read)) for read in session.readings]
    if not reads:
        reads = [(str(place), untrusted(read)) for place, read in enumerate(session.reads)]
    inside.extend((f"read:{id}", (Content.assemble("has read ", words),)) for id, words in reads)
    inside.extend((f"grant:{grant.id}", (_grant(grant),)) for grant in known.grants if _is_of(grant, session))
    rows = [Row(key, (about,))]
    if session.effects:
        share = f"    {count(session.effects, 'effect')}, {session.autonomy:.0%} of them without a question"
        rows.append(Row(f"{key}:effects", (Content(share),)))
    if session.workspace:
        rows.append(Row(f"{key}:workspace", (Content.assemble("    in ", untrusted(session.workspace)),)))
    for place, (name, (first, *others)) in enumerate(inside):
        branch = "    └ " if place == len(inside) - 1 else "    ├ "
        cells = (Content.assemble(branch, first), *others)
        rows.append(Row(f"{key}:{name}", cells, LINK_WIDTHS if others else ()))
    if not inside:
        rows.append(Row(f"{key}:nothing", (Content("    └ no links open, nothing read"),)))
    return rows


def _link(link: schema.LinkView) -> tuple[Content, ...]:
    process = f"pid {link.pid}" if link.pid else "no process"
    tier = Content.assemble("tier ", untrusted(link.tier)) if link.tier else Content("no tier")
    return (
        untrusted(link.server),
        Content(link.state),
        Content.assemble(tier, f"  {count(link.calls, 'call')}{_memory(link.memory)}  {process}"),
    )


def _memory(bytes_used: int) -> str:
    return f"  {bytes_used >> 20} MiB" if bytes_used else ""
