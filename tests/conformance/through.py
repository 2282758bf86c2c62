"""The SDK's client for the suite, through Bulkhead: `python -m tests.conformance.through CLIENT URL`.

The suite starts this with the address of its own server appended.  It is added as a remote server to the home that the
environment names, and the client is given Bulkhead's address for it.  Where that server wants a sign-in, Bulkhead makes
it, and the person with a browser is played here: they say yes, and go where they are sent.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx2

from broker.api import schema
from broker.api.client import DeskClient
from broker.config import HOME_VARIABLE, paths_under
from broker.errors import BulkheadError
from tests.conformance.bearer import with_bearer
from tests.fakes.home import Home

WITHIN: Final = 60.0
LOOK_SECONDS: Final = 0.05
CLIENT: Final = "suite"
CONTEXT: Final = "MCP_CONFORMANCE_CONTEXT"
DOCUMENT: Final = "https://conformance-test.local/client-metadata.json"


def main() -> int:
    program, url = sys.argv[1:]
    home = Home(paths_under(Path(os.environ[HOME_VARIABLE])), os.environ)
    name = f"suite-{secrets.token_hex(4)}"
    given = json.loads(os.environ.get(CONTEXT) or "{}")
    add = ["add", name, "--yes", "--client", CLIENT, "--client-document", DOCUMENT, "--url", url]
    if "client_secret" in given:
        add += ["--client-id", given["client_id"], "--client-secret"]
    with _person(home) as yes:
        for words in (add, ["endpoint", name, "--client", CLIENT, "--json"]):
            done = home.bulkhead(*words, within=WITHIN, stdin=given.get("client_secret", ""))
            if done.returncode:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
        yes.set()  # what `add` asks about, `--yes` has answered
        found = json.loads(done.stdout)
        with with_bearer(found["url"], found["headers"]) as near:
            return subprocess.run([sys.executable, program, near], timeout=WITHIN, check=False).returncode


@contextmanager
def _person(home: Home) -> Iterator[threading.Event]:
    """Somebody who goes wherever a sign-in leads, and answers its questions once the event is set."""
    yes, gone = threading.Event(), threading.Event()
    person = threading.Thread(target=lambda: asyncio.run(_attend(home, yes, gone)))
    person.start()
    try:
        yield yes
    finally:
        gone.set()
        person.join(WITHIN)


async def _attend(home: Home, yes: threading.Event, gone: threading.Event) -> None:
    seen: set[str] = set()
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False) as browser:
        while not gone.is_set():
            with suppress(BulkheadError):
                async with DeskClient(home.paths.control_socket) as desk:
                    while not gone.is_set():
                        if yes.is_set():
                            await _say_yes(desk)
                        found = await desk.ask(schema.WAITING, schema.Nothing(), schema.TokenList)
                        for link in {token.link for token in found.tokens} - seen - {""}:
                            seen.add(link)
                            with suppress(httpx2.HTTPError):
                                await browser.get(link)
                        await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)


async def _say_yes(desk: DeskClient) -> None:
    for question in (await desk.ask(schema.PENDING, schema.Nothing(), schema.Questions)).questions:
        if question.kind == "sign-in":
            with suppress(BulkheadError):
                answer = schema.Answered(id=question.id, digest=question.digest, allow=True)
                await desk.ask(schema.APPROVE, answer, schema.Nothing)


if __name__ == "__main__":
    sys.exit(main())
