"""An open door whose guest signs in, an application that does, and the person who is asked."""

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from broker.api.http_door import HttpDoor
from broker.guest_book import GuestBook
from broker.model import Question
from broker.protocol.http_gate import Guest
from tests.house import Rooms, housed, pin_server
from tests.waiting import WITHIN, until

REDIRECT: Final = "http://127.0.0.1:5123/callback"
Json = dict[str, Any]


@dataclass
class Application:
    """One that registered; `verifier` is what its next code is proved with."""

    id: str
    redirect: str = REDIRECT
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")


@dataclass
class Site:
    """The door, and the address of one server for the client `desk`."""

    rooms: Rooms
    door: HttpDoor
    url: str
    guest: Guest
    http: httpx2.AsyncClient

    @property
    def issuer(self) -> str:
        return self.url.rpartition("/")[0]

    def at(self, what: str) -> str:
        return f"{self.issuer}/@sign-in/{what}"

    async def register(self, redirect: str = REDIRECT, name: str = "an editor") -> Application:
        answer = await self.http.post(self.at("register"), json={"redirect_uris": [redirect], "client_name": name})
        assert answer.status_code == 201, answer.text
        return Application(answer.json()["client_id"], redirect)

    def query(self, app: Application, **changed: str | None) -> str:
        said: dict[str, str | None] = {
            "response_type": "code", "client_id": app.id, "redirect_uri": app.redirect, "state": "a state",
            "code_challenge": app.challenge, "code_challenge_method": "S256", "resource": self.url, **changed,
        }  # fmt: skip
        return urlencode({name: value for name, value in said.items() if value is not None})

    async def open(self, app: Application, **changed: str | None) -> httpx2.Response:
        """A browser goes where the application sends it; redirects are not followed."""
        return await self.http.get(f"{self.at('authorize')}?{self.query(app, **changed)}")

    async def waits(self, app: Application) -> tuple[str, str, Question]:
        """A browser that waits: its address, the number it shows, and the question that stands."""
        opened = await self.open(app)
        assert opened.status_code == 303, opened.text
        where = f"http://{urlsplit(self.url).netloc}{opened.headers['location']}"
        before = {question.id for question in self.rooms.house.consent.open()}
        await until(lambda: len(self.rooms.house.consent.open()) >= len(before))
        shown = await self.http.get(where)
        found = re.search(r"approve (\w+) --number (\d\d)", shown.text)
        assert found is not None, shown.text
        question = self.rooms.house.consent.find(found[1])  # type: ignore[arg-type]
        assert question is not None
        return where, found[2], question

    def answer(self, question: Question, number: str, *, allowed: bool = True) -> None:
        consent = self.rooms.house.consent
        consent.answer(question.id, question.digest, allowed=allowed, by="a test", number=number)

    async def back(self, where: str) -> dict[str, str]:
        return await brought(self.http, where)

    async def code(self, app: Application) -> str:
        """A code that a person agreed to."""
        where, number, question = await self.waits(app)
        self.answer(question, number)
        return (await self.back(where))["code"]

    async def exchange(self, app: Application, code: str | None, **changed: str | None) -> httpx2.Response:
        return await self._token(
            {"grant_type": "authorization_code", "code": code, "client_id": app.id, "redirect_uri": app.redirect,
             "code_verifier": app.verifier, "resource": self.url, **changed}
        )  # fmt: skip

    async def refresh(self, app: Application, token: str, **changed: str | None) -> httpx2.Response:
        return await self._token(
            {
                "grant_type": "refresh_token",
                "refresh_token": token,
                "client_id": app.id,
                "resource": self.url,
                **changed,
            }
        )

    async def signed_in(self, app: Application) -> Json:
        done = await self.exchange(app, await self.code(app))
        assert done.status_code == 200, done.text
        tokens: Json = done.json()
        return tokens

    async def _token(self, said: dict[str, str | None]) -> httpx2.Response:
        return await self.http.post(self.at("token"), data={name: one for name, one in said.items() if one is not None})

    async def lists(self, token: str, url: str = "") -> int:
        """The status of a request with a token."""
        from tests.endpoints.front import BOTH, MODERN, modern

        headers = {"authorization": f"Bearer {token}", "accept": BOTH, "mcp-protocol-version": MODERN,
                   "mcp-method": "tools/list"}  # fmt: skip
        return (await self.http.post(url or self.url, json=modern("tools/list"), headers=headers)).status_code

    def recorded(self) -> list[Json]:
        """What the receipts say of sign-ins here."""
        return [entry for entry in self.rooms.receipts() if entry["method"] == "entry"]


async def brought(browser: httpx2.AsyncClient, where: str) -> dict[str, str]:
    """What a browser that waits there brings to its application, once there is an answer."""
    async with asyncio.timeout(6 * WITHIN):
        while (gone := await browser.get(where)).status_code == 200:  # noqa: ASYNC110 - as a browser does
            await asyncio.sleep(0.01)
    assert gone.status_code == 303, gone.text
    place, _, query = gone.headers["location"].partition("?")
    return {"to": place, **{name: values[0] for name, values in parse_qs(query).items()}}


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    """A house with the servers `notes` and `time`, which the client `desk` may use, and an address to sign in at."""
    async with housed(folder) as rooms:
        pin_server(rooms, "time")
        desk = rooms.registry.clients.find("desk")
        for name in ("notes", "time"):
            rooms.house.grants.connect(desk.name, rooms.registry.server(name).name, rooms.house.policy.current)
        door = HttpDoor(GuestBook(rooms.paths.config), rooms.house, rooms.sessions)
        url, guest = door.address("desk", "notes", "/work", signs_in=True)
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=6 * WITHIN) as http:
                yield Site(rooms, door, url, guest, http)
        finally:
            await rooms.sessions.close()
            await door.close()
