"""A whole network in one process: names, addresses, a server of MCP and an authorization server, honest or hostile.

Everything below the judging of addresses is here, so what is dialled is what the real guard let through; nothing leaves
the process.  A scene replaces single answers of the honest world by those of an attacker.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, TypeAlias
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2

from broker.auth.front import Attached, Front, World
from broker.auth.grants import Grants, Settings
from broker.auth.wire import Wire
from broker.auth.wishes import Shown, Wanted, Wish
from broker.endpoints.http_channel import Channel
from broker.endpoints.http_reach import Guard, Origin, Reach
from broker.model import JsonObject
from broker.vault.book import KEY_BYTES, Book, open_database

MCP: str = "https://mcp.good.example/mcp"
AS: str = "https://as.good.example"
PRM: str = "https://mcp.good.example/.well-known/oauth-protected-resource/mcp"
WHERE: str = f'Bearer resource_metadata="{PRM}"'
NAMES: dict[str, str] = {
    "mcp.good.example": "8.8.4.1",
    "as.good.example": "8.8.4.2",
    "evil.example": "8.8.4.3",
    "other.example": "8.8.4.4",
    "honest.example": "8.8.4.5",
    "rebind.example": "192.168.1.10",
    "cloud.example": "169.254.169.254",
}

Answer: TypeAlias = tuple[int, Mapping[str, str], Any]
Answers: TypeAlias = Answer | Callable[["Asked"], Answer | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived, and where."""

    address: str
    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Scene:
    """What differs from the honest world.  `answers` by (host, path); the rest by what it changes."""

    answers: dict[tuple[str, str], Answers] = field(default_factory=dict)
    challenge: str = WHERE
    issuers: tuple[str, ...] = (AS,)
    resource: str = MCP
    metadata: JsonObject = field(default_factory=dict)
    token: Callable[["Internet", Asked], Answer] | None = None
    registration: Callable[[Asked], Answer] | None = None
    served: Callable[["Internet", Asked], Answer | None] = lambda _net, _asked: None
    callback: Mapping[str, str | None] = field(default_factory=dict)
    """What the browser brings beside or instead of the honest answer; None leaves it out."""
    settings: Settings = field(default_factory=Settings)


