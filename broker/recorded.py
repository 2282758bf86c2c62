"""What opened receipts say of calls: who wanted what with which arguments, how it was judged, and what came back.

Pure.  A call that waited for its server was judged twice; the last judgement is the one that counted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker.model import Call, ClientName, JsonObject, ServerName, SessionId
from broker.policy.learn import LEARNED, Seen
from broker.replay import Event


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of a client.  `verdict` and `rule` are as they were recorded; `result` is what came back, as text."""

    receipt: int
    call: Call
    verdict: str
    rule: str
    result: str = ""

    @property
    def event(self) -> Event:
        return Event(self.call.server, self.call.target, self.call.arguments, self.result, self.call.method)

    @property
    def seen(self) -> Seen:
        return Seen(self.call, self.receipt)


def recorded(entries: Iterable[JsonObject]) -> tuple[Recorded, ...]:
    """The calls that these entries, oldest first, tell of, in the order in which they were first asked for."""
    found: dict[tuple[object, object], Recorded] = {}
    for entry in entries:
        key = entry.get("link"), entry.get("request")
        if entry.get("kind") == "decision" and entry.get("side") == "client" and entry.get("method") in LEARNED:
            known = found.get(key)
            judged = Recorded(int(entry["seq"]), call_of(entry), _word(entry, "verdict"), _word(entry, "rule"))
            found[key] = judged if known is None else replace(judged, receipt=known.receipt)
        elif entry.get("kind") == "result" and entry.get("side") == "server" and key in found:
            found[key] = replace(found[key], result=_result(entry))
    return tuple(found.values())


def call_of(entry: Mapping[str, Any]) -> Call:
    """The call that a decision was about."""
    body = entry.get("body")
    arguments = body.get("arguments") if isinstance(body, dict) else None
    return Call(
        ClientName(_word(entry, "client")), ServerName(_word(entry, "server")), SessionId(_word(entry, "session")),
        "client", _word(entry, "method"), _word(entry, "target"), arguments if isinstance(arguments, dict) else {},
        _word(entry, "digest"),
    )  # fmt: skip


def _result(entry: Mapping[str, Any]) -> str:
    """What a model would have read: the texts, and whatever else there is as JSON."""
    body = entry.get("body")
    result = body.get("result") if isinstance(body, dict) else None
    if not isinstance(result, dict):
        return ""
    content = result.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    rest = {name: value for name, value in result.items() if name != "content"}
    return "\n".join([*texts, json.dumps(rest)] if rest else texts)


def _word(entry: Mapping[str, Any], name: str) -> str:
    return str(entry.get(name) or "")
