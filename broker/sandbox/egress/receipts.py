"""What goes out of one sandbox and what is kept in, as facts for the audit log.

A connection is recorded before it is dialled, and again with its bytes when it has ended.  A denial names the narrowest
grant that would allow it; one that repeats itself is counted, not written again, so that no server can fill the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from broker.errors import SandboxError
from broker.model import Decision, Fact, ServerName, Verdict
from broker.sandbox.egress.wire import Carried
from broker.sandbox.hosts import HostRule, narrowest

Via: TypeAlias = Literal["proxy", "socks", "direct", "names"]
"""Through which door: the HTTP proxy, the SOCKS proxy, a connection as if there were no wall, the name service."""

SAME_AGAIN: Final = 60.0  # seconds in which the same denial is counted only
DENIALS_A_MINUTE: Final = 60
KNOWN: Final = 256
SHOWN: Final = 260


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a server wants to go.  `host` may be its own words: it is shown, never dialled.

    Where requests are looked into, `request` is the method and `path` the path without its query.
    """

    via: Via
    host: str
    port: int = 0
    request: str = ""
    path: str = ""

    def __str__(self) -> str:
        place = f"{_shown(self.host)}:{self.port}" if self.port else _shown(self.host)
        return f"{self.request} {place}{_shown(self.path)}" if self.request else place


class Denied(SandboxError):
    """A way out that is closed.  `reason` is for whoever asked, and holds nothing of what they said."""

    def __init__(self, reason: str, *, grant: HostRule | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.grant = grant


class Receipts:
    """The facts of one sandbox."""

    def __init__(
        self, server: ServerName, record: Callable[[Fact], None], clock: Callable[[], float], *, tool: bool = False
    ) -> None:
        """`tool`: what goes out is the work of a tool that gets packages, and no grant can widen its ways."""
        self._server = server
        self._tool = tool
        self._side: Literal["server", "broker"] = "broker" if tool else "server"
        self._record = record
        self._clock = clock
        self._last: dict[tuple[Via, str, str], float] = {}
        self._minute = clock()
        self._written = 0
        self._counted = 0

    def opened(self, asked: Asked, rule: HostRule, address: str) -> None:
        """It is about to be dialled.  Raises what `record` raises; then it must not be."""
        why = (
            f"your configuration of {self._server} names it" if self._tool else f"you granted {rule} to {self._server}"
        )
        decision = Decision(Verdict.ALLOW, f"host:{rule}", why)
        body = {"via": asked.via, "address": address}
        self._record(Fact("egress", self._side, "connect", str(asked), decision=decision, body=body))

    def requested(self, asked: Asked, secrets: tuple[str, ...]) -> None:
        """A request is about to be sent over a connection that is looked into, with these secrets in it."""
        body: dict[str, object] = {"via": asked.via}
        if secrets:
            body["secrets"] = list(secrets)
        self._record(Fact("egress", self._side, "request", str(asked), body=body))

    def closed(self, asked: Asked, address: str, carried: Carried, seconds: float) -> None:
        body = {"via": asked.via, "address": address, "bytes_out": carried.out, "bytes_in": carried.back,
                "seconds": round(seconds, 3)}  # fmt: skip
        self._record(Fact("egress", self._side, "close", str(asked), size=carried.out + carried.back, body=body))

    def denied(self, asked: Asked, denied: Denied) -> None:
        """Write it down, or count it if the same was written a moment ago or too many were."""
        now = self._clock()
        if now - self._minute >= SAME_AGAIN:
            self._minute, self._written = now, 0
        key = (asked.via, str(asked), denied.reason)
        if now - self._last.get(key, now - SAME_AGAIN) < SAME_AGAIN or self._written >= DENIALS_A_MINUTE:
            self._counted += 1
            return
        self._last.pop(key, None)
        while len(self._last) >= KNOWN:
            del self._last[next(iter(self._last))]
        self._last[key] = now
        self._written += 1
        self._write(asked, denied)

    def finish(self) -> None:
        """Write what was only counted."""
        if self._counted:
            body = {"not_written": self._counted}
            self._counted = 0
            reason = "denials that were the same as one before, or too many to be written one by one"
            decision = Decision(Verdict.DENY, "hosts", reason)
            self._record(Fact("egress", self._side, "denials", self._server, decision=decision, body=body))

    def remedy(self, grant: HostRule | None) -> str:
        """What a person can type to allow it; empty if nothing can."""
        return f"bulkhead grant {self._server} --host {grant}" if grant is not None and not self._tool else ""

    def _write(self, asked: Asked, denied: Denied) -> None:
        remedy = self.remedy(denied.grant)
        reason = f"{denied.reason}; to allow it: {remedy}" if remedy else denied.reason
        body: dict[str, object] = {"via": asked.via}
        if denied.grant is not None and not self._tool:
            body["grant"] = str(denied.grant)
        if self._counted:
            body["not_written"] = self._counted
            self._counted = 0
        method = "lookup" if asked.via == "names" else "request" if asked.request else "connect"
        decision = Decision(Verdict.DENY, "hosts", reason)
        self._record(Fact("egress", self._side, method, str(asked), decision=decision, body=body))


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:SHOWN])


def not_granted(host: str, port: int) -> Denied:
    """No rule covers it."""
    return Denied(f"no grant covers {host} at port {port}", grant=narrowest(host, port))
