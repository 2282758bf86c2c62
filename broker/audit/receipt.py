"""One entry of the audit chain: its exact bytes, and its link to the entry before.

An entry is one line of ASCII JSON.  Its keys are always those of `KEYS`, in that order, and then `hash`: the SHA-256
of the very bytes of the line without the `hash` field, `{...}` closed and without the newline.  `prev` repeats the
hash of the entry before, so no entry can be changed, moved, added or taken out without breaking a link that
`Chain.follow` names.  The first entry has number 1 and `prev` = 64 zeros (`GENESIS`).  What peers said to each other
stands in `body` sealed (`SEALED`); every other column is in clear.  `SECURITY.md` has the format for other readers.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol

from broker.errors import AuditError
from broker.model import Fact, JsonObject, Origin

VERSION: Final = 2
GENESIS: Final = "0" * 64
KEYS: Final = (
    "v", "seq", "time", "prev",
    "client", "server", "session", "link", "stories", "pin", "tier", "labels",
    "kind", "side", "method", "target", "request",
    "verdict", "rule", "reason", "evidence",
    "size", "digest", "durable", "truncated", "body",
)  # fmt: skip

MAX_BODY: Final = 64 * 1024  # of redacted JSON; what is longer stands as its digest and size
MAX_TEXT: Final = 2048  # characters of any other column; a URI of a hostile server may be as long as a whole frame
MAX_EVIDENCE: Final = 16
MAX_STORIES: Final = 16  # calls that were under way when something happened; their receipts say the rest
MAX_LINE: Final = 1024 * 1024  # above the sum of all bounds, every character escaped (12 bytes outside the BMP)


SEALED: Final = frozenset({"handshake", "request", "notification", "result", "decision", "stderr"})
"""Kinds whose bodies are words of peers; those of the others are our own."""
BACKWARD: Final = 1.0  # seconds a clock may be set back without a word: what keeps it right does that
CLOCK: Final = "clock-jump"  # the target of the entry that tells of a clock that was set


class Redact(Protocol):
    """Takes secrets out (`redact.Redactor`)."""

    def names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Each as compact ASCII JSON."""

    def suspects(self, text: str) -> bool:
        """Whether there may be a secret in this JSON."""

    def json(self, value: JsonObject | None) -> str:
        """As compact ASCII JSON."""

    def text(self, text: str) -> str: ...


class Seal(Protocol):
    """Makes a body unreadable without the vault (`keys.AuditKeys`)."""

    def shut(self, seq: int, body: bytes) -> str: ...


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}\n', re.ASCII)
_TAIL_LENGTH = len(b',"hash":""}\n') + 64


encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
quote = json.encoder.encode_basestring_ascii


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry as it was written.  `line` is all of it, with the newline."""

    seq: int
    time: str
    prev: str
    hash: str
    line: bytes

    @property
    def entry(self) -> JsonObject:
        """The columns as a reader of the file sees them: redacted and bounded."""
        parsed: JsonObject = json.loads(self.line)
        return parsed


@dataclass(frozen=True, slots=True)
class Problem:
    """The first entry that is not what the chain says: its line (from 1) among those checked, and its number."""

    line: int
    seq: int
    why: str


def iso(when: float) -> str:
    """Seconds since the epoch as receipts write them."""
    second, micro = divmod(round(when * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micro:06d}Z"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:19]


def seal(
    previous_hash: str, seq: int, when: float, origin: Origin, fact: Fact, redact: Redact, bodies: Seal
) -> Receipt:
    """Make the entry number `seq` that follows the one with `previous_hash`.  `when` is seconds since the epoch.

    Raises:
        AuditError: the fact holds something that JSON cannot say.
    """
    time = iso(when)
    try:
        cut = _Cut(redact)
        whose, said, body = _whose(origin, redact, cut), _said(fact, cut), encode(fact.body)
        if redact.suspects(f"{said}\n{body}"):
            said, body = _said(fact, cut, redact.text), redact.json(fact.body)
        # What is ours (numbers, digests) is not searched: nothing of it was ever said by anybody.
        durable = "true" if fact.durable else "false"
        ours = f'"size":{fact.size},"digest":{quote(cut.text(fact.digest))},"durable":{durable}'
        truncated = cut.happened
        sealed = fact.body is not None and fact.kind in SEALED
        if sealed or len(body) > MAX_BODY:
            data, too_long = body.encode("ascii"), len(body) > MAX_BODY
            truncated = truncated or too_long
            end = "" if too_long else f',"sealed":"{bodies.shut(seq, data)}"'
            body = f'{{"digest":"{hashlib.sha256(data).hexdigest()}","size":{len(data)}{end}}}'
    except (ValueError, TypeError, RecursionError) as cause:
        raise AuditError(f"a {fact.kind} entry cannot be written as JSON") from cause
    head = f'{{"v":{VERSION},"seq":{seq},"time":"{time}","prev":"{previous_hash}",'
    end = f',"truncated":{"true" if truncated else "false"},"body":{body}'
    core = f"{head}{whose}{said}{ours}{end}".encode("ascii")
    own = hashlib.sha256(core + b"}").hexdigest()
    return Receipt(seq, time, previous_hash, own, core + f',"hash":"{own}"}}\n'.encode("ascii"))


def _whose(origin: Origin, redact: Redact, cut: "_Cut") -> str:
    """The columns of `origin`."""
    names: tuple[str, ...] = (
        origin.client,
        origin.server,
        origin.session,
        origin.link,
        origin.pin,
        origin.tier,
        origin.labels,
    )
    if max(map(len, names)) > MAX_TEXT:
        names = tuple(map(cut.text, names))
    client, server, session, link, pin, tier, labels = redact.names(names)
    stories = ",".join(map(quote, origin.stories[:MAX_STORIES]))
    return (
        f'"client":{client},"server":{server},"session":{session},"link":{link},"stories":[{stories}],'
        f'"pin":{pin},"tier":{tier},"labels":{labels},'
    )


def _said(fact: Fact, cut: "_Cut", clean: Callable[[str], str] = _as_it_is) -> str:
    """The columns of `fact`, its texts `clean`.  Written by hand: this is on the way of every message."""
    decision, request = fact.decision, fact.request
    if decision is None:
        decided = '"verdict":null,"rule":null,"reason":null,"evidence":[]'
    else:
        evidence = ",".join(quote(clean(text)) for text in cut.texts(decision.evidence))
        decided = (
            f'"verdict":"{decision.verdict.value}","rule":{quote(clean(cut.text(decision.rule)))},'
            f'"reason":{quote(clean(cut.text(decision.reason)))},"evidence":[{evidence}]'
        )
    if isinstance(request, str):
        asked = quote(clean(cut.text(request)))
    else:
        asked = "null" if request is None else f"{request:d}"
        asked = asked if clean(asked) == asked else quote(clean(asked))
    return (
        f'"kind":"{fact.kind}","side":"{fact.side}","method":{quote(clean(cut.text(fact.method)))},'
        f'"target":{quote(clean(cut.text(fact.target)))},"request":{asked},{decided},'
    )


class _Cut:
    """Bounds texts and remembers whether it had to.  Secrets go first: half of one is still a secret."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self.happened = False

    def text(self, text: str) -> str:
        if len(text) <= MAX_TEXT:
            return text
        self.happened = True
        return self._redact.text(text)[:MAX_TEXT] + "\u2026"

    def texts(self, texts: tuple[str, ...]) -> list[str]:
        self.happened = self.happened or len(texts) > MAX_EVIDENCE
        return [self.text(text) for text in texts[:MAX_EVIDENCE]]


