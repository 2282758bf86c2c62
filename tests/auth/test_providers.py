"""Providers that register nobody, and what each does in its own way; none of it is a reason to sign in twice."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from broker.auth.grants import Settings
from broker.auth.problems import PROBLEMS
from broker.endpoints.http_reach import Unreachable
from broker.model import JsonObject
from tests.auth.internet import AS, MCP, WHERE, Answer, Asked, Internet, Scene, staged
from tests.auth.test_front import old
from tests.waiting import WITHIN

SECRET: Final = "HAND-SECRET"
ELSEWHERE: Final = "https://other.example"  # where one keeps its tokens
CLOSED: Final[JsonObject] = {"registration_endpoint": None, "authorization_response_iss_parameter_supported": None}


def by_hand(**more: Any) -> Settings:
    return Settings(client_id="hand", secret=SECRET, issuer=AS, **more)


def in_the_form(asked: Asked) -> bool:
    return asked.form.get("client_secret") == SECRET and "authorization" not in asked.headers


def in_the_header(asked: Asked) -> bool:
    return asked.headers.get("authorization", "").startswith("Basic ") and "client_secret" not in asked.form


def code_host(net: Internet, asked: Asked) -> Answer:
    """Says yes to every error, wants the secret in the form, and gives tokens without an end, scopes with commas."""
    if not in_the_form(asked):
        return 200, {}, {"error": "incorrect_client_credentials", "error_description": "CALL-ME"}
    return 200, {}, {"access_token": net.good_token()[2]["access_token"], "token_type": "bearer", "scope": "read,user"}


def search(net: Internet, asked: Asked) -> Answer:
    """Wants a secret beside the proof, and gives the refresh token once and for all."""
    again = asked.form["grant_type"] == "refresh_token"
    if not in_the_header(asked) or not (again or asked.form["code_verifier"]):
        return 401, {}, {"error": "invalid_client"}
    return net.good_token(refresh_token=None) if again else net.good_token()


def directory(net: Internet, asked: Asked) -> Answer:
    """Knows no `resource` and takes offence at it."""
    if "resource" in asked.form:
        return 400, {}, {"error": "invalid_target", "error_description": "CALL-ME 9010010"}
    return net.good_token()


def chat(net: Internet, asked: Asked) -> Answer:
    """Wraps everything, errors too, in an answer that says yes."""
    if asked.form.get("client_secret") != SECRET:
        return 200, {}, {"ok": False, "error": "bad_client_secret"}
    status, headers, said = net.good_token(token_type="Bearer")
    return status, headers, {"ok": True, "team": {"id": "T1"}, **said}


@dataclass(frozen=True, slots=True)
class Provider:
    """`wrong` is what is tried first, and the code it ends with; `right` is what then works."""

    name: str
    token: Callable[[Internet, Asked], Answer]
    wrong: Settings
    code: str
    right: Settings
    metadata: JsonObject
    renews: bool = True


PROVIDERS: Final = [
    Provider("a host of code", code_host, by_hand(), "token_refused", by_hand(method="client_secret_post"), CLOSED,
             renews=False),
    Provider("a search engine", search, Settings(), "needs_client_id", by_hand(),
             {**CLOSED, "token_endpoint": f"{ELSEWHERE}/token",
              "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"]}),
    Provider("a directory of people", directory, by_hand(), "invalid_target", by_hand(resource="omit"), CLOSED),
    Provider("a chat", chat, by_hand(method="client_secret_basic"), "token_refused", by_hand(),
             {**CLOSED, "token_endpoint_auth_methods_supported": ["client_secret_post"]}),
]  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
async def test_a_provider_that_registers_nobody_is_used_as_a_person_set_it_up(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(token=provider.token, metadata=provider.metadata, settings=provider.wrong)
    scene.answers[("other.example", "/token")] = lambda asked: provider.token(stage.net, asked)
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        with pytest.raises(Unreachable) as refused:
            await stage.call()
        assert PROBLEMS[provider.code].sentence in str(refused.value)
        if provider.code == "needs_client_id":  # what a person has to register there
            assert f"the redirect {stage.front._loopback.redirect(AS)}" in str(refused.value)
        stage.grants.choose("notes", provider.right)
        before = len(stage.opened)
        assert await stage.call() == 200 and len(stage.opened) == before + 1
        if provider.renews:
            for _ in range(2):  # a refresh token that does not come again is kept
                old(stage)
                assert await stage.call() == 200
        assert len(stage.opened) == before + 1
        said = f"{refused.value} {refused.value.hint} {caplog.text}"
        assert SECRET not in said and "CALL-ME" not in said


async def test_a_token_without_an_end_and_without_a_successor_is_used_until_it_is_refused() -> None:
    scene = Scene(token=code_host, metadata=CLOSED, settings=by_hand(method="client_secret_post"))
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        assert [await stage.call() for _ in range(3)] == [200] * 3
        assert stage.grants.all()[0][2].scopes == ("read", "user")
        stage.net.valid.clear()
        assert await stage.call() == 200 and len(stage.opened) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [("invalid_target", "invalid_target"), ("invalid_scope", "invalid_scope"), ("no_such_code", "access_denied")],
)
async def test_an_error_in_the_browser_says_what_to_do_where_it_is_known(error: str, code: str) -> None:
    said = {"code": None, "error": error, "error_description": "CALL-ME"}
    async with asyncio.timeout(WITHIN), staged(Scene(callback=said)) as stage:
        with pytest.raises(Unreachable) as refused:
            await stage.call()
        problem = PROBLEMS[code]
        assert problem.sentence in str(refused.value) and "CALL-ME" not in str(refused.value)
        assert not stage.net.hits("as.good.example", "/token")


@pytest.mark.parametrize(
    ("resource", "mode", "is_sent"),
    [
        (MCP, "prm", MCP),
        ("https://mcp.good.example/other", "fixed:https://mcp.good.example/other", "https://mcp.good.example/other"),
        (MCP, "omit", None),
    ],
)
async def test_the_resource_is_named_as_a_person_chose_in_the_browser_and_at_the_token_endpoint(
    resource: str, mode: str, is_sent: str | None
) -> None:
    scene = Scene(resource=resource, challenge=WHERE, settings=Settings(resource=mode))
    async with asyncio.timeout(WITHIN), staged(scene) as stage:
        assert await stage.call() == 200
        assert stage.net.hits("as.good.example", "/token")[0].form.get("resource") == is_sent
        assert ("resource=" in stage.opened[0]) is (is_sent is not None)
