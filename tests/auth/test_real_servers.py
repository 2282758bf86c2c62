"""Signing in at authorization servers nobody here wrote: oidc-provider, Authlib's, and oauth2-mock-server."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.auth import answers
from broker.auth.grants import Settings
from broker.endpoints.http_reach import Unreachable
from tests.auth.servers.brought import KEY, running
from tests.auth.servers.stand import Stand, Verify, asked, signed, signed_for_any, standing
from tests.chromium import CHROMIUM, OPTIONS, tools

pytestmark = [pytest.mark.registry, pytest.mark.claim("C95")]

BY_HAND: Final = Settings(client_id="by-hand", secret="a secret of thirty-two characters")


@pytest.fixture(scope="module")
def issuers() -> Iterator[dict[str, str]]:
    with running() as found:
        yield found


async def taken_back(stand: Stand, refresh: str) -> bool:
    """Whether the issuer does not take a refresh token any more."""
    grant = stand.grant("second")
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": grant.registration.client_id}
    return (await stand.http.post(grant.token_endpoint, data=form)).status_code in (400, 401)


@pytest.mark.claim("C90")
@pytest.mark.claim("C92")
@pytest.mark.parametrize(("issuer", "verify"), [("strict", signed), ("exact", asked)])
async def test_a_whole_life_from_the_first_sign_in_to_being_forgotten(
    issuers: dict[str, str], issuer: str, verify: Verify
) -> None:
    async with standing(issuers[issuer], verify) as stand:
        assert await stand.call() == 200 and [wish.reason for wish in stand.wishes] == ["sign in"]
        stand.age()
        assert set(await asyncio.gather(*(stand.call() for _ in range(20)))) == {200}
        assert len(stand.wishes) == 1  # a second refresh with the same token would have ended the grant
        stand.needs = "mcp:read mcp:write"
        assert await stand.call() == 200 and stand.wishes[-1].new_scopes == ("mcp:write",)
        stand.needs = "mcp:read"
        assert await stand.call("second") == 200 and len(set(stand.clients)) == 2
        tokens = stand.grant().tokens
        assert tokens is not None
        assert await stand.front.logout("first", "server")
        assert await taken_back(stand, tokens.refresh) and await stand.call("second") == 200
        assert await stand.call() == 200 and len(stand.wishes) == 4
        before = stand.grant().registration.client_id
        assert (await stand.http.delete(f"{stand.issuer}/{before}")).status_code == 200
        stand.age()
        assert await stand.call() == 200 and len(stand.wishes) == 5
        assert stand.grant().registration.client_id != before


@pytest.mark.parametrize(
    ("issuer", "settings", "verify", "needs", "how"),
    [
        ("inserted", Settings(document="https://bulkhead.example/client.json"), signed, "mcp:read", "document"),
        ("appended", Settings(), signed, "mcp:read", "dynamic"),
        ("closed", BY_HAND, signed, "mcp:read", "by hand"),
        ("lax", BY_HAND, signed_for_any, "", "by hand"),
    ],
)
async def test_every_way_to_be_found_and_to_be_known(
    issuers: dict[str, str], issuer: str, settings: Settings, verify: Verify, needs: str, how: str
) -> None:
    async with standing(issuers[issuer], verify, needs, settings) as stand:
        assert await stand.call() == 200
        stand.age()
        assert await stand.call() == 200 and len(stand.wishes) == 1
        assert stand.grant().registration.how == how
        assert await stand.front.logout("first", "server")


async def test_a_device_signs_in_with_a_code(issuers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "DEVICE_SECONDS", 1.0)  # where nothing else is said, as here
    async with standing(issuers["strict"]) as stand:
        await stand.login("first", "device")
        assert await stand.call() == 200 and len(stand.wishes) == 1


async def test_a_key_signs_in_and_renews_where_there_is_no_person(issuers: dict[str, str]) -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with standing(issuers["closed"], settings=Settings(client_id="robot", secret=pem, key=True)) as stand:
        assert await stand.call() == 200 and not stand._browsers
        stand.age()
        assert set(await asyncio.gather(*(stand.call() for _ in range(5)))) == {200}
        assert [wish.reason for wish in stand.wishes] == ["without a person"] and set(stand.clients) == {"robot"}


async def test_who_registers_nobody_needs_a_client_id(issuers: dict[str, str]) -> None:
    async with standing(issuers["closed"]) as stand:
        with pytest.raises(Unreachable, match="registers nobody by itself"):
            await stand.call()


FILL_IN: Final = """(() => {
  const login = document.querySelector('input[name=login]'), button = document.querySelector('button[type=submit]');
  if (login) { login.value = 'person'; document.querySelector('input[name=password]').value = 'any'; }
  if (button && !window.pressed) { window.pressed = true; button.click(); }
  return location.pathname + location.search + ' ' + document.body.innerText;
})()"""


@pytest.mark.claim("C91")
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
async def test_a_real_browser_comes_back_from_the_sign_in_with_nothing_in_its_address(
    issuers: dict[str, str],
) -> None:
    seen: list[str] = []

    async def browse(url: str) -> None:
        assert CHROMIUM is not None
        with tempfile.TemporaryDirectory(prefix="bh-browser-", ignore_cleanup_errors=True) as folder:
            browser = await asyncio.create_subprocess_exec(
                CHROMIUM, *OPTIONS, f"--user-data-dir={folder}", url, env={**os.environ, "HOME": folder},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                async with tools(Path(folder)) as page:
                    while not seen or not seen[-1].startswith("/done"):
                        await page.send_json({"id": 1, "method": "Runtime.evaluate", "params": {"expression": FILL_IN}})
                        said = (await page.receive_json()).get("result", {}).get("result", {}).get("value", "")
                        seen.append(said)
                        await asyncio.sleep(0.05)
            finally:
                os.killpg(browser.pid, 9)
                await browser.wait()

    async with standing(issuers["strict"], browse=browse) as stand:
        assert await stand.call() == 200
        await asyncio.gather(*stand._browsers)
        assert "close this tab" in seen[-1] and "code=" not in seen[-1]
