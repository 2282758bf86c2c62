"""Requests to one origin that a person registered, and to no other place.

The name is resolved by us for each connection, every address it has is judged, and the one that was judged is dialled:
a name that means something else a moment later leads nowhere.  Redirects stay within the origin.
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import httpx2

from broker.errors import BulkheadError, SandboxError
from broker.sandbox.addresses import LOOPBACK, METADATA_NAMES, address_of, is_public, never, normal, of_own_network

RESOLVE_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 15.0
SILENT_SECONDS: Final = 600.0  # between two pieces of an answer; servers send a sign of life far more often
SEND_SECONDS: Final = 60.0
MAX_CONNECTIONS: Final = 64  # to one origin, of all links together
MAX_REDIRECTS: Final = 3
PORTS: Final = {"https": 443, "http": 80}


class Unreachable(BulkheadError):
    """The server could not be asked, and why; `status` is set if it answered with one."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host in its one spelling, and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if PORTS[self.scheme] == self.port else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def is_loopback(self) -> bool:
        address = address_of(self.host)
        return self.host == "localhost" or (address is not None and address in LOOPBACK)


def origin_of(url: str) -> Origin:
    """The origin of an address a person wrote.

    Raises:
        SandboxError: it is no https address, or http of another machine, or carries a password.
    """
    try:
        parts = urlsplit(url)
        origin = Origin(parts.scheme, normal(parts.hostname or ""), parts.port or PORTS.get(parts.scheme, 0))
    except ValueError as cause:
        raise SandboxError(f"this is no address of a server: {cause}") from cause
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise SandboxError(
            "the address of a server holds no user name, password or fragment",
            hint="give it as a header: --env Authorization=...",
        )
    if origin.scheme != "https" and not (origin.scheme == "http" and origin.is_loopback):
        raise SandboxError(
            f"{origin.scheme}://{origin.host} is not encrypted",
            hint="use https; http is for servers on this machine only: 127.0.0.1",
        )
    return origin


Resolve: TypeAlias = Callable[[str, int], Awaitable[list[IPv4Address]]]


async def resolved(host: str, port: int) -> list[IPv4Address]:
    """The addresses of a name, as this machine finds them."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    return [IPv4Address(str(info[4][0])) for info in infos]


@functools.cache
def trusted() -> ssl.SSLContext:
    """The authorities this machine trusts, read once because it takes 20 ms; the environment names none."""
    return httpx2.create_ssl_context(trust_env=False)


class Guard(httpx2.AsyncBaseTransport):
    """Dials judged addresses of one origin only.  `resolve` raises OSError; `inner` dials what was judged."""

    def __init__(
        self, origin: Origin, resolve: Resolve = resolved, inner: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._origin = origin
        self._resolve = resolve
        limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=8)
        self._inner = inner or httpx2.AsyncHTTPTransport(limits=limits, trust_env=False, verify=trusted())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not within(self._origin, str(request.url)):
            raise Unreachable(f"{self._origin} is the only place that was agreed to")
        address = await _judged(self._origin, self._resolve)
        extensions = {**request.extensions, "sni_hostname": self._origin.host}
        dialled = httpx2.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,  # `Host` among them, as it was
            stream=request.stream,
            extensions=extensions,
        )
        return await self._inner.handle_async_request(dialled)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Reach:
    """One pool of connections for each origin, made when it is first needed.  `dial` makes the way there."""

    def __init__(self, dial: Callable[[Origin], httpx2.AsyncBaseTransport] = Guard) -> None:
        self._dial = dial
        self._clients: dict[Origin, httpx2.AsyncClient] = {}

    def client(self, origin: Origin) -> httpx2.AsyncClient:
        if origin not in self._clients:
            timeout = httpx2.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS, write=SEND_SECONDS)
            self._clients[origin] = httpx2.AsyncClient(
                transport=self._dial(origin), timeout=timeout, trust_env=False, follow_redirects=False
            )
        return self._clients[origin]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()


@asynccontextmanager
async def asked(
    client: httpx2.AsyncClient, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
) -> AsyncIterator[httpx2.Response]:
    """An answer whose body is not read yet; redirects are followed within the origin and with the same method.

    Raises:
        Unreachable: there is no answer, or it leads elsewhere.
    """
    home = origin_of(url)
    for _ in range(MAX_REDIRECTS + 1):
        try:
            # Nothing is unpacked, so nothing can unpack to more than was bounded.
            plain = {**headers, "accept-encoding": "identity"}
            request = client.build_request(method, url, headers=plain, content=content)
            response = await client.send(request, stream=True)
        except httpx2.HTTPError as cause:
            raise Unreachable(f"{home} could not be reached: {type(cause).__name__}") from cause
        target = response.headers.get("location")
        if not response.is_redirect or target is None:
            try:
                yield response
            except httpx2.HTTPError as cause:
                raise Unreachable(f"the connection to {home} broke off: {type(cause).__name__}") from cause
            finally:
                await response.aclose()
            return
        await response.aclose()
        url = str(response.url.join(target))
        if not within(home, url) or (method != "GET" and response.status_code not in (307, 308)):
            raise Unreachable(f"{home} sends its callers elsewhere, which nobody agreed to")
    raise Unreachable(f"{home} sends its callers round in circles")


def within(home: Origin, url: str) -> bool:
    """Whether an address is of this origin."""
    try:
        return origin_of(url) == home
    except SandboxError:
        return False


async def _judged(origin: Origin, resolve: Resolve) -> IPv4Address:
    """An address of the origin that may be dialled.

    Raises:
        Unreachable: it has none, or one of them is somewhere it must not be.
    """
    literal = address_of(origin.host)
    if literal is not None:
        found = [literal]
    else:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await resolve(origin.host, origin.port)
        except (OSError, TimeoutError) as cause:
            raise Unreachable(f"the name of {origin} could not be resolved") from cause
    for address in found:
        if problem := _objection(origin, address):
            raise Unreachable(f"{origin} is at {address}, which {problem}")
    if not found:
        raise Unreachable(f"{origin} has no address")
    return found[0]


def _objection(origin: Origin, address: IPv4Address) -> str:
    if origin.host in METADATA_NAMES:
        return "hands out credentials in a cloud"
    if problem := never(address, origin.port):
        return problem
    if address in LOOPBACK or origin.is_loopback:
        return "" if address in LOOPBACK and origin.is_loopback else "is this machine under another name"
    near = address_of(origin.host) is not None or of_own_network(origin.host)
    return "" if is_public(address) or near else "lies in a private network, and its name does not"
