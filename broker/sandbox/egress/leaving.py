"""What is about to leave a sandbox, for somebody who knows where text came from, and where it is asked.

A lookup tells a name to strangers as well as a request does, so it is asked before the name is looked up.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from broker.sandbox.egress.receipts import Denied


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, as far as it can be seen: without inspection only the name, or what plain HTTP asks for."""

    host: str
    method: str
    url: str
    body: bytes = b""


Bodies: TypeAlias = Callable[[Outgoing], Awaitable[str]]
"""Why it must not leave; empty: it may."""


async def check_leaving(bodies: Bodies | None, outgoing: Outgoing) -> None:
    """Ask, if there is somebody to ask.  Raises Denied: it must not leave."""
    if bodies is not None and (reason := await bodies(outgoing)):
        raise Denied(f"what it carries may not leave: {reason}")
