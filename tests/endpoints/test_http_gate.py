"""Who is sent away from the door by HTTP before anything of the request is looked at."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from broker.api.http_door import HttpDoor
from broker.errors import ConfigError
from broker.guest_book import GuestBook
from tests.endpoints.front import fronted, raw
from tests.house import housed
from tests.protocol.stage import INITIALIZE


def request(target: str, *lines: str, method: str = "POST", body: bytes = b"") -> bytes:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode("latin-1") + body


ATTACKS = {
    "a name that was rebound to this machine": (403, {"Host": "evil.example"}),
    "the right name with another port": (403, {"Host": "127.0.0.1:1"}),
    "another name of this machine": (403, {"Host": "localhost:{port}"}),
    "a page of another site": (403, {"Origin": "https://evil.example"}),
    "a page that hides where it came from": (403, {"Origin": "null"}),
    "a page of the same address": (403, {"Origin": "http://127.0.0.1:{port}"}),
    "a browser that follows a link": (403, {"Sec-Fetch-Site": "cross-site"}),
    "no bearer": (401, {"Authorization": ""}),
    "half a bearer": (401, {"Authorization": "Bearer {half}"}),
    "the bearer in another scheme": (401, {"Authorization": "Basic {bearer}"}),
}


@pytest.mark.claim("C64")
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_stranger_is_sent_away_and_starts_nothing(tmp_path: Path, attack: str) -> None:
    status, changed = ATTACKS[attack]
    async with fronted(tmp_path) as front:
        port = front.url.split(":")[2].partition("/")[0]
        words = {"port": port, "bearer": front.guest.bearer, "half": front.guest.bearer[:32]}
        lines = {
            "Host": f"127.0.0.1:{port}",
            "Authorization": f"Bearer {front.guest.bearer}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        lines |= {name: value.format(**words) for name, value in changed.items()}
        written = [f"{name}: {value}" for name, value in lines.items() if value]
        target = front.url.partition(port)[2]
        heard = await _raw(front.url, request(target, *written, body=json.dumps(INITIALIZE).encode()))
        assert heard.startswith(f"HTTP/1.1 {status} ".encode()), heard
        assert b"access-control" not in heard.lower()
        assert front.rooms.sessions.all() == ()


async def test_a_preflight_of_a_browser_gets_no_leave(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        response = await front.client.request("OPTIONS", front.url, headers=asked)
        assert response.status_code == 403
        assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_bearer_opens_no_address_but_its_own(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        other, guest = front.door.address("desk", "notes", "/elsewhere")
        assert guest.bearer != front.guest.bearer and guest.path != front.guest.path
        crossed = await front.client.post(other, headers=front.bearer, content=b"{}")
        guessed = await front.client.post(front.url.replace(front.guest.path, "0" * 32), headers=front.bearer)
        assert (crossed.status_code, guessed.status_code) == (401, 401)


async def test_a_host_or_bearer_that_stands_twice_is_none(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        port = front.url.split(":")[2].partition("/")[0]
        host, bearer = f"Host: 127.0.0.1:{port}", f"Authorization: Bearer {front.guest.bearer}"
        target = front.url.partition(port)[2]
        twice = await _raw(front.url, request(target, host, host, bearer))
        both = await _raw(front.url, request(target, host, bearer, "Authorization: Bearer x"))
        assert twice.startswith(b"HTTP/1.1 400 ") and both.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"this is no HTTP\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 403),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ],
)
async def test_what_is_no_proper_request_is_answered_with_an_error_and_the_end(
    tmp_path: Path, data: bytes, status: int
) -> None:
    async with fronted(tmp_path) as front:
        assert (await _raw(front.url, data)).startswith(f"HTTP/1.1 {status} ".encode())
        assert (await front.modern("tools/list")).status_code == 200


async def test_a_body_too_large_is_refused_before_it_is_taken(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        response = await front.post(b" " * (4 * 1024 * 1024 + 1))
        assert response.status_code == 413
        assert (await front.modern("tools/list")).status_code == 200


async def test_the_same_client_and_folder_get_the_same_address_again(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        assert front.door.address("desk", "notes", "/work") == (front.url, front.guest)
        book = GuestBook(front.rooms.paths.config)
        assert book.guests == {front.guest.path: front.guest}
        assert book.file(front.guest).stat().st_mode & 0o777 == 0o600


async def test_a_client_that_is_removed_has_no_bearer_any_more(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        front.door.forget("desk")
        assert (await front.modern("tools/list")).status_code == 401
        assert not list((front.rooms.paths.config / "http").glob("*.json"))


async def test_a_port_that_somebody_else_took_voids_every_bearer(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front, housed(tmp_path / "later") as rooms:
        book = GuestBook(rooms.paths.config)
        book.port = int(front.url.split(":")[2].partition("/")[0])  # which the first one still holds
        file = book.file(book.mint("desk", ""))
        door = HttpDoor(book, rooms.house, rooms.sessions)
        door.hold()
        assert not file.exists() and not book.guests
        assert [each for each in rooms.receipts() if each.get("method") == "http"]
        with pytest.raises(ConfigError, match="another program holds the port"):
            door.address("desk", "notes", "")
        await door.close()


def test_nothing_of_http_is_loaded_before_somebody_asks_for_an_address() -> None:
    program = (
        "import sys, broker.housekeeping; print(*(name for name in sys.modules if '.http_' in name or name == 'h11'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert set(done.stdout.split()) == {
        "broker.api.http_door",
        "broker.protocol.http_gate",
        "broker.protocol.http_values",
    }


async def test_no_receipt_holds_a_bearer_or_a_secret_address(tmp_path: Path) -> None:
    async with fronted(tmp_path) as front:
        await front.modern("tools/call", {"name": "read", "arguments": {"a": front.guest.bearer, "b": front.url}})
        text = json.dumps(front.rooms.receipts())
        assert "tools/call" in text
        assert front.guest.bearer not in text and front.guest.path not in text


async def _raw(url: str, data: bytes) -> bytes:

    return await asyncio.to_thread(raw, url, data)
