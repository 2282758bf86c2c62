"""Sign-ins of one home: who is asked, what is kept, what is renewed, and what ends."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from broker.auth.challenge import Bearer
from broker.auth.grants import Settings
from broker.auth.problems import AuthError, Kind
from broker.auth.renewal import Renewal
from broker.auth.wire import Wire
from broker.auth.wishes import Wanted
from broker.endpoints.http_reach import Reach, Unreachable
from broker.vault import book
from tests.auth.internet import AS, MCP, WHERE, Answer, Asked, Internet, Scene, Stage, staged
from tests.waiting import WITHIN, until

WIDER = {"www-authenticate": 'Bearer error="insufficient_scope", scope="write"'}


def old(stage: Stage, client: str = "claude") -> None:
    """Let the token of a client be about to end."""
    held = stage.grants.of(client, "notes", MCP)
    assert held is not None and held.grant.tokens is not None
    stage.grants.put(client, "notes", replace(held.grant, tokens=replace(held.grant.tokens, expires=1.0)))


def refreshes(stage: Stage) -> int:
    return sum(asked.form["grant_type"] == "refresh_token" for asked in stage.net.hits("as.good.example", "/token"))


# --- who is asked ---


@pytest.mark.claim("C91")
async def test_a_person_is_asked_before_anything_is_opened_and_shown_the_host_in_full() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.says_yes = False
        with pytest.raises(Unreachable) as refused:
            await stage.call()
        assert "nobody agreed" in str(refused.value) and "bulkhead login notes --client claude" in refused.value.hint
        assert not stage.opened and not stage.net.hits("as.good.example", "/register")
        (wish,) = stage.wishes
        assert (wish.client, wish.server, wish.host, wish.scopes) == ("claude", "notes", AS, ("read",))


@pytest.mark.claim("C90")
async def test_a_second_client_never_inherits_a_grant() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        assert [await stage.call("claude"), await stage.call("claude"), await stage.call("cursor")] == [200, 200, 200]
        assert [wish.client for wish in stage.wishes] == ["claude", "cursor"]
        assert len(stage.net.hits("as.good.example", "/register")) == 2
        bearers = {asked.bearer for asked in stage.net.hits("mcp.good.example", "/mcp") if asked.bearer}
        assert len(bearers) == 2
        stage.says_yes = False
        with pytest.raises(Unreachable):
            await stage.call("other")
        assert {asked.bearer for asked in stage.net.hits("mcp.good.example", "/mcp")} - {""} == bearers


async def test_a_grant_counts_for_the_address_it_was_made_for_alone() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        assert await stage.attached().token()
        assert await stage.attached(url="https://mcp.good.example/other").token() == ""
        assert await stage.attached("cursor").token() == ""


@pytest.mark.claim("C91")
async def test_wider_rights_are_asked_for_again_and_keep_what_was_there() -> None:
    def served(net: Internet, asked: Asked) -> Answer | None:
        scopes = net.scopes_of(asked.bearer)
        return (403, WIDER, b"") if asked.bearer in net.valid and "write" not in scopes else None

    async with asyncio.timeout(WITHIN), staged(Scene(served=served)) as stage:
        assert await stage.call() == 200
        assert [(wish.reason, wish.scopes, wish.new_scopes) for wish in stage.wishes] == [
            ("sign in", ("read",), ("read",)),
            ("more rights", ("read", "write"), ("write",)),
        ]
        assert len(stage.net.hits("as.good.example", "/register")) == 1


async def test_a_server_that_never_has_enough_asks_a_person_twice_at_most() -> None:
    scene = Scene(served=lambda net, asked: (403, WIDER, b"") if asked.bearer in net.valid else None)
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        for _ in range(10):
            with pytest.raises(Unreachable, match="wants more than it was given"):
                await stage.call()
        assert len(stage.opened) == 2


async def test_a_server_that_takes_no_token_opens_a_few_windows_and_no_more() -> None:
    scene = Scene(served=lambda _net, _asked: (401, {"www-authenticate": WHERE}, b""))
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        while len(stage.opened) < 5:
            with suppress(Unreachable):
                assert await stage.call() == 401
        for _ in range(3):
            with pytest.raises(Unreachable, match="too many sign-ins"):
                await stage.call()
        assert len(stage.opened) == 5


async def test_many_calls_without_a_token_open_one_window() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        assert set(await asyncio.gather(*(stage.call() for _ in range(200)))) == {200}
        assert len(stage.opened) == 1 and len(stage.wishes) == 1


async def test_a_call_does_not_wait_for_a_person_for_ever_and_the_sign_in_goes_on() -> None:
    async with asyncio.timeout(WITHIN), staged(patience=0.2) as stage:
        stage.browses = False
        with pytest.raises(Unreachable, match="a sign-in waits for a person"):
            await stage.call()
        await until(lambda: stage.opened)
        assert stage.front.waiting()[("claude", "notes")].url == stage.opened[0]
        await stage._bring(stage.opened[0])
        await until(lambda: stage.grants.of("claude", "notes", MCP) is not None)
        assert await stage.call() == 200 and len(stage.opened) == 1


@pytest.mark.claim("C91")
async def test_another_authorization_server_is_asked_about_by_its_name_and_told_nothing_of_the_first() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        stage.net.valid.clear()
        stage.net.refreshes.clear()
        stage.net.scene.issuers = ("https://honest.example", AS)  # another order is no change
        assert await stage.call() == 200 and stage.wishes[-1].before == ""
        stage.net.valid.clear()
        stage.net.refreshes.clear()
        stage.net.scene.issuers = ("https://honest.example",)
        stage.says_yes = False
        with pytest.raises(Unreachable, match="nobody agreed"):
            await stage.call()
        wish = stage.wishes[-1]
        assert (wish.reason, wish.issuer, wish.before) == (
            "another authorization server", "https://honest.example", AS
        )  # fmt: skip
        assert len(stage.opened) == 2 and not stage.net.hits("honest.example", "/register")
        stage.says_yes = True
        assert await stage.call() == 200
        assert len(stage.net.hits("honest.example", "/register")) == 1
        assert not any(b"SECRETTOKEN" in asked.body for asked in stage.net.hits("honest.example"))


async def test_a_fixed_header_of_a_person_stands_in_the_place_of_any_sign_in() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.net.valid.add("FIXED")
        assert await stage.call(headers={"authorization": "Bearer FIXED"}) == 200
        assert await stage.call(headers={"authorization": "Bearer WRONG"}) == 401
        assert not stage.wishes


# --- tokens ---


@pytest.mark.claim("C92")
async def test_five_hundred_calls_at_the_end_of_a_token_make_one_request() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        attached = stage.attached()
        found = await asyncio.gather(*(attached.token() for _ in range(500)))
        assert refreshes(stage) == 1 and len(set(found)) == 1 and found[0] in stage.net.valid


@pytest.mark.claim("C92")
async def test_two_processes_renew_once_and_the_slower_reads_what_came() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        others = [Renewal(stage.grants, Wire(stage.net.dial)) for _ in range(6)]
        found = await asyncio.gather(*(other.renewed("claude", "notes", MCP) for other in others))
        assert refreshes(stage) == 1 and len({grant.tokens for grant in found}) == 1


async def test_a_caller_that_goes_away_does_not_lose_a_token_that_was_given() -> None:
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
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        go.set()
        await until(lambda: "AT-2-SECRETTOKEN" in json.dumps(stage.grants.secrets()))
        assert await stage.attached().token() == "AT-2-SECRETTOKEN"


@pytest.mark.parametrize("status", [500, 503, 429, 408, 307, 200])
@pytest.mark.claim("C92")
async def test_what_may_pass_keeps_the_grant_and_opens_no_browser(status: int) -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        stage.net.scene.token = lambda _net, _asked: (status, {"content-type": "text/html"}, b"<p>a captive portal")
        with pytest.raises(Unreachable, match="could not be asked"):
            await stage.call()
        stage.net.scene.token = None
        assert await stage.call() == 200
        assert len(stage.opened) == 1 and refreshes(stage) == 2


async def test_a_token_that_still_counts_is_used_while_it_cannot_be_renewed() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.net.scene.token = lambda net, asked: (
            (503, {}, b"") if asked.form["grant_type"] == "refresh_token" else net.good_token(expires_in=1000)
        )
        await stage.login()
        held = stage.grants.of("claude", "notes", MCP)
        assert held is not None and held.grant.tokens is not None
        tokens = replace(held.grant.tokens, expires=held.grant.tokens.expires - 990)
        stage.grants.put("claude", "notes", replace(held.grant, tokens=tokens))
        assert await stage.call() == 200 and refreshes(stage) == 1


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client", "bad_refresh_token"])
async def test_what_is_over_needs_one_sign_in_and_a_lost_client_registers_anew(error: str) -> None:
    def answered(net: Internet, asked: Asked) -> Answer:
        return (400, {}, {"error": error}) if asked.form["grant_type"] == "refresh_token" else net.good_token()

    async with asyncio.timeout(WITHIN), staged(Scene(token=answered)) as stage:
        await stage.login()
        old(stage)
        assert set(await asyncio.gather(*(stage.call() for _ in range(5)))) == {200}
        assert len(stage.opened) == 2
        lost = error in ("invalid_client", "unauthorized_client")
        assert len(stage.net.hits("as.good.example", "/register")) == (2 if lost else 1)


async def test_a_token_that_was_taken_back_is_renewed_without_a_person() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        stage.net.valid.clear()
        assert await stage.call() == 200 and len(stage.opened) == 1 and refreshes(stage) == 1


async def test_a_token_that_ended_on_its_way_is_renewed_again_however_often_without_a_person() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        attached = stage.attached()
        for number in range(1, 4):
            sent = await attached.token()
            stage.net.valid.clear()
            old(stage)
            assert await attached.refused(401, [WHERE], sent) and refreshes(stage) == number
        assert len(stage.opened) == 1


async def test_no_call_waits_for_another_ones_answer() -> None:
    go = asyncio.Event()

    async def late() -> bytes:
        await go.wait()
        return b"{}"

    def served(net: Internet, asked: Asked) -> Answer | None:
        return (200, {}, late()) if asked.method == "GET" and asked.bearer in net.valid else None

    async with asyncio.timeout(WITHIN), staged(Scene(served=served)) as stage:
        await stage.login()
        reach = Reach(stage.net.dial)
        from broker.endpoints.http_channel import Tail

        async def slow() -> int:
            async with stage.channel(reach).get(Tail()) as said:
                return said.status_code

        listening = asyncio.ensure_future(slow())
        await until(lambda: any(asked.method == "GET" for asked in stage.net.hits("mcp.good.example", "/mcp")))
        assert await stage.call() == 200 and not listening.done()
        go.set()
        assert await listening == 200
        await reach.close()


async def test_what_was_begun_at_the_end_of_the_daemon_is_kept() -> None:
    asked = asyncio.Event()

    async def later(net: Internet) -> bytes:
        asked.set()
        await asyncio.sleep(0)
        return json.dumps(net.good_token()[2]).encode()

    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        old(stage)
        stage.net.scene.token = lambda net, _asked: (200, {}, later(net))
        caller = asyncio.ensure_future(stage.attached().token())
        await asked.wait()
        await stage.front.close()
        await asyncio.gather(caller, return_exceptions=True)
        assert "AT-2-SECRETTOKEN" in stage.grants.secrets().values()


@pytest.mark.claim("C90")
async def test_a_row_of_one_client_is_none_of_another() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        await stage.login("cursor")
        database = stage.grants.rows._database
        sealed = database.execute("SELECT sealed, generation FROM rows WHERE client = 'claude'").fetchone()
        database.execute("UPDATE rows SET sealed = ?, generation = ? WHERE client = 'cursor'", sealed)
        with pytest.raises(Unreachable, match="changed or moved"):
            await stage.call("cursor")
        assert await stage.call("claude") == 200


async def test_no_token_is_shown_by_anything_that_is_kept_in_memory() -> None:
    async with asyncio.timeout(WITHIN), staged(Scene(settings=Settings(client_id="c", secret="PRE-SECRET"))) as stage:
        await stage.call()
        found = stage.grants.all()
        assert "SECRET" not in repr(found) + repr(stage.grants.settings("notes")) + repr(stage.front.waiting())
        assert {"AT-1-SECRETTOKEN", "RT-1-SECRETTOKEN"} <= set(stage.secrets.values())
        assert "PRE-SECRET" in stage.grants.secrets().values()


# --- signing out ---


async def test_signing_out_takes_tokens_back_there_too() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        assert await stage.front.logout("claude", "notes")
        asked = [one.form["token_type_hint"] for one in stage.net.hits("as.good.example", "/revoke")]
        assert asked == ["refresh_token", "access_token"] and not stage.net.valid and not stage.grants.all()


async def test_signing_out_here_is_done_whatever_the_authorization_server_does() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        stage.net.scene.answers[("as.good.example", "/revoke")] = (503, {}, b"")
        assert not await stage.front.logout("claude", "notes")
        assert not stage.grants.all()


async def test_a_server_or_a_client_that_goes_takes_its_sign_ins_with_it() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        await stage.login()
        await stage.login("cursor")
        await stage.front.forget(client="claude")
        assert [client for client, _, _ in stage.grants.all()] == ["cursor"]
        await stage.front.forget(server="notes")
        assert not stage.grants.all() and not stage.grants.rows.places("oauth-settings")


# --- other ways ---


async def test_a_device_is_shown_a_code_and_asked_for_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def quick(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    answers = iter(["authorization_pending", "slow_down", "authorization_pending", ""])

    def answered(net: Internet, asked: Asked) -> Answer:
        error = next(answers)
        return (400, {}, {"error": error}) if error else net.good_token()

    code = {"device_code": "DEVICE-SECRET", "user_code": "WDJB-MJHT", "verification_uri": f"{AS}/device"}
    scene = Scene(token=answered, answers={("as.good.example", "/device"): (200, {}, code)},
                  metadata={"device_authorization_endpoint": f"{AS}/device"})  # fmt: skip
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        monkeypatch.setattr("broker.auth.sign_in.asyncio.sleep", quick)
        await stage.login(way="device")
        assert [seconds for seconds in pauses if seconds] == [5.0, 5.0, 10.0, 10.0]
        assert stage.shown[0].code == "WDJB-MJHT" and "DEVICE" not in repr(stage.shown)
        assert stage.net.hits("as.good.example", "/token")[0].form["resource"] == MCP
        assert b"device_code" in stage.net.hits("as.good.example", "/register")[0].body


async def test_a_device_is_asked_for_only_where_there_is_such_a_way() -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        with pytest.raises(AuthError, match="no sign-in for devices"):
            await stage.login(way="device")


async def test_a_key_signs_in_and_renews_without_a_person() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    scene = Scene(settings=Settings(client_id="robot", secret=pem, key=True))
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        assert await stage.call() == 200
        assert not stage.opened and stage.wishes[0].reason == "without a person"
        old(stage)
        assert await stage.call() == 200
        forms = [asked.form for asked in stage.net.hits("as.good.example", "/token")]
        assert [form["grant_type"] for form in forms] == ["client_credentials"] * 2
        assert forms[0]["client_assertion"] != forms[1]["client_assertion"] and forms[0]["resource"] == MCP


@pytest.mark.parametrize(
    ("mode", "sent"), [("prm", MCP), ("omit", None), ("fixed:https://api.example/x", "https://api.example/x")]
)
async def test_each_server_is_named_as_a_person_chose(mode: str, sent: str | None) -> None:
    async with asyncio.timeout(WITHIN), staged(Scene(settings=Settings(resource=mode))) as stage:
        assert await stage.call() == 200
        old(stage)
        await stage.call()
        forms = [asked.form.get("resource") for asked in stage.net.hits("as.good.example", "/token")]
        assert forms == [sent, sent]


async def test_a_client_id_that_is_a_document_is_used_where_it_is_taken() -> None:
    document = "https://bulkhead.example/client.json"
    for taken in (True, False):
        scene = Scene(metadata={"client_id_metadata_document_supported": taken}, settings=Settings(document=document))
        async with asyncio.timeout(WITHIN), staged(scene) as stage:
            assert await stage.call() == 200
            assert (stage.grants.all()[0][2].registration.client_id == document) is taken


async def test_many_sign_ins_wait_at_once_and_then_no_more_are_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(WITHIN), staged() as stage:
        stage.browses = False

        def begin(number: int) -> "asyncio.Task[Any]":
            return asyncio.ensure_future(stage.front.sign_in(Wanted(f"c{number}", "notes", MCP, Bearer())))

        tasks = [begin(number) for number in range(17)]
        await until(lambda: any(task.done() for task in tasks) and len(stage.opened) == 16)
        (refused,) = (task.exception() for task in tasks if task.done())
        assert isinstance(refused, AuthError) and refused.code == "too_many" and refused.kind is Kind.REFUSED
        await stage.front.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_place_of_a_grant_names_nobody_elses_row() -> None:
    from broker.auth.grants import where

    assert where("a", "b") == book.Place("oauth-grant", "a", "b") != where("b", "a")
