"""Who wants a pass without a person's yes, or with somebody else's, and what they get."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.errors import DeskError
from broker.passes.counter import REGISTRATIONS
from broker.passes.waiting import MAX_OF_ONE
from tests.endpoints.front import raw
from tests.passes.stage import site
from tests.waiting import turns, until


async def test_a_pass_opens_one_server_and_no_other_and_nothing_on_record_can_be_used(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        unknown = await at.http.post(at.url, json={})
        described = f'resource_metadata="http://{urlsplit(at.url).netloc}/.well-known/oauth-protected-resource'
        assert unknown.status_code == 401 and described in unknown.headers["www-authenticate"]
        app = await at.register()
        tokens = await at.signed_in(app)
        elsewhere = at.url.removesuffix("notes") + "time"
        assert (await at.lists(tokens["access_token"]), await at.lists(tokens["access_token"], elsewhere)) == (200, 401)
        assert await at.lists(tokens["access_token"], at.url.removesuffix("notes") + "@all") == 401
        assert await at.lists(tokens["refresh_token"]) == 401 and await at.lists("x") == 401
        assert at.guest.bearer == "" and await at.lists(at.guest.path) == 401
        with_bearer, other = at.door.address("desk", "notes", "/work")
        assert await at.lists(tokens["access_token"], with_bearer) == 401 and await at.lists(other.bearer) == 401
        await at.refresh(app, tokens["refresh_token"])
        said = [(entry["kind"], entry["body"].get("what", entry["body"].get("allowed"))) for entry in at.recorded()]
        assert said == [("grant", "registered"), ("answer", True), ("grant", "given"), ("grant", "renewed")]
        texts = json.dumps(at.rooms.receipts()) + repr(at.door.entries.all())
        for secret in (*tokens.values(), app.verifier, app.challenge, at.guest.path):
            assert str(secret) not in texts or secret in ("Bearer", 600)


async def test_a_code_is_good_once_for_who_asked_for_it_and_used_again_it_ends_what_came_of_it(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        mine, other = await at.register(), await at.register(name="another")
        for changed in (
            {"client_id": other.id}, {"redirect_uri": "http://127.0.0.1:9/callback"}, {"code_verifier": other.verifier},
            {"code_verifier": None}, {"code_verifier": mine.challenge}, {"code": "x" * 43},
        ):  # fmt: skip
            code = await at.code(mine)
            refused = await at.exchange(mine, **{"code": code, **changed})
            assert (refused.status_code, refused.json()) == (400, {"error": "invalid_grant"}), changed
            again = await at.exchange(mine, code)
            assert again.status_code == (200 if "code" in changed else 400)  # one attempt used it up
        code = await at.code(mine)
        tokens = (await at.exchange(mine, code)).json()
        assert await at.lists(tokens["access_token"]) == 200
        assert (await at.exchange(mine, code)).status_code == 400
        assert await at.lists(tokens["access_token"]) == 401
        assert (await at.refresh(mine, tokens["refresh_token"])).json() == {"error": "invalid_grant"}
        assert "a code that was used before" in json.dumps([one["body"] for one in at.recorded()])


async def test_an_old_refresh_token_that_comes_back_ends_the_pass_for_both_holders(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app, other = await at.register(), await at.register(name="another")
        first = await at.signed_in(app)
        id, turn, rest = first["refresh_token"].split(".")
        for forged in (
            f"{id}.7.{rest}",
            f"{id}.{turn}.{'0' * 64}",
            f"{id}.-1.{rest}",
            f"{id}.²",
            id,
            "",
            "é",
            "x" * 4096,
        ):
            assert (await at.refresh(app, forged)).json() == {"error": "invalid_grant"}
        assert (await at.refresh(other, first["refresh_token"])).json() == {"error": "invalid_grant"}
        elsewhere = at.url.removesuffix("notes") + "time"
        assert (await at.refresh(app, first["refresh_token"], resource=elsewhere)).status_code == 400
        second = (await at.refresh(app, first["refresh_token"])).json()  # none of all that cost anything
        assert await at.lists(second["access_token"]) == 200
        assert (await at.refresh(app, first["refresh_token"])).json() == {"error": "invalid_grant"}
        assert await at.lists(second["access_token"]) == 401 and at.door.entries.all() == ()
        assert (await at.refresh(app, second["refresh_token"])).json() == {"error": "invalid_grant"}


async def test_what_was_made_at_one_clients_address_means_nothing_at_anothers(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        code, tokens = await at.code(app), await at.signed_in(app)
        here = at.url
        at.url, _ = at.door.address("desk", "notes", "/elsewhere", signs_in=True)
        assert at.url != here
        assert (await at.open(app)).status_code == 400  # nobody with this id registered there
        assert (await at.exchange(app, code)).json() == {"error": "invalid_client"}
        mine = await at.register()
        mine.verifier = app.verifier
        assert (await at.exchange(mine, code)).json() == {"error": "invalid_grant"}
        assert (await at.refresh(mine, tokens["refresh_token"])).json() == {"error": "invalid_grant"}
        assert (
            (await at.open(mine, resource=here)).headers["location"].partition("error=")[2].startswith("invalid_target")
        )
        host, _, path = at.issuer.removeprefix("http://").partition("/")
        document = (await at.http.get(f"http://{host}/.well-known/oauth-authorization-server/{path}")).json()
        assert document["issuer"] == at.issuer and document["code_challenge_methods_supported"] == ["S256"]


async def test_a_yes_needs_the_number_of_that_very_page_and_the_third_wrong_one_is_a_no(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        mine, theirs = await at.register(), await at.register(name="a thief")
        where, number, question = await at.waits(mine)
        lurking, other, unseen = await at.waits(theirs)
        assert number != other and question.numbered and "a thief" in unseen.evidence[0]
        for wrong in (number, "", "000"):  # the person means the page that is seen, and answers the wrong question
            with pytest.raises(DeskError, match="not the number"):
                at.answer(unseen, wrong)
        with pytest.raises(DeskError, match="not open"):
            at.answer(unseen, other)
        said = await at.back(lurking)
        assert (said["error"], "code" in said, said["state"], said["iss"]) == (
            "access_denied",
            False,
            "a state",
            at.issuer,
        )
        at.answer(question, number)
        assert "code" in await at.back(where)
        assert (await at.http.get(where)).status_code == 200  # the way back is gone once
        assert at.recorded()[2]["body"]["by"] == "a wrong number, three times"


async def test_a_no_and_a_request_that_is_wrong_come_back_without_a_code(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        where, _, question = await at.waits(app)
        at.answer(question, "", allowed=False)  # a no needs no number
        assert (await at.back(where))["error"] == "access_denied"
        for changed in ({"code_challenge": None}, {"code_challenge_method": "plain"}, {"code_challenge_method": None}):
            gone = (await at.open(app, **changed)).headers["location"]
            assert "error=invalid_request" in gone and "state=a+state" in gone and "iss=" in gone
        for changed in ({"redirect_uri": "https://evil.example/"}, {"client_id": "x.y"}, {"redirect_uri": None}):
            shown = await at.open(app, **changed)
            assert shown.status_code == 400 and "location" not in shown.headers and "evil" not in shown.text
        assert at.rooms.house.consent.open() == ()


MARKS = (
    {"Host": "evil.example"}, {"Host": "localhost:{port}"}, {"Origin": "https://evil.example"}, {"Origin": "null"},
    {"Origin": "http://127.0.0.1:{port}"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
)  # fmt: skip


async def test_no_page_and_no_rebound_name_registers_asks_waits_or_gets_tokens(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        before = len(at.recorded())
        where, _, question = await at.waits(app)
        port = urlsplit(at.url).port
        for marks in MARKS:
            for method, target in (
                ("GET", f"{at.at('authorize')}?{at.query(app)}"), ("GET", where), ("POST", at.at("token")),
                ("POST", at.at("register")), ("POST", at.at("revoke")),
            ):  # fmt: skip
                head = {"Host": f"127.0.0.1:{port}", **{name: value.format(port=port) for name, value in marks.items()}}
                lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                path = target.partition(f":{port}")[2]
                request = f"{method} {path} HTTP/1.1\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n"
                answer = await asyncio.to_thread(raw, at.url, request.encode())
                assert answer.startswith(b"HTTP/1.1 403"), (marks, target, answer)
                assert b"access-control" not in answer.lower()
        assert at.rooms.house.consent.open() == (question,) and len(at.recorded()) == before
        page = await at.http.get(where)
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("no-referrer", "no-store")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):  # nothing that can be reached by HTTP answers a question
            assert (await at.http.request(method, where)).status_code == 403
        for what in ("approve", "wait/approve", "answer"):
            assert (await at.http.post(at.at(what))).status_code in (401, 404)
        assert at.rooms.house.consent.open() == (question,)


async def test_floods_are_bounded_and_bad_bodies_are_codes_and_nothing_else(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        for _ in range(MAX_OF_ONE):
            assert (await at.open(app)).status_code == 303
        assert (await at.open(app)).status_code == 429 and len(at.rooms.house.consent.open()) == MAX_OF_ONE
        for _ in range(REGISTRATIONS - 1):
            assert (await at.http.post(at.at("register"), json={"redirect_uris": []})).status_code == 400
        late = await at.http.post(at.at("register"), json={"redirect_uris": ["http://127.0.0.1/"]})
        assert (late.status_code, late.json()) == (429, {"error": "temporarily_unavailable"})
        for body in (
            b"",
            b"grant_type",
            b"grant_type=password",
            b"grant_type=a&grant_type=b",
            b"\xff",
            b"a=" + b"b" * 8000,
        ):
            said = await at.http.post(
                at.at("token"), content=body, headers={"content-type": "application/x-www-form-urlencoded"}
            )
            assert said.status_code == 400 and said.json()["error"] in ("invalid_request", "unsupported_grant_type")
        long = await at.http.post(at.at("token"), data={"code": "x" * 20_000})
        assert long.status_code == 413
        assert (await at.http.post(at.at("token"), json={})).status_code == 415


async def test_a_pass_ends_with_its_revocation_its_client_and_its_server_and_links_end_with_it(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        tokens = await at.signed_in(app)
        assert await at.lists(tokens["access_token"]) == 200
        (link,) = at.rooms.sessions.links("notes")
        assert (await at.http.post(at.at("revoke"), data={"token": tokens["refresh_token"]})).status_code == 200
        assert await at.lists(tokens["access_token"]) == 401
        await until(lambda: link not in at.rooms.sessions.links("notes"))
        assert (await at.http.post(at.at("revoke"), data={"token": "nobody's"})).status_code == 200
        again = await at.signed_in(app)
        (one,) = at.door.entries.all()
        assert at.door.entries.end(one.id) is not None and await at.lists(again["access_token"]) == 401
        last = await at.signed_in(app)
        at.door.entries.forget(server="notes")
        assert await at.lists(last["access_token"]) == 401
        last = await at.signed_in(app)
        at.door.forget("desk")
        assert await at.lists(last["access_token"]) == 401 and at.door.entries.all() == ()
        assert (await at.http.get(at.at("authorize"))).status_code == 401  # the address itself is nobody's


async def test_with_a_closed_vault_or_a_full_disk_nobody_gets_in(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        app = await at.register()
        code = await at.code(app)
        vault = at.rooms.house.vault
        vault.close()
        refused = await at.exchange(app, code)
        assert (refused.status_code, refused.json()) == (503, {"error": "temporarily_unavailable"})
        opened = await at.open(app)
        where = f"http://{urlsplit(at.url).netloc}{opened.headers['location']}"
        await turns()
        assert (await at.back(where))["error"] == "server_error" and at.rooms.house.consent.open() == ()
        assert at.door.entries.all() == ()
