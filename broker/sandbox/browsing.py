"""What a server may ask to have opened in a browser, and by which names it asks.  Pure.

What is not plainly an address of the web is no address.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.errors import SandboxError
from broker.sandbox.addresses import normal

MAX_ADDRESS: Final = 2048
SHOWN_AS: Final = Path("/run/bulkhead/open")
OPENER: Final = Path("/run/bulkhead/bin/xdg-open")
SCRIPT: Final = f"#!/bin/sh\nprintf '%s\\n' \"$1\" >{SHOWN_AS}\n".encode()
"""Inside, it stands in for every program that opens pages."""


def asks_for_pages(hosts: Sequence[str], listen: Sequence[int], image: bool, boxed: bool) -> bool:
    """Whether a server may ask for a page in the browser: one that reaches nothing has no use for it."""
    return boxed and not image and bool(hosts or listen)


def vetted(text: str) -> tuple[str, str]:
    """The address and its host, if it is plainly one of the web.

    Raises:
        SandboxError: why it is none.
    """
    if len(text) > MAX_ADDRESS or not all("!" <= letter <= "~" for letter in text) or "\\" in text:
        raise SandboxError("it is too long or holds what stands in no address")
    try:
        parts = urlsplit(text)
        _ = parts.port
        host = normal(parts.hostname or "")
    except ValueError as cause:
        raise SandboxError(f"it cannot be read: {cause}") from cause
    if parts.scheme not in ("http", "https") or not host:
        raise SandboxError("it is no http or https address")
    if parts.username is not None or parts.password is not None:
        raise SandboxError("it holds a name or a password")
    return text, host
