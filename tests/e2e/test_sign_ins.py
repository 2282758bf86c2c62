"""Signing in, end to end: a server that wants it is added, used by the client that signed in, and by no other."""

import asyncio
import hashlib
import json
import secrets
import socket
import subprocess
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.types import Implementation

from tests.e2e.running import Running, home_of_a_stranger
from tests.e2e.test_http import client

WITHIN = 60.0
LINK = "sign in here: "


@dataclass
class Guarded:
    """The SDK's own server behind bearer tokens, and an authorization server that says yes, at one address."""

    port: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    refreshes: dict[str, str] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    first: str = ""
    """Who was given the first token."""
    canaries: list[str] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    """Of the requests that were let in."""
    tools: MCPServer = field(default_factory=lambda: MCPServer("guarded"))

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> Any:
        inner = self.tools.streamable_http_app()

        async def checked(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            if scope["path"] == "/mcp":
                if headers.get("authorization", "").removeprefix("Bearer ") in self.tokens:
                    self.heads.append(headers)
                    await inner(scope, receive, send)
                    return
                where = f'Bearer resource_metadata="{self.base}/prm"'.encode()
                await _send(send, 401, [(b"www-authenticate", where)], b"")
                return
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            status, said, lines = self._answer(scope["path"], dict(parse_qsl(scope["query_string"].decode())), body)
            await _send(send, status, [(b"content-type", b"application/json"), *lines], json.dumps(said).encode())

        return checked

    def _answer(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any, list[tuple[bytes, bytes]]]:
        base, form = self.base, dict(parse_qsl(body.decode())) if path != "/register" else {}
        match path:
            case "/prm":
                return (
                    200,
                    {"resource": f"{base}/mcp", "authorization_servers": [base], "scopes_supported": ["use"]},
                    [],
                )
            case "/.well-known/oauth-authorization-server":
                ends = {f"{end}_endpoint": f"{base}/{end}" for end in ("authorization", "token", "registration")}
                ends |= {"registration_endpoint": f"{base}/register", "revocation_endpoint": f"{base}/revoke"}
                return 200, {"issuer": base, "code_challenge_methods_supported": ["S256"], **ends}, []
            case "/register":
                return 201, {**json.loads(body), "client_id": secrets.token_hex(8)}, []
            case "/authorization":
                code = self._canary("code")
                self.codes[code] = query
                back = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
                return 302, {}, [(b"location", back.encode())]
            case "/token" if form["grant_type"] == "authorization_code":
                asked = self.codes.pop(form["code"])
                digest = urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
                good = digest.decode() == asked["code_challenge"] and asked["resource"] == form["resource"]
                return (200, self._tokens(form["client_id"]), []) if good else (400, {"error": "invalid_grant"}, [])
            case "/token":
                owner = self.refreshes.pop(form["refresh_token"], "")
                return (200, self._tokens(owner), []) if owner else (400, {"error": "invalid_grant"}, [])
            case "/revoke":
                self.revoked.append(form["token"])
                self.tokens.pop(form["token"], None)
                return 200, {}, []
        return 404, {}, []

    def _tokens(self, owner: str) -> dict[str, Any]:
        access, refresh = self._canary("access"), self._canary("refresh")
        self.first = self.first or owner
        self.tokens[access], self.refreshes[refresh] = owner, owner
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 3600}

    def owner(self, head: Mapping[str, str]) -> str:
        """Whose token a request came with."""
        return self.tokens[head["authorization"].removeprefix("Bearer ")]

    def _canary(self, kind: str) -> str:
        self.canaries.append(f"canary-{kind}-{secrets.token_hex(16)}")
        return self.canaries[-1]


