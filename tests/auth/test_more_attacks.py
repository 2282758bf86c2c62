"""What is tried while a sign-in or a token is on its way: mixed up, swapped, rolled back, killed, and taken away."""

import asyncio
import hashlib
import json
import signal
import socket
import sys
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from broker.auth import loopback, sign_in
from broker.auth.answers import Tokens
from broker.auth.challenge import Bearer
from broker.auth.grants import Grant, Grants
from broker.auth.loopback import Loopback
from broker.auth.problems import AuthError
from broker.auth.registration import Registration
from broker.auth.renewal import Renewal
from broker.auth.wire import Wire
from broker.auth.wishes import Wanted
from broker.endpoints.http_reach import Unreachable
from broker.endpoints.http_server import Answer as Answered
from broker.endpoints.http_server import Head, HttpServer, Reply, Work
from broker.vault.book import KEY_BYTES, Book, open_database
from tests.auth.internet import AS, MCP, Answer, Asked, Internet, Scene, Stage, staged
from tests.auth.test_front import old, refreshes
from tests.waiting import WITHIN, until

HONEST: Final = "https://honest.example"


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def bring(url: str, path: str = "", **said: str) -> int:
    """Bring this answer to the redirect of the sign-in at `url`, as any page could; its status."""
    asked = query_of(url)
    redirect = urlsplit(asked["redirect_uri"])
    where = f"http://{redirect.netloc}{path or redirect.path}"
    async with httpx2.AsyncClient(trust_env=False) as browser:
        return (await browser.get(f"{where}?{urlencode({'state': asked['state'], **said})}")).status_code


def begun(stage: Stage, client: str) -> "asyncio.Task[Grant]":
    return asyncio.ensure_future(stage.front.sign_in(Wanted(client, "notes", MCP, Bearer(), anew=True)))


def bound(net: Internet, asked: Asked) -> Answer:
    """A token endpoint at which a code counts with its own proof alone."""
    digest = hashlib.sha256(asked.form["code_verifier"].encode()).digest()
    good = urlsafe_b64encode(digest).rstrip(b"=").decode() == asked.form["code"]
    return net.good_token() if good else (400, {}, {"error": "invalid_grant"})


# --- mixed up ---


async def test_a_code_of_one_client_brought_to_the_sign_in_of_another_gives_nothing() -> None:
    async with asyncio.timeout(WITHIN), staged(Scene(token=bound)) as stage:
        stage.browses = False
        mine, theirs = begun(stage, "claude"), begun(stage, "cursor")
        await until(lambda: len(stage.opened) == 2)
        of = {wish.client: url for wish, url in zip(stage.wishes, stage.opened, strict=True)}
        code = query_of(of["claude"])["code_challenge"]  # what the authorization server would give for it
        assert await bring(of["cursor"], code=code, iss=AS) == 303
        with pytest.raises(AuthError, match="not valid any more"):
            await theirs
        assert not mine.done() and not stage.grants.all()
        assert await bring(of["claude"], code=code, iss=AS) == 303
        await mine
        assert [client for client, _, _ in stage.grants.all()] == ["claude"]


async def test_an_answer_on_the_path_of_another_issuer_is_none() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.browses = False
        first = begun(stage, "claude")
        await until(lambda: len(stage.opened) == 1)
        stage.net.scene.issuers = (HONEST,)
        second = begun(stage, "cursor")
        await until(lambda: len(stage.opened) == 2)
        paths = [urlsplit(query_of(url)["redirect_uri"]).path for url in stage.opened]
        assert paths[0] != paths[1]
        assert await bring(stage.opened[0], paths[1], code="x", iss=AS) == 400
        assert not first.done() and not second.done()
        assert await bring(stage.opened[1], code="x", iss=AS) == 400  # the right path, the wrong issuer
        with pytest.raises(AuthError, match="another authorization server"):
            await second
        assert not stage.net.hits("honest.example", "/token") and not first.done()


async def test_what_a_person_agreed_to_is_what_is_opened_whatever_is_said_later() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        agree = stage.front._world.agree

        async def swapped(wish: Any) -> bool:
            stage.net.scene.metadata = {f"{end}_endpoint": f"https://evil.example/{end}"
                                        for end in ("authorization", "token", "registration")}  # fmt: skip
            return await agree(wish)

        stage.front._world = replace(stage.front._world, agree=swapped)
        await stage.login()
        assert f"https://{urlsplit(stage.opened[0]).netloc}" == stage.wishes[0].host == AS
        assert not stage.net.hits("evil.example")


