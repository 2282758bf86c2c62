"""Signing in at an authorization server nobody here wrote: `python -m tests.conformance.authorization`.

`oidc-provider`, brought by npm while this runs: it wants PKCE, gives each refresh token once and revokes the whole
grant when one comes again, and signs tokens for one resource, which are verified with its keys.  A program plays the
person at its forms.  Ends with 0 only if every step came out as it should.
"""

import asyncio
import html
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx2
import jwt

from broker.auth.challenge import Bearer
from broker.auth.front import Front, World
from broker.auth.grants import Grants
from broker.auth.wire import Wire
from broker.auth.wishes import Shown, Wanted, Wish
from broker.endpoints.http_channel import Channel
from broker.endpoints.http_reach import Reach
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply
from broker.model import JsonObject
from broker.vault.book import KEY_BYTES, Book, open_database
from tests.conformance.installed import install, node
from tests.fakes.launchers import node_environment

PROVIDER: Final = "oidc-provider@9.13.3"
WITHIN: Final = 120.0
FORM: Final = re.compile(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
FIELD: Final = re.compile(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"')


class Guarded:
    """A server of MCP as far as its tokens go: verified by the issuer's keys, for this resource and these rights."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.resource = ""
        self.needs = "mcp:read"
        self.clients: list[str] = []
        self._keys: list[jwt.PyJWK] = []

    def judge(self, head: Head) -> Reply | Callable[[bytes], object]:
        return lambda _body: self._answer(head)

    async def _answer(self, head: Head) -> Answer:
        base = self.resource.removesuffix("/mcp")
        if head.target.startswith("/.well-known/"):
            said = f'{{"resource": "{self.resource}", "authorization_servers": ["{self.issuer}"]}}'
            return Reply(200, said.encode(), (("content-type", "application/json"),))
        prm = f'resource_metadata="{base}/.well-known/oauth-protected-resource/mcp"'
        token = (head.one("authorization") or "").removeprefix("Bearer ")
        claims = await self._verified(token)
        if claims is None:
            return Reply(401, b"", (("www-authenticate", f'Bearer {prm}, scope="mcp:read"'),))
        if self.needs not in str(claims.get("scope")).split():
            error = f'Bearer error="insufficient_scope", scope="{self.needs}", {prm}'
            return Reply(403, b"", (("www-authenticate", error),))
        self.clients.append(str(claims["client_id"]))
        return Reply(200)

    async def _verified(self, token: str) -> JsonObject | None:
        if not self._keys:
            async with httpx2.AsyncClient(trust_env=False) as http:
                self._keys = jwt.PyJWKSet.from_dict((await http.get(f"{self.issuer}/jwks")).json()).keys
        for key in self._keys:
            with suppress(jwt.InvalidTokenError):
                return jwt.decode(token, key.key, algorithms=["RS256"], issuer=self.issuer, audience=self.resource)
        return None


async def person(url: str) -> None:
    """Fill in whatever forms there are on the way, to its end."""
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False, timeout=WITHIN) as browser:
        page = await browser.get(url)
        for _ in range(8):
            found = FORM.search(page.text)
            if found is None or page.url.path == "/done":
                return
            fields = {html.unescape(name): html.unescape(value) for name, value in FIELD.findall(found[2])}
            if 'name="login"' in found[2]:
                fields |= {"login": "person", "password": "any"}
            page = await browser.post(urljoin(str(page.url), html.unescape(found[1])), data=fields)


async def tried(issuer: str, guarded: Guarded) -> list[str]:
    """What came out as it should; raises at the first that did not."""
    database = open_database(None)
    database.execute("INSERT INTO seal VALUES (1, 'memory')")
    grants = Grants(Book(database, "memory", b"k" * KEY_BYTES))
    wishes: list[Wish] = []
    browsers: set[asyncio.Task[None]] = set()

    async def agree(wish: Wish) -> bool:
        wishes.append(wish)
        return True

    def opened(_want: Wanted, shown: Shown) -> None:
        url = f"{shown.url}?user_code={shown.code}" if shown.code else shown.url
        task = asyncio.get_running_loop().create_task(person(url))
        browsers.add(task)
        task.add_done_callback(browsers.discard)

    front = Front(lambda: grants, Wire(), World(agree, opened, lambda _name, _value: None, lambda: None))
    reach, good = Reach(), list[str]()

    async def call(client: str) -> int:
        async def heard(_message: JsonObject) -> None: ...

        channel = Channel(reach, guarded.resource, {}, heard, front.attached(client, "server", guarded.resource))
        async with channel.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}) as said:
            return said.status_code

    def check(what: str, is_so: bool) -> None:
        if not is_so:
            raise SystemExit(f"{issuer}: {what}: no")
        good.append(what)

    check("sign-in", await call("first") == 200 and [wish.reason for wish in wishes] == ["sign in"])
    held = grants.of("first", "server", guarded.resource)
    assert held is not None and held.grant.tokens is not None
    grants.put("first", "server", replace(held.grant, tokens=replace(held.grant.tokens, expires=1.0)))
    statuses = await asyncio.gather(*(call("first") for _ in range(100)))
    check("one refresh for a hundred calls", set(statuses) == {200} and len(wishes) == 1)
    guarded.needs = "mcp:write"
    check("more rights", await call("first") == 200 and wishes[-1].new_scopes == ("mcp:write",))
    guarded.needs = "mcp:read"
    check("a second client", await call("second") == 200 and len(set(guarded.clients)) == 2)
    check("revocation", await front.logout("first", "server") and await call("second") == 200)
    check("signing in again", await call("first") == 200)
    await front.sign_in(
        Wanted("third", "server", guarded.resource, Bearer(scopes=("mcp:read",)), way="device", anew=True)
    )
    check("a device", await call("third") == 200)
    await asyncio.gather(*browsers, return_exceptions=True)
    await front.close()
    await reach.close()
    return good


async def _measured(folder: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    issuer = f"http://127.0.0.1:{port}"
    guarded = Guarded(issuer)
    guarded.resource = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    server = HttpServer(guarded.judge)  # type: ignore[arg-type]
    server.open(listener)
    environment = {**node_environment(os.environ), "PORT": str(port), "RESOURCE": guarded.resource}
    argv = node(folder / "provider.mjs")
    run = await asyncio.create_subprocess_exec(
        *argv, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert run.stdout is not None
    try:
        async with asyncio.timeout(WITHIN):
            while (said := await run.stdout.readline()) and b"ready" not in said:
                pass
            for what in await tried(issuer, guarded):
                print(f"{PROVIDER}: {what}")
    finally:
        run.terminate()
        await run.wait()
        await server.close()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bh-sign-in-") as name:
        folder = Path(name)
        install(folder, [PROVIDER])
        shutil.copyfile(Path(__file__).with_name("provider.mjs"), folder / "provider.mjs")
        asyncio.run(_measured(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
