"""Reading documents of the index the user configured: bounded in bytes and time, by the user's proxy and certificates.

One origin per reader, no redirect: what an index says about its packages is asked of that index and of nobody else.
"""

import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import anyio
import anyio.to_thread
import httpx2

from broker.trust.npm_settings import origin

MAX_DOCUMENT = 32 * 1024 * 1024  # the full document of an npm package with 3,000 versions has about 20 MiB
ONE_ANSWER = 20.0  # seconds; an index that takes longer is one that cannot say
AT_ONCE: Final = 8  # questions; what npm itself keeps open, and less
TOLD: Final = 25  # answers between two words about how far it is
_ABSENT: Final = frozenset({404, 405, 410})


@dataclass(frozen=True, slots=True)
class Answer:
    """`found` with a document; `absent`: the index knows of none; `silent`: it did not say, and why."""

    state: Literal["found", "absent", "silent"]
    document: Any = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How the user reaches an index.  `headers` may carry a credential, so it shows nothing of itself."""

    url: str
    proxies: Mapping[str, str] = field(default_factory=dict)
    no_proxy: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    extra_certificates: str = ""
    check_tls: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Access({origin(self.url)!r})"


class Reader:
    """Asks one index."""

    def __init__(self, client: httpx2.AsyncClient | None, url: str) -> None:
        self._client = client
        self._base = url.rstrip("/")

    def same_index(self, url: object) -> bool:
        """Whether an address the index gave lies on the index itself."""
        return isinstance(url, str) and origin(url) == origin(self._base)

    async def ask(self, path: str, accept: str = "application/json", limit: int = MAX_DOCUMENT) -> Answer:
        """The JSON document at `path` below the index, or at a whole address on the same origin."""
        if self._client is None:
            return Answer("silent", why="your proxy or certificate settings cannot be used to ask it")
        url = path if self.same_index(path) else f"{self._base}/{path.lstrip('/')}"
        try:
            with anyio.fail_after(ONE_ANSWER):
                async with self._client.stream("GET", url, headers={"Accept": accept}) as response:
                    if response.status_code in _ABSENT:
                        return Answer("absent", why=f"it answers {response.status_code}")
                    if response.status_code != 200:
                        return Answer("silent", why=f"it answers {response.status_code}")
                    body = await _bounded(response, limit)
        except TimeoutError:
            return Answer("silent", why=f"it did not answer within {ONE_ANSWER:.0f} seconds")
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as cause:
            return Answer("silent", why=f"it cannot be reached ({type(cause).__name__})")
        if body is None:
            return Answer("silent", why=f"its answer is larger than {limit} bytes")
        try:
            return Answer("found", await anyio.to_thread.run_sync(json.loads, body))
        except (ValueError, RecursionError):
            return Answer("silent", why="its answer is not JSON")


async def a_few_at_once(works: Sequence[Callable[[], Awaitable[object]]], told: Callable[[str], None]) -> None:
    """Do all of it, some of it at a time, and tell now and then how far it is."""
    limit, done = anyio.CapacityLimiter(AT_ONCE), 0

    async def one(work: Callable[[], Awaitable[object]]) -> None:
        nonlocal done
        async with limit:
            await work()
        done += 1
        if done % TOLD == 0:
            told(f"{done} of {len(works)}")

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(one, work)


async def _bounded(response: httpx2.Response, limit: int) -> bytes | None:
    body = bytearray()
    async for block in response.aiter_bytes():
        body += block
        if len(body) > limit:
            return None
    return bytes(body)


@asynccontextmanager
async def reader(access: Access) -> AsyncIterator[Reader]:
    """A reader, open until the block ends."""
    async with client_for(access) as client:
        yield Reader(client, _without_user(access.url)[0])


@asynccontextmanager
async def client_for(access: Access) -> AsyncIterator[httpx2.AsyncClient | None]:
    """A client that reaches an index as the user does; None if a proxy or a file of theirs cannot be used here."""
    url, headers = _without_user(access.url)
    try:
        client = httpx2.AsyncClient(
            verify=await anyio.to_thread.run_sync(_tls, access),
            proxy=_proxy(access, url),
            headers={**headers, **access.headers},
            follow_redirects=False,
            trust_env=False,  # this process's variables are not the caller's
            timeout=ONE_ANSWER,
        )
    except (OSError, ValueError, ImportError, httpx2.InvalidURL):  # a kind of proxy, or a file, nothing here can use
        yield None
        return
    async with client:
        yield client


async def download(access: Access, url: str, limit: int, *, known: bool) -> bytes | None:
    """One file an index lists; its hash is the caller's to check.  Only on a `known` origin are credentials sent.

    None is what cannot be had whole: too large, refused, unreachable.
    """
    access = replace(access, headers=access.headers if known else {})
    user = _without_user(access.url)[1] if known else {}
    async with client_for(replace(access, url=_without_user(url)[0])) as client:
        if client is None:
            return None
        try:
            async with client.stream("GET", _without_user(url)[0], headers=user) as response:
                return await _bounded(response, limit) if response.status_code == 200 else None
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError):
            return None


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """An address without the name and password in it, and the header they become."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)), basic(parts.username, parts.password or "")


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def segment(text: str) -> str:
    """One part of a path; npm writes a scope with its `@` and an escaped slash."""
    return quote(text, safe="@")


def from_environment(url: str, environment: Mapping[str, str]) -> Access:
    """What the usual variables say about reaching `url`."""
    folded = {name.lower(): value for name, value in environment.items() if name.lower().endswith("_proxy")}
    proxies = {
        scheme: folded[f"{scheme}_proxy"] for scheme in ("http", "https", "all") if folded.get(f"{scheme}_proxy")
    }
    files = [environment.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")]
    skipped = tuple(each.strip() for each in folded.get("no_proxy", "").split(",") if each.strip())
    return Access(url, proxies, skipped, tuple(path for path in files if path))


def _proxy(access: Access, url: str) -> str | None:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    for each in access.no_proxy:
        name = each.lower().removeprefix("*").partition(":")[0].lstrip(".")
        if each == "*" or host == name or (name and host.endswith(f".{name}")):
            return None
    return access.proxies.get(parts.scheme) or access.proxies.get("all")


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in access.certificates:
        if os.path.isfile(path):
            context.load_verify_locations(cafile=path)
    if access.extra_certificates:
        context.load_verify_locations(cadata=access.extra_certificates)
    if not access.check_tls:  # the user's own setting, which resolving obeys too and reports
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
