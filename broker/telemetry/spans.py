"""The requests of one link as spans: one for what the client waits for, one within it for what the server does.

A trace begins with the client's `traceparent` or, without one, with the name of the request's story; every id is made
of that name, so receipts and spans find each other.  No argument, no result and no path of the user is in a span.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from broker.audit.export import trace_of
from broker.model import Fact, JsonObject, Verdict

Kind: TypeAlias = Literal["server", "client"]
TRACEPARENT: Final = "traceparent"  # in `_meta`, as MCP has it
MAX_OPEN: Final = 512  # of one link; what is beyond is not traced
_PARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a request.  Times are nanoseconds since the epoch; `error` says in a word why it failed."""

    name: str
    kind: Kind
    trace: str
    id: str
    parent: str
    start: int
    end: int = 0
    error: str = ""
    sampled: bool = True
    attributes: Mapping[str, str | int] = field(default_factory=dict)


def span_id(story: str, step: str) -> str:
    return hashlib.sha256(f"bulkhead span {story} {step}".encode()).hexdigest()[:16]


@dataclass(slots=True)
class _Open:
    outer: Span
    inner: Span | None = None
    refused: str = ""


class LinkSpans:
    """Follows the facts of one link; `names` are attributes that all of its spans have."""

    def __init__(self, client: str, server: str, session: str) -> None:
        self._names = {"bulkhead.client": client, "bulkhead.server": server, "mcp.session.id": session}
        self._open: dict[str, _Open] = {}
        self._asked: dict[str | int, str] = {}

    def heard(self, fact: Fact, story: str, now: int) -> list[Span]:
        """What ended with `fact`, which belongs to `story`."""
        found = self._open.get(story)
        if found is None:
            if fact.side == "client" and fact.kind in ("request", "decision", "handshake") and fact.method:
                self._begin(fact, story, now)
            return []
        if fact.decision is not None and fact.decision.verdict is Verdict.DENY:
            found.refused = fact.decision.rule
        if fact.kind != "result":
            return []
        return self._end(fact, story, found, now)

    def outgoing(self, message: JsonObject, now: int) -> JsonObject:
        """A message on its way to the server: a request carries on its trace."""
        identifier = message.get("id")
        story = self._asked.get(identifier, "") if isinstance(identifier, str | int) and "method" in message else ""
        found = self._open.get(story)
        if found is None:
            return message
        outer = found.outer
        own = span_id(story, "server")
        found.inner = replace(outer, kind="client", id=own, parent=outer.id, start=now)
        params = message.get("params", {})
        flags = "01" if outer.sampled else "00"
        meta = {**params.get("_meta", {}), TRACEPARENT: f"00-{outer.trace}-{own}-{flags}"}
        return {**message, "params": {**params, "_meta": meta}}

    def _begin(self, fact: Fact, story: str, now: int) -> None:
        if len(self._open) >= MAX_OPEN:
            return
        trace, parent, sampled = _parent(fact.body, story)
        attributes: dict[str, str | int] = {
            **self._names, "mcp.method.name": fact.method, "bulkhead.story": story, "network.transport": "pipe",
        }  # fmt: skip
        if fact.request is not None:
            attributes["jsonrpc.request.id"] = str(fact.request)
            self._asked[fact.request] = story
        if fact.method in ("tools/call", "prompts/get"):
            attributes["gen_ai.tool.name" if fact.method == "tools/call" else "gen_ai.prompt.name"] = fact.target
        name = f"{fact.method} {fact.target}" if fact.method in ("tools/call", "prompts/get") else fact.method
        self._open[story] = _Open(
            Span(name, "server", trace, span_id(story, "client"), parent, now, sampled=sampled, attributes=attributes)
        )

    def _end(self, fact: Fact, story: str, found: _Open, now: int) -> list[Span]:
        del self._open[story]
        self._asked = {request: other for request, other in self._asked.items() if other != story}
        body = fact.body or {}
        result = body.get("result")
        failed = "error" in body or (isinstance(result, dict) and result.get("isError") is True)
        error = found.refused or ("tool_error" if failed else "")
        refused = {"bulkhead.rule": found.refused} if found.refused else {}
        labelled = {**found.outer.attributes, **refused}
        ended = [replace(found.outer, end=now, error=error, attributes=labelled)]
        if found.inner is not None:
            ended.append(replace(found.inner, end=now, error="tool_error" if failed else ""))
        return ended


def _parent(params: JsonObject | None, story: str) -> tuple[str, str, bool]:
    """Trace, parent span and whether it is to be told, of a request with these params."""
    meta = (params or {}).get("_meta")
    said = meta.get(TRACEPARENT) if isinstance(meta, dict) else None
    found = _PARENT.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        return trace_of(story), "", True
    return found[1], found[2], bool(int(found[3], 16) & 1)