class Chain:
    """Follows entries one by one from a known link.  `seq`, `hash` and `time` are those of the last good entry.

    `jumps` are the entries that tell of a clock that was set: by how many seconds.
    """

    version = VERSION
    keys: tuple[str, ...] = KEYS
    tells_of_clocks = True

    def __init__(self, seq: int = 0, hash: str = GENESIS, time: str = "") -> None:
        self.seq = seq
        self.hash = hash
        self.time = time
        self.jumps: list[tuple[int, str]] = []

    def follow(self, line: bytes) -> str:
        """Return "" and move on if `line` is the entry that comes next, else why it is not."""
        tail = _TAIL.fullmatch(line, max(0, len(line) - _TAIL_LENGTH))
        if tail is None:
            return "the line has no hash at its end"
        own = tail.group(1).decode("ascii")
        if hashlib.sha256(line[:-_TAIL_LENGTH] + b"}").hexdigest() != own:
            return "the entry does not match its own hash: it was changed"
        try:
            pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
            keys = tuple(key for key, _ in pairs)
        except (ValueError, TypeError, RecursionError):
            return "the line is not one JSON object"
        if keys != (*self.keys, "hash"):
            return "the entry does not have the keys of an audit entry in their order"
        entry = dict(pairs)
        if entry["v"] != self.version:
            return f"the entry has version {str(entry['v'])[:20]}, not {self.version}"
        if entry["seq"] != self.seq + 1:
            return f"entry {self.seq + 1} is expected here, and this one says {str(entry['seq'])[:20]}"
        if entry["prev"] != self.hash:
            return f"the entry does not follow entry {self.seq}: its link to the one before does not match"
        if not isinstance(entry["time"], str) or _TIME.fullmatch(entry["time"]) is None:
            return "the entry has no time"
        told = entry["target"] == CLOCK and entry["kind"] == "daemon"
        if self.tells_of_clocks and not told and (back := _set_back(self.time, entry["time"])):
            return back
        if told:
            self.jumps.append((self.seq + 1, str(entry["reason"])))
        self.seq, self.hash, self.time = self.seq + 1, own, entry["time"]
        return ""


def _set_back(before: str, now: str) -> str:
    """Why an entry of `now` cannot stand behind one of `before`; "" if it can.  One format, so text is compared."""
    if now >= before:
        return ""
    seconds = (datetime.fromisoformat(before) - datetime.fromisoformat(now)).total_seconds()
    if seconds <= BACKWARD:
        return ""
    return f"the entry is {seconds:.0f} s older than the one before it, and none tells of a clock that was set back"


def check(lines: Iterable[bytes], seq: int = 0, hash: str = GENESIS) -> Problem | None:
    """Follow `lines` from a known link (from the beginning, unless told) and name the first that breaks the chain."""
    chain = Chain(seq, hash)
    for number, line in enumerate(lines, 1):
        if why := chain.follow(line):
            return Problem(number, chain.seq + 1, why)
    return None
