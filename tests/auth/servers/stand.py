"""A server of MCP as far as its tokens go, a home that signs in for it, and a person who fills in forms."""

import asyncio
import html
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias
from urllib.parse import urljoin

import httpx2
import jwt

from broker.auth.challenge import Bearer
from broker.auth.front import Front, World
from broker.auth.grants import Grant, Grants, Settings
from broker.auth.wire import Wire
from broker.auth.wishes import Shown, Wanted, Way, Wish
from broker.endpoints.http_channel import Channel
from broker.endpoints.http_reach import Reach, trusted
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply, Work
from broker.model import JsonObject
from broker.vault.book import KEY_BYTES, Book, open_database

WITHIN: Final = 120.0
FORM: Final = re.compile(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
FIELD: Final = re.compile(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"')

Verify: TypeAlias = Callable[[httpx2.AsyncClient, str, str, str], Awaitable[JsonObject]]
"""What a token says, by issuer, resource and token; empty where it does not count."""


async def signed(http: httpx2.AsyncClient, issuer: str, resource: str, token: str) -> JsonObject:
    """By the issuer's keys, for this resource."""
    return await _verified(http, issuer, token, audience=resource)


async def signed_for_any(http: httpx2.AsyncClient, issuer: str, _resource: str, token: str) -> JsonObject:
    """By the issuer's keys, whatever it is for: some know of no resources."""
    return await _verified(http, issuer, token, options={"verify_aud": False})


async def _verified(http: httpx2.AsyncClient, issuer: str, token: str, **how: Any) -> JsonObject:
    described = (await http.get(f"{issuer}/.well-known/openid-configuration")).json()
    keys = jwt.PyJWKSet.from_dict((await http.get(described["jwks_uri"])).json()).keys
    for key in keys:
        with suppress(jwt.InvalidTokenError):
            return dict(jwt.decode(token, key.key, algorithms=["RS256"], issuer=issuer, **how))
    return {}


async def asked(http: httpx2.AsyncClient, issuer: str, _resource: str, token: str) -> JsonObject:
    """By asking the issuer."""
    return dict((await http.get(f"{issuer}/introspect", params={"t": token})).json())


async def person(url: str) -> None:
    """Fill in whatever forms there are on the way, to its end."""
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False, verify=trusted(), timeout=WITHIN) as browser:
        page = await browser.get(url)
        for _ in range(8):
            found = FORM.search(page.text)
            if found is None or page.url.path == "/done":
                return
            fields = {html.unescape(name): html.unescape(value) for name, value in FIELD.findall(found[2])}
            if 'name="login"' in found[2]:
                fields |= {"login": "person", "password": "any"}
            page = await browser.post(urljoin(str(page.url), html.unescape(found[1])), data=fields)


@dataclass
class Stand:
    """One server behind one issuer, and one home."""

    issuer: str
    verify: Verify
    needs: str
    browse: Callable[[str], Awaitable[None]]
    resource: str = ""
    clients: list[str] = field(default_factory=list)
    """The client ids that requests were let in with."""
    wishes: list[Wish] = field(default_factory=list)
    front: Front = field(init=False)
    grants: Grants = field(init=False)
    reach: Reach = field(default_factory=Reach)
    http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(trust_env=False, verify=trusted()))
    known: dict[str, JsonObject] = field(default_factory=dict)
    _browsers: set[asyncio.Task[None]] = field(default_factory=set)

    def judge(self, head: Head) -> Reply | Work:
        return lambda _body: self._answer(head)

    async def _answer(self, head: Head) -> Answer:
        base = self.resource.removesuffix("/mcp")
        if head.target.startswith("/.well-known/"):
            said = f'{{"resource": "{self.resource}", "authorization_servers": ["{self.issuer}"]}}'
            return Reply(200, said.encode(), (("content-type", "application/json"),))
        prm = f'resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"'
        token = (head.one("authorization") or "").removeprefix("Bearer ")
        if token and token not in self.known:
            self.known[token] = await self.verify(self.http, self.issuer, self.resource, token)
        claims = self.known.get(token)
        if not claims:
            scope = f', scope="{self.needs}"' if self.needs else ""
            return Reply(401, b"", (("www-authenticate", f"Bearer {prm}{scope}"),))
        if not set(self.needs.split()) <= set(str(claims.get("scope")).split()):
            error = f'Bearer error="insufficient_scope", scope="{self.needs}", {prm}'
            return Reply(403, b"", (("www-authenticate", error),))
        self.clients.append(str(claims.get("client_id")))
        return Reply(200)

    async def call(self, client: str = "first") -> int:
        """The status that one call of a client came to, as a link makes it."""

        async def heard(_message: JsonObject) -> None: ...

        channel = Channel(self.reach, self.resource, {}, heard, self.front.attached(client, "server", self.resource))
        async with channel.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) as said:
            return said.status_code

    async def login(self, client: str, way: Way) -> None:
        want = Wanted(client, "server", self.resource, Bearer(scopes=tuple(self.needs.split())), way=way, anew=True)
        await self.front.sign_in(want)

    def grant(self, client: str = "first") -> Grant:
        held = self.grants.of(client, "server", self.resource)
        assert held is not None
        return held.grant

    def age(self, client: str = "first") -> None:
        """Let the token of a client be about to end."""
        grant = self.grant(client)
        assert grant.tokens is not None
        self.grants.put(client, "server", replace(grant, tokens=replace(grant.tokens, expires=1.0)))

    async def agree(self, wish: Wish) -> bool:
        self.wishes.append(wish)
        return True

    def opened(self, _want: Wanted, shown: Shown) -> None:
        url = f"{shown.url}?user_code={shown.code}" if shown.code else shown.url
        task = asyncio.ensure_future(self.browse(url))
        self._browsers.add(task)
        task.add_done_callback(self._browsers.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._browsers, return_exceptions=True)
        await self.front.close()
        await self.reach.close()
        await self.http.aclose()
        self.grants.rows.close()


@asynccontextmanager
async def standing(
    issuer: str,
    verify: Verify = signed,
    needs: str = "mcp:read",
    settings: Settings | None = None,
    browse: Callable[[str], Awaitable[None]] = person,
) -> AsyncIterator[Stand]:
    """A server that takes tokens of this issuer, and a home without any; at the end nothing of it."""
    stand = Stand(issuer, verify, needs, browse)
    listener = socket.create_server(("127.0.0.1", 0))
    stand.resource = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = HttpServer(stand.judge)
    server.open(listener)
    database = open_database(None)
    database.execute("INSERT INTO seal VALUES (1, 'memory')")
    stand.grants = Grants(Book(database, "memory", b"k" * KEY_BYTES))
    stand.grants.choose("server", settings or Settings())
    world = World(stand.agree, stand.opened, lambda _name, _value: None, lambda: None)
    stand.front = Front(lambda: stand.grants, Wire(), world)
    try:
        async with asyncio.timeout(WITHIN):
            yield stand
    finally:
        await stand.close()
        await server.close()