async def test_a_state_cannot_be_guessed_and_none_comes_twice() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        await stage.login()
        states = {query_of(url)["state"] for url in stage.opened}
        assert len(states) == 2 and min(map(len, states)) >= 43  # 256 bits in six each


# --- nobody comes back ---


async def test_a_person_who_closes_the_browser_frees_the_place_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "BROWSER_SECONDS", 0.1)
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.browses = False
        with pytest.raises(Unreachable, match="nobody finished"):
            await stage.call()
        await until(lambda: not stage.front.waiting())
        assert not stage.front._loopback._waiting
        assert await bring(stage.opened[0], code="x", iss=AS) == 400


async def test_a_device_that_nobody_confirms_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"device_code": "DEVICE-SECRET", "user_code": "WDJB", "verification_uri": f"{AS}/device"}
    error = {"error": "expired_token", "error_description": "CALL-ME"}
    scene = Scene(
        token=lambda _net, _asked: (400, {}, error),
        answers={("as.good.example", "/device"): (200, {}, said)},
        metadata={"device_authorization_endpoint": f"{AS}/device"},
    )
    monkeypatch.setattr("broker.auth.answers.MAX_DEVICE_SECONDS", 0.01)
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        with pytest.raises(AuthError, match="nobody finished") as refused:
            await stage.login(way="device")
        assert "CALL-ME" not in str(refused.value) and not stage.grants.all()


# --- registrations ---


async def test_a_secret_that_is_over_is_no_reason_to_use_it_and_another_registration_is_made() -> None:
    def registered(asked: Asked) -> Answer:
        secret = {"client_secret": "DCR-SECRET", "client_secret_expires_at": 1}
        method = {"token_endpoint_auth_method": "client_secret_post"}
        return 201, {}, {**json.loads(asked.body), "client_id": "cid", **method, **secret}

    async with asyncio.timeout(WITHIN), staged(Scene(registration=registered)) as stage:
        await stage.login()
        await stage.login()
        assert len(stage.net.hits("as.good.example", "/register")) == 2


async def test_a_port_that_somebody_took_meanwhile_is_registered_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        before = stage.grants.all()[0][2].registration.redirect
        await stage.front._loopback.close()
        port = urlsplit(before).port
        assert port is not None
        monkeypatch.setattr(
            loopback, "PORTS", tuple(one for one in loopback.PORTS if one != port)
        )  # as if it were held
        stage.front._loopback = Loopback()
        await stage.login()
        after = stage.grants.all()[0][2].registration.redirect
        assert after != before and len(stage.net.hits("as.good.example", "/register")) == 2


# --- tokens on their way ---


async def test_another_kind_of_token_at_a_renewal_is_no_token_and_the_first_stays() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        stage.net.scene.token = lambda net, _asked: net.good_token(token_type="DPoP")
        with pytest.raises(Unreachable, match="no token that can be used"):
            await stage.call()
        assert stage.grants.all()[0][2].is_live and len(stage.opened) == 1


async def test_signing_out_while_a_token_is_renewed_leaves_nothing_here_or_there() -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def later(net: Internet) -> bytes:
        asked.set()
        await go.wait()
        return json.dumps(net.good_token()[2]).encode()

    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        stage.net.scene.token = lambda net, _asked: (200, {}, later(net))
        caller = asyncio.ensure_future(stage.attached().token())
        await asked.wait()
        out = asyncio.ensure_future(stage.front.logout("claude", "notes"))
        go.set()
        assert await out
        await asyncio.gather(caller, return_exceptions=True)
        taken = {one.form["token"] for one in stage.net.hits("as.good.example", "/revoke")}
        assert taken == {"AT-2-SECRETTOKEN", "RT-2-SECRETTOKEN"} and not stage.grants.all()
        assert await stage.attached().token() == ""


async def test_a_token_that_another_process_brings_after_signing_out_counts_for_nobody() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)

        def gone(net: Internet, _asked: Asked) -> Answer:
            stage.grants.forget("claude", "notes")
            return net.good_token()

        stage.net.scene.token = gone
        with pytest.raises(AuthError, match="it needs a sign-in"):
            await Renewal(stage.grants, Wire(stage.net.dial)).renewed("claude", "notes", MCP)
        assert not stage.grants.all()


