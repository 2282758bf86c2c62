"""Checks by receipts alone that the rules on data flow held, with nothing of the broker's code.

    python -m broker.laws AUDIT.jsonl

One object a line, as an audit segment or an export has them; `bulkhead replay` asks it about all that it judges.
Checked, for every session by itself:

T1  an effect (a client's call that is not recorded as of class L) goes before anything was read of another compartment
    that no person declassified since, or by a person's yes to exactly these bytes, or by a grant that a person gave;
T2  a yes counts in the session in which it was asked for;
T4  one yes, one call: no token lets a second request go, and none goes more than 120 seconds after its yes.

(T3, that no definition reaches a client that was not agreed to, is seen in messages, not in receipts.)
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

Entry: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, str]
"""A server, and the part of it."""
Source: TypeAlias = tuple[str, str, str, str]
"""A place, and the call by which it was read: method and target."""

SECONDS: Final = 120.0
TOKEN: Final = re.compile(r"R5 token ([0-9a-f]{16})")
PLACE: Final = re.compile(r"class ([HL]) in (\S+?)(?: part (\S+))?")
HARMLESS: Final = {
    "initialize", "server/discover", "ping", "logging/setLevel", "subscriptions/listen", "resources/unsubscribe",
    "tools/list", "prompts/list", "resources/list", "resources/templates/list",
    "tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "bulkhead/connection",
}  # fmt: skip
WORDLESS: Final = {"notifications/cancelled", "notifications/progress"}


@dataclass(slots=True)
class Session:
    """What one session has read, was allowed, and did."""

    client: str
    reads: set[Source] = field(default_factory=set)
    yeses: dict[str, Entry] = field(default_factory=dict)
    used: dict[str, object] = field(default_factory=dict)
    granted: bool = False
    places: dict[tuple[str, object], Place] = field(default_factory=dict)
    undelivered: dict[tuple[str, object], Source] = field(default_factory=dict)


def violations(entries: Iterable[Entry]) -> Iterator[str]:
    """Every entry that breaks a rule, with why."""
    sessions: dict[str, Session] = {}
    held = True
    for number, entry in enumerate(entries, 1):
        if entry["method"] == "policy.use":
            held = entry["target"] != "observe"
        if entry["method"] in ("session.end", "session.new"):  # a person let it begin anew
            for name, one in sessions.items():
                if name.startswith(entry["session"]) and entry["client"] in ("", one.client):
                    one.reads.clear()
        session = sessions.setdefault(entry["session"], Session(entry["client"]))
        for why in _follow(session, entry, held):
            yield f"entry {entry.get('seq', number)}: {why}"


def _follow(session: Session, entry: Entry, held: bool) -> Iterator[str]:
    key, kind, side = (entry["link"], entry["request"]), entry["kind"], entry["side"]
    body = entry["body"] or {}
    if kind == "grant" and side == "person":
        session.granted = True
    elif kind == "answer" and entry["verdict"] == "allow" and (token := TOKEN.search(entry["reason"] or "")):
        session.yeses[token[1]] = entry
    elif kind == "decision" and side == "client" and entry["verdict"] == "allow":
        yield from _gone(session, entry, key, held)
    elif kind == "decision" and side == "client" and entry["verdict"] == "deny":
        session.used = {token: user for token, user in session.used.items() if user != key}  # it did not go after all
    elif kind == "policy" and side == "person" and entry["method"] == "session.declassify":
        session.reads.discard((entry["server"], body["part"], body["method"], body["target"]))
    elif kind == "decision" and entry["verdict"] == "allow" and side == "server" and "params" not in body:
        session.reads.add((entry["server"], "", entry["method"], ""))
    elif kind == "result" and side == "server" and "dropped" not in body:
        source = (*session.places.get(key, (entry["server"], "")), entry["method"], entry["target"])
        if entry["method"] not in HARMLESS or body.get("result"):
            if source not in session.reads:  # else the client has it from before
                session.undelivered[key] = source
            session.reads.add(source)
    elif kind == "result" and side == "broker":
        if (kept := session.undelivered.pop(key, None)) is not None and "isError" in json.dumps(body):
            session.reads.discard(kept)  # the client got our refusal in its place
        if "kept" in body or (body.get("pinned") == "resources" and body.get("count")):
            session.reads.add((*session.places.get(key, (entry["server"], "")), entry["method"], entry["target"]))
    elif kind == "notification" and side == "server" and not _said_nothing(entry["method"], body):
        session.reads.add((entry["server"], "", entry["method"], ""))


def _said_nothing(method: str, body: Entry) -> bool:
    return "dropped" in body or (method in WORDLESS and not body.get("message"))


def _gone(session: Session, entry: Entry, key: tuple[str, object], held: bool) -> Iterator[str]:
    said = [found for line in entry["evidence"] if (found := PLACE.fullmatch(line))]
    level, server, part = said[-1].groups() if said else ("H", entry["server"], "")
    here = (server, part or "")
    session.places[key] = here
    session.undelivered.pop(key, None)
    token = TOKEN.search(entry["reason"] or "")
    if token is not None:
        yield from _by(session, entry, token[1], key)
        return
    elsewhere = sorted({read[:2] for read in session.reads if read[:2] != here})
    if entry["rule"].startswith("person:"):
        return  # it waits for its server, and names the yes when it goes
    free = entry["rule"].startswith("grant:") and session.granted
    if held and level == "H" and entry["method"] not in HARMLESS and elsewhere and not free:
        yield f"T1: {entry['target']} of {here} went after {elsewhere[0]} was read, and nobody said yes"


def _by(session: Session, entry: Entry, token: str, key: tuple[str, object]) -> Iterator[str]:
    answer = session.yeses.get(token)
    if answer is None:
        yield f"T2: {entry['target']} went by the yes {token}, which nobody gave in this session"
    elif answer["digest"] != entry["digest"] or answer["server"] != entry["server"]:
        yield f"T1: {entry['target']} went by the yes {token}, which is for another call"
    elif _seconds(answer, entry) > SECONDS:
        yield f"T4: {entry['target']} went by the yes {token}, which was over"
    if session.used.setdefault(token, key) != key:
        yield f"T4: {entry['target']} went by the yes {token}, which another call had used"


def _seconds(earlier: Entry, later: Entry) -> float:
    if not earlier.get("time") or not later.get("time"):
        return 0.0
    return (datetime.fromisoformat(later["time"]) - datetime.fromisoformat(earlier["time"])).total_seconds()


def main() -> int:
    with Path(sys.argv[1]).open() as file:
        found = list(violations(json.loads(line) for line in file))
    sys.stdout.write("".join(f"{line}\n" for line in found) or "the rules held\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
