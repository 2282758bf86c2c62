"""What hostile servers and authorization servers try, one line each; none of it succeeds, and what must work works.

Each line says what differs from an honest world, and what a call then comes to: a status where it must work, else the
beginning of the only sentence that anybody is told.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from broker.auth import wire
from broker.auth.grants import Settings
from broker.auth.problems import PROBLEMS
from broker.endpoints.http_reach import Unreachable
from tests.auth.internet import AS, WHERE, Answer, Asked, Internet, Scene, Stage, staged
from tests.waiting import WITHIN

Check: TypeAlias = Callable[[Stage], bool]


def nothing_else(_stage: Stage) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Attack:
    """`comes_to` is a status or a code of ours; `holds` must be true afterwards in any case."""

    name: str
    scene: Callable[[], Scene]
    comes_to: int | str
    holds: Check = nothing_else
    patience: float = 45.0
    headers: tuple[tuple[str, str], ...] = ()


def scene(**more: Any) -> Callable[[], Scene]:
    return lambda: Scene(**more)


def token(status: int, said: Any, headers: dict[str, str] | None = None) -> Callable[[Internet, Asked], Answer]:
    return lambda _net, _asked: (status, headers or {}, said)


def better(**more: Any) -> Callable[[Internet, Asked], Answer]:
    return lambda net, _asked: net.good_token(**more)


def registered(**more: Any) -> Callable[[Asked], Answer]:
    return lambda asked: (201, {}, {**json.loads(asked.body), "client_id": "cid", **more})


def never_opened(stage: Stage) -> bool:
    return not stage.opened and not stage.wishes


def silent(*hosts: str) -> Check:
    """Nobody was asked at these hosts."""
    return lambda stage: not any(stage.net.hits(host) for host in hosts)


def nothing_internal(stage: Stage) -> bool:
    return all(asked.address.startswith("8.8.4.") for asked in stage.net.asked)


def no_code_sent(stage: Stage) -> bool:
    return not stage.net.hits("as.good.example", "/token")


class Endless(httpx2.AsyncByteStream):
    """A body that never ends."""

    def __init__(self) -> None:
        self.pieces = 0

    async def __aiter__(self) -> Any:
        while True:
            self.pieces += 1
            yield b" " * 65536


class Slow(httpx2.AsyncByteStream):
    """A body that never comes."""

    async def __aiter__(self) -> Any:
        await asyncio.Event().wait()
        yield b""


def elsewhere(url: str) -> dict[str, Any]:
    return {"challenge": f'Bearer resource_metadata="{url}"'}


PRM_PATH = ("mcp.good.example", "/.well-known/oauth-protected-resource/mcp")
MD_PATH = ("as.good.example", "/.well-known/oauth-authorization-server")
PRE = Settings(client_id="pre", secret="PRE-SECRET", issuer=AS)

LIVES: tuple[object, ...] = ("-5x", 1e300, "3600", None, [], True)

ATTACKS = [
    Attack("an honest world", scene(), 200),
    Attack(
        "metadata on another origin",
        scene(**elsewhere("https://evil.example/prm")),
        "elsewhere",
        silent("evil.example"),
    ),
    Attack(
        "metadata at a cloud's own address",
        scene(**elsewhere("https://169.254.169.254/prm")),
        "address",
        nothing_internal,
    ),
    Attack("metadata on this machine", scene(**elsewhere("http://localhost:9/prm")), "elsewhere", nothing_internal),
    Attack("metadata in a file", scene(**elsewhere("file:///etc/passwd")), "address"),
    Attack("metadata at another port", scene(**elsewhere("https://mcp.good.example:8443/prm")), "elsewhere"),
    Attack("metadata at a number for an address", scene(**elsewhere("https://2130706433/prm")), "address"),
    Attack("an issuer in a private network", scene(issuers=("https://10.0.0.1",)), "address", never_opened),
    Attack("an issuer without encryption", scene(issuers=("http://as.good.example",)), "address", never_opened),
    Attack(
        "an issuer whose name leads into a private network",
        scene(issuers=("https://rebind.example",)),
        "address",
        nothing_internal,
    ),
    Attack(
        "an issuer whose name leads to a cloud's own address",
        scene(issuers=("https://cloud.example",)),
        "address",
        nothing_internal,
    ),
    Attack(
        "an issuer whose name flips to this machine",
        scene(issuers=("https://flip.example",)),
        "address",
        nothing_internal,
    ),
    Attack(
        "an issuer as an address of the newer kind", scene(issuers=("https://[::ffff:169.254.169.254]",)), "address"
    ),
    Attack(
        "an issuer with a name in front",
        scene(issuers=("https://as.good.example@evil.example",)),
        "address",
        silent("evil.example"),
    ),
    Attack("an issuer that looks alike", scene(issuers=("https://\u0430s.good.example",)), "address"),
    Attack(
        "a thousand issuers", scene(issuers=tuple(f"https://as{n}.example" for n in range(1000))), "resource_metadata"
    ),
    Attack("metadata of another resource", scene(resource="https://other.example/mcp"), "other_resource", never_opened),
    Attack(
        "metadata of a path that only begins alike", scene(resource="https://mcp.good.example/mc"), "other_resource"
    ),
    Attack("works: metadata of a path above", scene(resource="https://mcp.good.example/"), 200),
    Attack(
        "works: the resource is sent as it is written",
        scene(resource="https://mcp.good.example/mcp/"),
        200,
        lambda stage: stage.net.hits("as.good.example", "/token")[0].form["resource"].endswith("/mcp/"),
    ),
    Attack("metadata of another issuer", scene(metadata={"issuer": "https://evil.example"}), "other_issuer"),
    Attack(
        "codes are sent without encryption",
        scene(metadata={"token_endpoint": "http://as.good.example/token"}),
        "address",
        never_opened,
    ),
    Attack(
        "codes are sent to a cloud's own address",
        scene(metadata={"token_endpoint": "https://169.254.169.254/t"}),
        "address",
        never_opened,
    ),
    Attack("registration on this machine", scene(metadata={"registration_endpoint": "http://localhost/r"}), "address"),
    *[
        Attack(
            f"a browser is sent to {url[:20]!r}",
            scene(metadata={"authorization_endpoint": url}),
            "address",
            never_opened,
        )
        for url in (
            "javascript:alert(1)",
            "file:///etc/passwd",
            "ms-msdt:/id x",
            "http://as.good.example/a",
            "https://as.good.example/a?$(touch${IFS}x)",
            "https://as.good.example/a'\"`;&calc",
            "-x",
        )
    ],
    Attack(
        "works: the authorization endpoint has a query",
        scene(metadata={"authorization_endpoint": f"{AS}/a?t=1"}),
        200,
        lambda stage: stage.opened[0].count("?") == 1,
    ),
    Attack(
        "the endpoint's query brings its own redirect and state",
        scene(metadata={"authorization_endpoint": f"{AS}/a?state=x&redirect_uri=https://evil.example/"}),
        200,
        lambda stage: "evil.example" not in stage.opened[0] and stage.opened[0].count("state=") == 1,
    ),
    Attack("no PKCE", scene(metadata={"code_challenge_methods_supported": None}), "no_pkce", never_opened),
    Attack("PKCE that proves nothing", scene(metadata={"code_challenge_methods_supported": ["plain"]}), "no_pkce"),
    Attack(
        "metadata fails, so that endpoints are guessed",
        scene(answers={MD_PATH: (500, {}, b"")}),
        "unavailable",
        lambda stage: never_opened(stage) and not stage.net.hits("mcp.good.example", "/authorize"),
    ),
    Attack(
        "no metadata at all, so that endpoints are guessed",
        scene(
            challenge="Bearer",
            answers={
                ("mcp.good.example", path): (404, {}, b"")
                for path in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp")
            },
        ),
        "no_resource_metadata",
        never_opened,
    ),
    Attack("endless metadata", scene(answers={PRM_PATH: (200, {}, Endless())}), "too_large"),
    Attack("packed metadata", scene(answers={PRM_PATH: (200, {"content-encoding": "gzip"}, b"\x1f\x8b")}), "too_large"),
    Attack("metadata that never comes", scene(answers={PRM_PATH: (200, {}, Slow())}), "unavailable"),
    Attack(
        "metadata redirects to another origin",
        scene(answers={PRM_PATH: (302, {"location": "https://evil.example/"}, b"")}),
        "no_resource_metadata",
        silent("evil.example"),
    ),
    Attack(
        "metadata of the authorization server redirects inside",
        scene(answers={MD_PATH: (302, {"location": "https://169.254.169.254/"}, b"")}),
        "no_server_metadata",
        nothing_internal,
    ),
    Attack(
        "the token endpoint redirects",
        scene(token=token(307, b"", {"location": "https://evil.example/t"})),
        "unavailable",
        silent("evil.example"),
    ),
    Attack(
        "a client id with control characters",
        scene(registration=registered(client_id="a\x1b[31m")),
        "registration_answer",
    ),
    Attack("a client id of a megabyte", scene(registration=registered(client_id="a" * 100_000)), "registration_answer"),
    Attack(
        "registration changes the redirect",
        scene(registration=registered(redirect_uris=["https://evil.example/"])),
        "registration_answer",
        lambda stage: not stage.opened,
    ),
    Attack(
        "registration names another place to manage it",
        scene(
            registration=registered(
                registration_client_uri="https://evil.example/cid", registration_access_token="RAT-SECRET"
            )
        ),
        200,
        silent("evil.example"),
    ),
    Attack(
        "registration is elsewhere",
        scene(
            metadata={"registration_endpoint": "https://other.example/r", "jwks_uri": "https://evil.example/keys"},
            answers={("other.example", "/r"): registered()},
        ),
        200,
        lambda stage: [asked.path for asked in stage.net.hits("other.example")] == ["/r"],
    ),
    Attack(
        "an issuer that sends the browser to another one's door and the code to its own",
        scene(
            issuers=("https://honest.example",),
            metadata={"authorization_endpoint": f"{AS}/authorize"},
        ),
        "callback_issuer",
        lambda stage: (
            no_code_sent(stage)
            and not stage.net.hits("honest.example", "/token")
            and (stage.wishes[0].issuer, stage.wishes[0].host) == ("https://honest.example", AS)
        ),
    ),
    Attack(
        "registration is refused with words",
        scene(registration=lambda _: (400, {}, {"error_description": "CALL-ME"})),
        "registration",
    ),
    Attack(
        "works: a registration without a scope",
        scene(),
        200,
        lambda stage: b"scope" not in stage.net.hits("as.good.example", "/register")[0].body,
    ),
    Attack("an answer with another state", scene(callback={"state": "nope"}), "sign_in_pending", no_code_sent, 0.3),
    Attack("an answer without a state", scene(callback={"state": None}), "sign_in_pending", no_code_sent, 0.3),
    Attack(
        "an answer of another issuer", scene(callback={"iss": "https://evil.example"}), "callback_issuer", no_code_sent
    ),
    Attack("an answer without its issuer", scene(callback={"iss": None}), "callback_issuer", no_code_sent),
    Attack("an issuer with a slash more", scene(callback={"iss": f"{AS}/"}), "callback_issuer", no_code_sent),
    Attack(
        "words in an error of another issuer",
        scene(callback={"iss": "https://evil.example", "code": None, "error": "x", "error_description": "CALL-ME"}),
        "callback_issuer",
        no_code_sent,
    ),
    Attack(
        "words in an error",
        scene(callback={"code": None, "error": "access_denied", "error_description": "\x1b[31mCALL-ME"}),
        "access_denied",
        no_code_sent,
    ),
    Attack("a token of another type", scene(token=better(token_type="DPoP")), "token_answer"),
    Attack(
        "a refresh token without a token",
        scene(token=token(200, {"refresh_token": "RT-SECRET", "token_type": "Bearer"})),
        "token_answer",
    ),
    Attack(
        "an error that repeats the code",
        scene(
            token=lambda _net, asked: (400, {}, {"error": "invalid_grant", "error_description": asked.body.decode()})
        ),
        "invalid_grant",
    ),
    Attack("a token that is a header", scene(token=better(access_token="x\r\nX-Evil: 1")), "token_answer"),
    *[Attack(f"works: a token that lives {life!r}", scene(token=better(expires_in=life)), 200) for life in LIVES],
    Attack(
        "a token that lives for more than any number",
        scene(token=token(200, b'{"access_token": "AT-SECRET", "token_type": "Bearer", "expires_in": 1e999}')),
        "unavailable",
    ),
    Attack(
        "more rights than anybody wants",
        scene(challenge=f'{WHERE}, scope="admin:* root"'),
        200,
        lambda stage: {"admin:*", "root"} <= set(stage.wishes[0].new_scopes),
    ),
    Attack(
        "a parameter within a sentence",
        scene(challenge=f'Bearer error_description="resource_metadata=https://evil.example/x", {WHERE[7:]}'),
        200,
        silent("evil.example"),
    ),
    Attack(
        "two challenges that differ",
        scene(challenge=f'{WHERE}, scope="read", Bearer scope="root"'),
        "challenge",
        never_opened,
    ),
    Attack(
        "the server redirects the token elsewhere",
        scene(served=lambda _net, asked: (307, {"location": "https://evil.example/x"}, b"") if asked.bearer else None),
        "sends its callers elsewhere",
        silent("evil.example"),
    ),
    Attack(
        "a client id given to another issuer",
        scene(issuers=("https://honest.example",), settings=PRE),
        "foreign_client_id",
        lambda stage: not any(b"PRE-SECRET" in asked.body for asked in stage.net.asked),
    ),
    Attack(
        "a registration by hand where none is made",
        scene(settings=PRE),
        200,
        lambda stage: not stage.net.hits("as.good.example", "/register"),
    ),
    Attack("nested metadata", scene(answers={PRM_PATH: (200, {}, b"[" * 100_000)}), "no_resource_metadata"),
    Attack("metadata that is a list", scene(answers={PRM_PATH: (200, {}, [1, 2])}), "no_resource_metadata"),
    Attack("metadata of wrong types", scene(metadata={"authorization_endpoint": {"a": 1}}), "address"),
    Attack(
        "an error in an answer that says yes",
        scene(token=token(200, {"error": "bad_verification_code", "error_description": "CALL-ME"})),
        "invalid_grant",
    ),
    Attack("a token endpoint that never answers", scene(token=token(200, Slow())), "unavailable"),
    Attack("rights with quotes, escapes and spaces", scene(challenge=f'{WHERE}, scope="a\\"b"'), "scope", never_opened),
    Attack("sixty-five rights", scene(challenge=f'{WHERE}, scope="{" ".join(f"s{n}" for n in range(66))}"'), "scope"),
    Attack(
        "more rights are granted than were asked for",
        scene(token=better(scope="read root admin")),
        200,
        lambda stage: stage.grants.all()[0][2].scopes == ("read", "root", "admin"),
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.claim("C93")
@pytest.mark.claim("C94")
async def test_of_all_that_servers_try_nothing_succeeds(
    attack: Attack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if attack.comes_to == "unavailable":  # what never answers is given up soon
        monkeypatch.setattr(wire, "WHOLE_SECONDS", 0.5)
    async with asyncio.timeout(WITHIN), staged(attack.scene(), patience=attack.patience) as stage:
        told = ""
        try:
            found: int | str = await stage.call(headers=dict(attack.headers))
        except Unreachable as problem:
            told = f"{problem} {problem.hint}"
            known = [code for code, one in PROBLEMS.items() if one.sentence in told]
            found = known[0] if known else str(attack.comes_to) if str(attack.comes_to) in told else told
        assert found == attack.comes_to
        assert attack.holds(stage)
        assert nothing_internal(stage)
        said = told + caplog.text + repr(stage.wishes)
        states = [dict(parse_qsl(urlsplit(url).query))["state"] for url in stage.opened]
        assert not any(word in said for word in ("SECRET", "CALL-ME", "code_verifier", "\x1b", *states))
        assert not any(asked.host == "evil.example" for asked in stage.net.asked)
        assert (stage.grants.all() != []) == (found == 200 or "sends its callers" in str(attack.comes_to))