async def _send(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    made = Guarded()

    @made.tools.tool()
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    listener = socket.create_server(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(made.app(), log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + WITHIN
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield made
    server.should_exit = True
    thread.join(WITHIN)


@pytest.fixture(scope="module")
def home(guarded: Guarded) -> Iterator[Running]:
    """A home with that server in it, for which the client `web` signed in when it was added."""
    with home_of_a_stranger() as made:
        made.up()
        for name in ("web", "other"):
            assert made.bulkhead("client", "add", name).returncode == 0
        with browsing(made, "add", "far", "--yes", "--client", "web", "--url", f"{guarded.base}/mcp") as added:
            assert f"let web sign in at {guarded.base} to use far" in added and "asks for: use (new)" in added
        for name in ("web", "other"):
            made.desk.connect(name, "far")
        yield made


@contextmanager
def browsing(home: Running, *words: str) -> Iterator[str]:
    """Run a command and be the browser of whoever typed it; what it said to them.

    With `--paste` the browser is on another machine, and the person brings the address that it could not open.
    """
    pastes = "--paste" in words
    with subprocess.Popen(
        home.home.argv(*words), env=dict(home.environment), stdin=subprocess.PIPE if pastes else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stderr is not None and command.stdout is not None
        said = ""
        for line in command.stderr:
            said += line
            if line.startswith(LINK):
                with httpx2.Client(follow_redirects=not pastes, trust_env=False, timeout=WITHIN) as browser:
                    page = browser.get(line.removeprefix(LINK).strip())
                if pastes:
                    assert command.stdin is not None
                    command.stdin.write(f"{page.headers['location']}\n")
                    command.stdin.flush()
                else:
                    assert page.status_code == 200 and page.url.path == "/done"
        said += command.stdout.read()
        assert command.wait(WITHIN) == 0, said
        yield said


def tokens(home: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.bulkhead("tokens", "--json").stdout)
    return found


async def called(home: Running, name: str, more: Mapping[str, str] = {}, calls_itself: str = "sdk") -> Any:
    found = json.loads(home.bulkhead("endpoint", "far", "--client", name, "--json").stdout)
    who = Implementation(name=calls_itself, version="1")
    async with client(found["url"], {**more, **found["headers"]}, "2026-07-28", client_info=who) as sdk:
        return await sdk.call_tool("double", {"number": 21})


async def test_a_client_that_signed_in_uses_the_server_which_hears_nothing_else_of_it(
    home: Running, guarded: Guarded
) -> None:
    own = {"cookie": "of-its-own", "proxy-authorization": "of-its-own", "x-forwarded-for": "of-its-own"}
    guarded.heads.clear()
    assert (await called(home, "web", own)).content[0].text == "42"
    assert guarded.heads and not any("of-its-own" in value for head in guarded.heads for value in head.values())
    assert {guarded.owner(head) for head in guarded.heads} == {guarded.first}
    (one,) = tokens(home)
    assert (one["client"], one["server"], one["issuer"], one["state"]) == ("web", "far", guarded.base, "signed in")
    assert (one["scopes"], one["registered"], one["renews"], one["link"]) == (["use"], "dynamic", True, "")


async def test_a_token_that_was_taken_back_is_renewed_without_a_word(home: Running, guarded: Guarded) -> None:
    guarded.tokens.clear()
    assert (await called(home, "web")).content[0].text == "42"


@pytest.mark.claim("C90")
def test_another_client_signs_in_for_itself_and_out_again(home: Running, guarded: Guarded) -> None:
    with browsing(home, "login", "far", "--client", "other", "--yes", "--paste", "--json") as said:
        assert "then paste the whole address that begins with http://127.0.0.1:" in said
        assert '"needed": true' in said and f'"issuer": "{guarded.base}"' in said
    assert [one["client"] for one in tokens(home)] == ["other", "web"]
    guarded.heads.clear()
    assert asyncio.run(called(home, "other", calls_itself="web")).content[0].text == "42"
    assert {guarded.owner(head) for head in guarded.heads}.isdisjoint({guarded.first})
    done = home.bulkhead("logout", "far", "--client", "other", "--json")
    assert json.loads(done.stdout)["revoked"] is True and len(guarded.revoked) == 2
    assert [one["client"] for one in tokens(home)] == ["web"]
    assert home.bulkhead("logout", "far", "--client", "other").returncode != 0


@pytest.mark.claim("C91")
def test_a_sign_in_that_nobody_agrees_to_sends_nobody_anywhere(home: Running, guarded: Guarded) -> None:
    before = len(guarded.codes)
    done = home.bulkhead("login", "far", "--client", "other")  # there is no terminal to say yes at
    assert done.returncode == 1 and "nobody agreed to this sign-in" in done.stderr
    assert LINK not in done.stderr and len(guarded.codes) == before


@pytest.mark.claim("C94")
def test_nothing_that_was_given_is_in_any_file_or_on_any_screen(home: Running, guarded: Guarded) -> None:
    shown = home.bulkhead("audit", "search", "--server", "far", "--json").stdout + home.bulkhead("tokens").stdout
    assert '"login"' in shown or "login" in shown
    files = [path.read_bytes() for path in home.paths.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(guarded.canaries) >= 6
    for canary in guarded.canaries:
        assert canary not in shown and not any(canary.encode() in data for data in files)
