"""A registry of images over its own protocol: manifests and blobs by digest, every byte of them checked.

Bounded in size, in time and in how often it may send us elsewhere; a credential goes to the registry it belongs to,
and to the place that registry names for its tokens, and never along with a redirect.
"""

import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2

from broker.errors import TrustError
from broker.trust.fetch import client_for, from_environment
from broker.trust.npm_settings import origin, shown
from broker.trust.oci_reference import DIGEST
from broker.trust.oci_settings import Place

MAX_MANIFEST: Final = 4 << 20  # the protocol's own limit
MAX_TOKEN: Final = 1 << 20
MAX_REDIRECTS: Final = 4
ONE_ANSWER: Final = 30.0  # seconds for a document
SLOWEST: Final = 64 << 10  # bytes a second; a slower registry is one that stalls
INDEXES: Final = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
MANIFESTS: Final = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)
_BLOCK: Final = 256 << 10
_LOG_IN: Final = "check the name; for a private image log in with docker or podman"
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document of a registry, its digest, and what kind it is."""

    value: Mapping[str, Any]
    digest: str
    media_type: str
    size: int


class Absent(TrustError):
    """The registry says that it does not have it."""


class OciRegistry:
    """One registry and one repository in it."""

    def __init__(self, client: httpx2.AsyncClient, place: Place) -> None:
        self._client = client
        self._place = place
        self._token = ""

    async def manifest(self, wanted: str, accept: frozenset[str] = INDEXES | MANIFESTS) -> Document:
        """A manifest or an index by its tag or its digest.

        Raises:
            Absent: there is none.
            TrustError: it cannot be had, is not what its digest says, or is of a kind nobody here can read.
        """
        what = f"the manifest {wanted[:80]}"
        data, headers = await self._get(f"manifests/{wanted}", what, MAX_MANIFEST, ", ".join(sorted(accept)))
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if DIGEST.fullmatch(wanted) and digest != wanted:
            raise TrustError(f"{what} has other bytes: {digest[:19]}")
        said = headers.get("docker-content-digest", digest)
        if said != digest and said.startswith("sha256:"):
            raise TrustError(f"{what} is not what the registry says: {said[:19]} was said, {digest[:19]} was sent")
        value = _object(data, what)
        kind = value.get("mediaType", headers.get("content-type", "").partition(";")[0].strip())
        if kind not in accept:
            raise TrustError(f"{what} is of a kind that cannot be read: {ascii(kind)[:100]}")
        return Document(value, digest, str(kind), len(data))

    async def referrers(self, digest: str) -> Document | None:
        """What else the registry keeps about a digest: by its own list, else by the tag that stands in for one.

        Raises:
            TrustError: it cannot say.
        """
        for path in (f"referrers/{digest}", f"manifests/{digest.replace(':', '-')}"):
            try:
                data, _ = await self._get(path, "what refers to the image", MAX_MANIFEST, min(INDEXES))
            except Absent:
                continue
            value = _object(data, "what refers to the image")
            return Document(value, f"sha256:{hashlib.sha256(data).hexdigest()}", str(value.get("mediaType")), len(data))
        return None

    async def small_blob(self, digest: str, what: str, limit: int) -> bytes:
        """A blob that is kept in memory.

        Raises:
            TrustError: it cannot be had, or is not what its digest says.
        """
        data, _ = await self._get(f"blobs/{digest}", what, limit, "*/*")
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise TrustError(f"{what} has other bytes than its digest says")
        return data

    async def blob(self, digest: str, size: int, target: Path, what: str) -> None:
        """Download a blob of exactly this size into a new file.

        Raises:
            TrustError: it cannot be had, is larger or smaller, or is not what its digest says.
        """
        sha256, taken = hashlib.sha256(), 0
        async with await anyio.open_file(target, "xb") as file:

            async def take(block: bytes) -> None:
                nonlocal taken
                taken += len(block)
                if taken > size:
                    raise TrustError(f"{what} is larger than the {size} bytes it should have")
                sha256.update(block)
                await file.write(block)

            await self._fetch(f"blobs/{digest}", what, "*/*", take, ONE_ANSWER + size / SLOWEST)
        if taken != size or f"sha256:{sha256.hexdigest()}" != digest:
            raise TrustError(f"{what} has other bytes than its digest says")

    async def _get(self, path: str, what: str, limit: int, accept: str) -> tuple[bytes, httpx2.Headers]:
        body = bytearray()

        async def take(block: bytes) -> None:
            body.extend(block)
            if len(body) > limit:
                raise TrustError(f"{what} is larger than {limit} bytes")

        headers = await self._fetch(path, what, accept, take, ONE_ANSWER)
        return bytes(body), headers

    async def _fetch(
        self, path: str, what: str, accept: str, take: Callable[[bytes], Any], seconds: float
    ) -> httpx2.Headers:
        url = f"{self._place.url}/v2/{self._place.repository}/{path}"
        try:
            with anyio.fail_after(seconds):
                challenge = await self._once(url, what, accept, take)
                if isinstance(challenge, str):
                    self._token = await self._authorised(challenge, what)
                    challenge = await self._once(url, what, accept, take)
                    if isinstance(challenge, str):
                        raise TrustError(f"the registry lets nobody have {what} without a login", hint=_LOG_IN)
                return challenge
        except TimeoutError as cause:
            raise TrustError(f"the registry did not send {what} within {seconds:.0f} seconds") from cause
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as cause:
            said = getattr(cause, "strerror", None) or type(cause).__name__
            raise TrustError(f"the registry at {shown(self._place.url)} cannot be asked for {what}: {said}") from cause

    async def _once(self, url: str, what: str, accept: str, take: Callable[[bytes], Any]) -> httpx2.Headers | str:
        """The headers after the body was taken, or the challenge the registry answers with."""
        home = origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept": accept, "Accept-Encoding": "identity"}
            if self._token and origin(url) == home:
                headers["Authorization"] = self._token
            async with self._client.stream("GET", url, headers=headers) as response:
                status = response.status_code
                if status in {301, 302, 303, 307, 308}:
                    url = _next(url, response.headers.get("location", ""), what)
                    continue
                if status == 401 and origin(url) == home:
                    return response.headers.get("www-authenticate", "")
                if status == 404:
                    raise Absent(f"the registry at {shown(self._place.url)} has no {what.removeprefix('the ')}",
                                 hint="check the image's name and tag")  # fmt: skip
                if status != 200:
                    raise TrustError(f"the registry at {shown(self._place.url)} answers {status} for {what}")
                async for block in response.aiter_raw(_BLOCK):
                    await take(block)
                return response.headers
        raise TrustError(f"the registry sends on more than {MAX_REDIRECTS} times for {what}")

    async def _authorised(self, challenge: str, what: str) -> str:
        """The header that answers a challenge."""
        scheme, _, rest = challenge.partition(" ")
        basic = f"Basic {self._place.credential}" if self._place.credential else ""
        if scheme.lower() == "basic" and basic:
            return basic
        fields = dict(_CHALLENGE.findall(rest))
        realm = fields.get("realm", "")
        if scheme.lower() != "bearer" or not _may_follow(self._place.url, realm):
            raise TrustError(f"the registry wants a login for {what} that cannot be given",
                             hint="log in with docker or podman, or check the image's name")  # fmt: skip
        asked = {"scope": f"repository:{self._place.repository}:pull"}
        asked |= {"service": fields["service"]} if "service" in fields else {}
        body = bytearray()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= {"Authorization": basic} if basic else {}
        async with self._client.stream("GET", httpx2.URL(realm).copy_merge_params(asked), headers=headers) as response:
            if response.status_code != 200:
                raise TrustError(
                    f"the registry gives no token for {what}: it answers {response.status_code}", hint=_LOG_IN
                )
            async for block in response.aiter_raw(_BLOCK):
                body += block
                if len(body) > MAX_TOKEN:
                    raise TrustError(f"the registry's token for {what} is larger than {MAX_TOKEN} bytes")
        found = _object(bytes(body), "the registry's token")
        token = found.get("token") or found.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise TrustError(f"the registry's token for {what} is none")
        return f"Bearer {token}"


@asynccontextmanager
async def registry_at(place: Place, environment: Mapping[str, str]) -> AsyncIterator[OciRegistry]:
    """A registry, open until the block ends.

    Raises:
        TrustError: the person's proxy or certificate settings cannot be used.
    """
    async with client_for(from_environment(place.url, environment)) as client:
        if client is None:
            raise TrustError(f"your proxy or certificate settings cannot be used to ask {shown(place.url)}")
        yield OciRegistry(client, place)


def _next(url: str, location: str, what: str) -> str:
    target = urljoin(url, location)
    if not location or not _may_follow(url, target):
        raise TrustError(f"the registry sends on to a place without TLS for {what}")
    return target


def _may_follow(here: str, target: str) -> bool:
    """TLS, or this very machine if that is where we are."""
    if not origin(target):
        return False
    one, other = urlsplit(here), urlsplit(target)
    return other.scheme == "https" or (one.scheme == other.scheme == "http" and one.hostname == other.hostname)


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise TrustError(f"{what} is not JSON") from cause
    if not isinstance(value, dict):
        raise TrustError(f"{what} is no JSON object")
    return value
