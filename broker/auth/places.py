"""Addresses that a server named: which of them may be asked, judged before anything is sent.

How near a place may lie follows from where the server lies that a person registered: one in the public network names
public places alone, and plain http is for this machine, where the server itself is on it.  What the name resolves to is
judged again when it is dialled.  Pure.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final
from urllib.parse import urlsplit

from broker.auth.problems import AuthError
from broker.sandbox.addresses import (
    LOOPBACK,
    METADATA_NAMES,
    address_of,
    is_public,
    never,
    normal,
    of_own_network,
)

MAX_ADDRESS: Final = 2048
PORTS: Final = {"https": 443, "http": 80}
_PLAIN: Final = re.compile(r"[\x21\x23-\x26\x28-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")
"""Printable ASCII without what a shell, a terminal or a quoted text could take for its own."""


class Near(IntEnum):
    """How near to the user something lies."""

    PUBLIC = 0
    OWN_NETWORK = 1
    THIS_MACHINE = 2


@dataclass(frozen=True, slots=True)
class Place:
    """An address that may be asked, exactly as it was written.  Only `place_of` makes one."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        port = "" if PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


def near(host: str) -> Near:
    """Where a host lies, by its name or its written address."""
    address = address_of(host)
    if host == "localhost" or (address is not None and address in LOOPBACK):
        return Near.THIS_MACHINE
    if address is not None:
        return Near.PUBLIC if is_public(address) else Near.OWN_NETWORK
    return Near.OWN_NETWORK if of_own_network(host) else Near.PUBLIC


def place_of(url: object, allowed: Near, what: str) -> Place:
    """The place a server named; `what` says for an error what it is.

    Raises:
        AuthError: it may not be asked.
    """
    if not isinstance(url, str) or len(url) > MAX_ADDRESS or _PLAIN.fullmatch(url) is None:
        raise AuthError("address", what)
    try:
        parts = urlsplit(url)
        host, port = normal(parts.hostname or ""), parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as cause:
        raise AuthError("address", what) from cause
    if "@" in parts.netloc or "#" in url or parts.scheme not in PORTS or host != parts.hostname:
        raise AuthError("address", what)
    where, address = near(host), address_of(host)
    if where > allowed or host in METADATA_NAMES or (address is not None and never(address, port)):
        raise AuthError("address", what)
    if parts.scheme == "http" and where is not Near.THIS_MACHINE:
        raise AuthError("address", what)
    return Place(url, parts.scheme, host, port, parts.path, parts.query)


def registered(url: str) -> Place:
    """The place of a server that a person registered; its own distance is what it may name.

    Raises:
        AuthError: it is no place that may be asked.
    """
    return place_of(url, Near.THIS_MACHINE, "the server itself")


def covers(resource: Place, server: Place) -> bool:
    """Whether what is said of `resource` holds for the server: the same place, or a folder of paths above it."""
    above, below = (place.path.rstrip("/") + "/" for place in (resource, server))
    climbs = any(part in above.lower() for part in ("/../", "/./", "%2e", "%2f", "%5c", "//"))
    return resource.origin == server.origin and below.startswith(above) and not climbs and not resource.query