async def test_a_client_that_is_removed_while_it_is_used_is_signed_in_nowhere_afterwards() -> None:
    go = asyncio.Event()

    async def late() -> bytes:
        await go.wait()
        return b"{}"

    scene = Scene(served=lambda net, asked: (200, {}, late()) if asked.bearer in net.valid else None)
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        await stage.login()
        calls = [asyncio.ensure_future(stage.call()) for _ in range(20)]
        await until(lambda: len([one for one in stage.net.hits("mcp.good.example", "/mcp") if one.bearer]) == 20)
        stage.says_yes = False
        await stage.front.forget(client="claude")
        go.set()
        assert set(await asyncio.gather(*calls)) == {200}  # they had been sent
        with pytest.raises(Unreachable, match="nobody agreed"):
            await stage.call()
        assert not stage.grants.all() and not stage.net.valid


async def test_a_row_that_was_put_back_to_what_it_was_ends_in_one_sign_in() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        database = stage.grants.rows._database
        before = database.execute("SELECT sealed, generation FROM rows WHERE client = 'claude'").fetchone()
        old(stage)
        assert await stage.call() == 200 and len(stage.opened) == 1
        stage.net.valid.clear()
        database.execute("UPDATE rows SET sealed = ?, generation = ? WHERE client = 'claude'", before)
        assert await stage.call() == 200
        assert len(stage.opened) == 2 and "RT-1-SECRETTOKEN" not in stage.net.refreshes


@pytest.mark.parametrize("days", [-1, 1])
async def test_a_clock_that_jumps_costs_a_renewal_at_most(days: int) -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        clock = stage.grants.all()[0][2].tokens
        assert clock is not None
        jumped = Renewal(stage.grants, Wire(stage.net.dial), clock=lambda: clock.expires - 3600 + days * 86400)
        stage.front._renewal = jumped
        if days < 0:
            stage.net.valid.clear()  # it ended, and by this clock it has not
        assert [await stage.call() for _ in range(3)] == [200] * 3
        assert len(stage.opened) == 1 and refreshes(stage) == 1


KILLED: Final = """
import asyncio, sys
from pathlib import Path
from broker.auth import renewal
from broker.auth.grants import Grants
from broker.auth.renewal import Renewal
from broker.auth.wire import Wire
from broker.vault.book import KEY_BYTES, Book, open_database
renewal.LEASE_SECONDS = 0.2
grants = Grants(Book(open_database(Path(sys.argv[1])), "test", b"k" * KEY_BYTES))
asyncio.run(Renewal(grants, Wire()).renewed("claude", "notes", sys.argv[2]))
"""


async def test_a_process_killed_while_it_renews_leaves_its_turn_to_the_next(tmp_path: Path) -> None:
    arrived = asyncio.Event()
    asked: list[str] = []

    async def answer(body: bytes) -> Answered:
        asked.append(dict(parse_qsl(body.decode()))["refresh_token"])
        arrived.set()
        if len(asked) == 1:
            await asyncio.Event().wait()
        said = {"access_token": "AT", "refresh_token": "RT", "token_type": "Bearer", "expires_in": 3600}
        return Reply(200, json.dumps(said).encode())

    def judge(_head: Head) -> Work:
        return answer

    server, listener = HttpServer(judge), socket.create_server(("127.0.0.1", 0))
    server.open(listener)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    database = open_database(tmp_path / "vault" / "vault.db")
    database.execute("INSERT INTO seal VALUES (1, 'test')")
    grants = Grants(Book(database, "test", b"k" * KEY_BYTES))
    kept = Grant(f"{base}/mcp", Registration(base, "cid", "dynamic"), f"{base}/token",
                 tokens=Tokens("gone", "first", 1.0, 3600))  # fmt: skip
    grants.put("claude", "notes", kept)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "vault" / "vault.db"), kept.url]
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60):
            await arrived.wait()
            child.send_signal(signal.SIGKILL)
            await child.wait()
            renewed = await Renewal(grants, Wire()).renewed("claude", "notes", kept.url)
        assert renewed.tokens is not None and renewed.tokens.access == "AT" and asked == ["first", "first"]
        found = grants.of("claude", "notes", kept.url)
        assert found is not None and found.grant.tokens == renewed.tokens
    finally:
        if child.returncode is None:
            child.kill()
        await server.close()
        grants.rows.close()