class Internet(httpx2.AsyncBaseTransport):
    """Names, addresses and answers.  `asked` is all that arrived anywhere."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.asked: list[Asked] = []
        self.valid: set[str] = set()
        self.refreshes: set[str] = set()
        self.made = 0
        self.wanted: list[str] = ["read"]
        self.granted: dict[str, list[str]] = {}
        self.lookups: dict[str, int] = {}
        self.sent_bytes = 0

    def dial(self, origin: Origin) -> Guard:
        return Guard(origin, self._resolve, self)

    async def _resolve(self, host: str, _port: int) -> list[IPv4Address]:
        self.lookups[host] = self.lookups.get(host, 0) + 1
        if host == "flip.example":
            return [IPv4Address("8.8.4.9" if self.lookups[host] % 2 else "127.0.0.1")]
        if host not in NAMES:
            raise OSError("no such name")
        return [IPv4Address(NAMES[host])]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        host = headers["host"].partition(":")[0]
        asked = Asked(request.url.host, request.method, host, request.url.path, headers, body)
        self.asked.append(asked)
        status, said, content = self._answer(asked)
        if asyncio.iscoroutine(content):
            content = await content
        if isinstance(content, dict | list):
            content, said = json.dumps(content).encode(), {"content-type": "application/json", **said}
        stream = content if isinstance(content, httpx2.AsyncByteStream) else httpx2.ByteStream(content)
        return httpx2.Response(status, headers=list(said.items()), stream=stream, request=request)

    def hits(self, host: str, path: str = "") -> list[Asked]:
        return [asked for asked in self.asked if asked.host == host and asked.path.startswith(path)]

    def good_token(self, **more: Any) -> Answer:
        self.made += 1
        access, refresh = f"AT-{self.made}-SECRETTOKEN", f"RT-{self.made}-SECRETTOKEN"
        self.valid.add(access)
        self.refreshes.add(refresh)
        said = {"access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refresh}
        self.granted[access] = self.wanted
        return 200, {}, {**said, "scope": " ".join(self.wanted), **more}

    def scopes_of(self, access: str) -> list[str]:
        return self.granted.get(access, [])

    def _answer(self, asked: Asked) -> Answer:
        scene = self.scene
        for key in ((asked.host, asked.path), (asked.host, "*")):
            chosen = scene.answers.get(key)
            found = chosen(asked) if callable(chosen) else chosen
            if found is not None:
                return found
        if asked.host == "mcp.good.example":
            if asked.path.startswith("/.well-known/oauth-protected-resource"):
                return 200, {}, {"resource": scene.resource, "authorization_servers": list(scene.issuers),
                                 "scopes_supported": ["read"]}  # fmt: skip
            if asked.path.startswith("/mcp"):
                found = scene.served(self, asked)
                if found is not None:
                    return found
                if asked.bearer in self.valid:
                    return 200, {}, {"jsonrpc": "2.0", "id": 1, "result": {}}
                return 401, {"www-authenticate": scene.challenge}, b""
        if asked.host in ("as.good.example", "honest.example", "flip.example"):
            base = f"https://{asked.host}"
            if asked.path == "/.well-known/oauth-authorization-server":
                said = {
                    "issuer": base,
                    "authorization_endpoint": f"{base}/authorize",
                    "token_endpoint": f"{base}/token",
                    "registration_endpoint": f"{base}/register",
                    "revocation_endpoint": f"{base}/revoke",
                    "code_challenge_methods_supported": ["S256"],
                    "response_types_supported": ["code"],
                    "authorization_response_iss_parameter_supported": True,
                    **scene.metadata,
                }
                return 200, {}, {name: value for name, value in said.items() if value is not None}
            if asked.path == "/register":
                said = {**json.loads(asked.body), "client_id": "cid-1"}
                return scene.registration(asked) if scene.registration else (201, {}, said)
            if asked.path == "/token":
                if scene.token is not None:
                    return scene.token(self, asked)
                if asked.form["grant_type"] == "refresh_token":
                    if asked.form["refresh_token"] not in self.refreshes:
                        return 400, {}, {"error": "invalid_grant"}
                    self.refreshes.discard(asked.form["refresh_token"])  # each once, as strict servers do
                return self.good_token()
            if asked.path == "/revoke":
                self.valid.discard(asked.form["token"])
                self.refreshes.discard(asked.form["token"])
                return 200, {}, b""
        return 404, {}, b""


@dataclass
class Stage:
    """One home on that network: what the person was asked, what was opened, what was told to keep secret."""

    net: Internet
    front: Front
    grants: Grants
    wishes: list[Wish] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    says_yes: bool = True
    browses: bool = True
    _browsers: set[asyncio.Task[None]] = field(default_factory=set)

    def attached(self, client: str = "claude", url: str = MCP) -> Attached:
        return self.front.attached(client, "notes", url)

    async def call(self, client: str = "claude", headers: Mapping[str, str] = {}) -> int:
        """The status that one call of a client came to, as a link makes it."""
        reach = Reach(self.net.dial)
        try:
            async with self.channel(reach, client, headers).post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) as said:
                return said.status_code
        finally:
            await reach.close()

    def channel(self, reach: Reach, client: str = "claude", headers: Mapping[str, str] = {}) -> Channel:
        async def heard(_message: JsonObject) -> None: ...

        return Channel(reach, MCP, headers, heard, self.attached(client))

    async def login(self, client: str = "claude", **more: Any) -> None:
        from broker.auth.challenge import Bearer

        await self.front.sign_in(Wanted(client, "notes", MCP, Bearer(), anew=True, **more))

    def _browse(self, shown: Shown) -> None:
        self.shown.append(shown)
        self.opened.append(shown.url)
        if self.browses and not shown.code:
            task = asyncio.get_running_loop().create_task(self._bring(shown.url))
            self._browsers.add(task)
            task.add_done_callback(self._browsers.discard)

    async def _bring(self, url: str) -> None:
        """Be the browser: bring the answer of the authorization server to where it says."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        host = urlsplit(url).netloc
        self.net.wanted = asked.get("scope", "").split()
        said = {"code": "CODE-SECRET-1", "state": asked["state"], "iss": f"https://{host}", **self.net.scene.callback}
        query = urlencode({name: value for name, value in said.items() if value is not None})
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=False) as browser:
            await browser.get(f"{asked['redirect_uri']}?{query}")


@asynccontextmanager
async def staged(scene: Scene | None = None, *, patience: float = 45.0) -> AsyncIterator[Stage]:
    """A home on a network, and at the end nothing of it."""
    net = Internet(scene or Scene())
    database = open_database(None)
    database.execute("INSERT INTO seal VALUES (1, 'memory')")
    grants = Grants(Book(database, "memory", b"k" * KEY_BYTES))
    grants.choose("notes", net.scene.settings)
    stage: Stage

    async def agree(wish: Wish) -> bool:
        stage.wishes.append(wish)
        return stage.says_yes

    def secret(name: str, value: str) -> None:
        stage.secrets[name] = value

    world = World(agree, lambda _want, shown: stage._browse(shown), secret, lambda: None)
    stage = Stage(net, Front(lambda: grants, Wire(net.dial), world, patience=patience), grants)
    try:
        yield stage
    finally:
        await asyncio.gather(*stage._browsers, return_exceptions=True)
        await stage.front.close()
        grants.rows.close()
