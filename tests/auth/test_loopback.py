"""Where browsers bring answers: what is taken, what changes nothing, and what a browser is opened with."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.auth import browser
from broker.auth.callback import Brought, Expected
from broker.auth.loopback import Loopback, path_of
from broker.auth.problems import AuthError
from broker.endpoints import http_server
from tests.waiting import WITHIN, until

ISSUER = "https://as.example"
STATE = "s" * 43
GOOD = f"?code=CODE-SECRET&state={STATE}&iss=https://as.example"


@asynccontextmanager
async def waiting(state: str = STATE) -> AsyncIterator[tuple[Loopback, str, "asyncio.Future[Brought]"]]:
    """A listener with one sign-in, and the address of its answers."""
    loopback = Loopback()
    redirect = loopback.redirect(ISSUER)
    future = loopback.expect(Expected(state, path_of(ISSUER), ISSUER, True, time.monotonic() + 300))
    try:
        yield loopback, redirect, future
    finally:
        await loopback.close()


async def raw(redirect: str, request: str) -> str:
    """What the listener answers to these very bytes."""
    port = int(redirect.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode("latin-1"))
    await writer.drain()
    try:
        async with asyncio.timeout(WITHIN):
            return (await reader.read(65536)).decode("latin-1")
    finally:
        writer.close()


def get(redirect: str, query: str, method: str = "GET", host: str = "", path: str = "", **headers: str) -> str:
    place = redirect.removeprefix("http://").partition("/")
    lines = {"Host": host or place[0], **{name.replace("_", "-"): value for name, value in headers.items()}}
    said = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path or '/' + place[2]}{query} HTTP/1.1\r\n{said}Connection: close\r\n\r\n"


async def test_a_navigation_with_the_answer_ends_the_sign_in_and_the_code_leaves_the_address() -> None:
    async with waiting() as (_, redirect, future):
        said = await raw(redirect, get(redirect, GOOD, sec_fetch_mode="navigate", sec_fetch_dest="document"))
        assert said.startswith("HTTP/1.1 303") and "location: /done" in said.lower() and "CODE" not in said
        assert "default-src 'none'" in said and "no-referrer" in said
        assert (await future).code == "CODE-SECRET"
        again = await raw(redirect, get(redirect, GOOD))
        assert again.startswith("HTTP/1.1 400")
        done = await raw(redirect, get(redirect, "", path="/done"))
        assert done.startswith("HTTP/1.1 200") and "close this tab" in done


@pytest.mark.parametrize(
    ("query", "more"),
    [
        (GOOD, {"method": "POST"}),
        (GOOD, {"method": "HEAD"}),
        (GOOD, {"method": "OPTIONS"}),
        (GOOD, {"host": "evil.example"}),
        (GOOD, {"host": "localhost:1"}),
        (GOOD, {"origin": "https://evil.example"}),
        (GOOD, {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}),
        (GOOD, {"sec_fetch_mode": "cors", "sec_fetch_dest": "empty"}),
        (GOOD, {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}),
        (GOOD, {"sec_purpose": "prefetch"}),
        (GOOD, {"path": "/cb/000000000000"}),
        (GOOD, {"path": "/"}),
        (GOOD.replace("s" * 43, "t" * 43), {}),
        (GOOD + f"&state={STATE}", {}),
        (GOOD + "&code=other", {}),
        (f"?code=x&state={STATE[:-1]}%ff", {}),
        ("?error=access_denied&state=other", {}),
        ("", {}),
    ],
)
async def test_what_is_no_answer_changes_nothing(query: str, more: Mapping[str, str]) -> None:
    async with waiting() as (_, redirect, future):
        said = await raw(redirect, get(redirect, query, **more))
        assert said.startswith(("HTTP/1.1 403", "HTTP/1.1 400")) and "CODE" not in said and not future.done()
        assert (await raw(redirect, get(redirect, GOOD))).startswith("HTTP/1.1 303")


async def test_two_hosts_in_one_request_are_none() -> None:
    async with waiting() as (_, redirect, future):
        text = get(redirect, GOOD).replace("\r\nConnection", "\r\nHost: evil.example\r\nConnection")
        assert (await raw(redirect, text)).startswith("HTTP/1.1 40") and not future.done()


async def test_an_error_is_taken_and_its_words_are_not() -> None:
    async with waiting() as (_, redirect, future):
        query = f"?error=x&error_description=<script>CALL-ME&state={STATE}&iss={ISSUER}"
        said = await raw(redirect, get(redirect, query))
        brought = await future
        assert "CALL-ME" not in said and brought.problem is not None and brought.problem.code == "access_denied"


async def test_an_address_that_was_pasted_is_judged_as_if_a_browser_had_brought_it() -> None:
    async with waiting() as (loopback, redirect, future):
        for wrong in ("", "nonsense", f"https://evil.example/{GOOD}", f"{redirect}x{GOOD}", f"{redirect}{GOOD}#x",
                      f"{redirect}?code=x&state=other"):  # fmt: skip
            assert not loopback.paste(wrong) and not future.done()
        assert loopback.paste(f"  {redirect}{GOOD}\n") and (await future).code == "CODE-SECRET"


async def test_a_port_that_another_program_holds_is_left_to_it() -> None:
    async with waiting() as (_, redirect, _future):
        port = int(redirect.split(":")[2].split("/")[0])
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        second = Loopback()
        assert second.redirect(ISSUER) != redirect
        await second.close()


async def test_a_flood_of_connections_is_bounded_and_the_answer_gets_through_once_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 16)
    async with waiting() as (loopback, redirect, future):
        port = int(redirect.split(":")[2].split("/")[0])
        flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        open_ones = loopback._server._connections
        await until(lambda: len(open_ones) == 16)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""  # closed at once
        writer.close()
        for _, writer in flood:
            writer.close()
        await until(lambda: not open_ones)
        assert (await raw(redirect, get(redirect, GOOD))).startswith("HTTP/1.1 303") and future.done()


async def test_each_issuer_has_a_path_of_its_own() -> None:
    assert path_of(ISSUER) != path_of(f"{ISSUER}/") and path_of(ISSUER) == path_of(ISSUER)


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "file:///etc/passwd", "-x", "--help", "http://as.example/a?b", "https://as.example/a?b c",
     "https://as.example/a?$(id)`x`", 'https://as.example/a?"', "https://as.example/a?b#c", "ms-msdt:/id",
     "https://u:p@as.example/a", "https://as.example/a?" + "b" * 9000],
)  # fmt: skip
def test_what_is_no_plain_address_opens_no_browser(url: str) -> None:
    with pytest.raises(AuthError):
        browser.open_url(url, {"DISPLAY": ":0"})


def test_a_browser_is_opened_with_an_argument_and_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener, said = tmp_path / "opener", tmp_path / "said"
    opener.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$1" "${{BROWSER-none}}" "${{LD_PRELOAD-none}}" > {said}\n')
    opener.chmod(0o755)
    monkeypatch.setattr(browser, "OPENERS", {"linux": str(opener), "darwin": str(opener)})
    environment = {**os.environ, "DISPLAY": ":0", "BROWSER": "touch /tmp/x", "LD_PRELOAD": "/nowhere.so"}
    monkeypatch.setattr(browser, "OPEN_SECONDS", WITHIN)
    assert browser.open_url("https://as.example/a?state=x&scope=a%20b", environment)
    assert said.read_text().splitlines() == ["1", "https://as.example/a?state=x&scope=a%20b", "none", "none"]
    assert not browser.open_url("https://as.example/a?b", {})  # no screen
