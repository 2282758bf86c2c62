"""Servers that run elsewhere, started as if they ran here.  Nothing of HTTP is loaded before one is needed."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from broker.endpoints.proxy_book import ProxyBook
from broker.errors import SandboxError
from broker.model import NamedArtifact
from broker.protocol.frames import MAX_FRAME

if TYPE_CHECKING:
    from broker.endpoints.http_channel import Credentials
    from broker.endpoints.http_reach import Reach
    from broker.endpoints.http_upstream import RemoteInstance

RESERVED: Final = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "accept-encoding", "te"}
    | {"upgrade", "keep-alive", "last-event-id", "expect", "trailer"}
)
"""What a request says of itself; nobody else may."""
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE: Final = re.compile(r"[\x20-\x7e\t]{1,8192}")


class Remotes:
    """The pools of connections to all servers that run elsewhere."""

    def __init__(
        self,
        credentials: "Callable[[str, str, str], Credentials] | None" = None,
        proxies: ProxyBook | None = None,
    ) -> None:
        """`credentials` gives what a client (the first) has for a server at an address."""
        self._proxies = proxies or ProxyBook()
        self._credentials = credentials
        self._reach: Reach | None = None

    def start(
        self, artifact: NamedArtifact, headers: Mapping[str, str], client: str = "", most: int = MAX_FRAME
    ) -> "RemoteInstance":
        """A conversation with the server; its variables are headers that go with every request.

        Raises:
            SandboxError: its address is none that may be asked, or a header is none that may be given.
        """
        from broker.endpoints.http_proxy import Ways
        from broker.endpoints.http_reach import Reach
        from broker.endpoints.http_upstream import RemoteInstance

        check_headers(artifact.server, headers)
        if self._reach is None:
            self._reach = Reach(Ways(self._proxies).dial)
        url, given = artifact.argv[0], {name.lower(): value for name, value in headers.items()}
        credentials = self._credentials(client, artifact.server, url) if client and self._credentials else None
        return RemoteInstance(self._reach, url, given, credentials, most)

    async def close(self) -> None:
        if self._reach is not None:
            await self._reach.close()


def check_address(url: str) -> None:
    """Refuse an address that may not be asked.

    Raises:
        SandboxError: why.
    """
    from broker.endpoints.http_reach import origin_of

    origin_of(url)


def check_headers(server: str, headers: Mapping[str, str]) -> None:
    """Refuse what is no header, or belongs to the request itself.

    Raises:
        SandboxError: which one; never its value.
    """
    for name, value in headers.items():
        reserved = name.lower() in RESERVED or name.lower().startswith(("mcp-", "proxy-"))
        if reserved or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or "${" in value:
            raise SandboxError(f"{name[:80]!r} cannot be a header for {server}, or its value cannot be one")
