"""One refresh for each generation of a grant, however many tasks and processes want it.

Within a process all wait for one task, which nobody's cancelling ends; between processes a lease says whose turn it is,
and what was read is replaced only if it is still what is there.  A failure that may pass leaves everything as it was.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from broker.auth import answers, requests
from broker.auth.grants import Grant, Grants, Held, endpoint, where
from broker.auth.problems import AuthError, Kind
from broker.auth.wire import Wire

LEEWAY_SECONDS: Final = 30.0
LEEWAY_PART: Final = 0.1  # of a token's life: short ones would be renewed with every call
LEASE_SECONDS: Final = 30.0  # longer than a request about signing in may take
TURN_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.02
STOP_SECONDS: Final = 10.0


class Renewal:
    """Renews grants.  `secret` is told each token, so that it never reaches a receipt."""

    def __init__(
        self,
        grants: Grants,
        wire: Wire,
        clock: Callable[[], float] = time.time,
        secret: Callable[[str, str], None] = lambda _name, _value: None,
    ) -> None:
        self._grants = grants
        self._wire = wire
        self._clock = clock
        self._secret = secret
        self._owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._running: dict[tuple[str, str], asyncio.Task[Grant]] = {}

    def is_fresh(self, grant: Grant) -> bool:
        """Whether its token will be taken for a while."""
        tokens = grant.tokens
        if tokens is None or grant.ended:
            return False
        leeway = min(LEEWAY_SECONDS, LEEWAY_PART * tokens.lifetime)
        return not tokens.expires or self._clock() < tokens.expires - leeway

    async def renewed(self, client: str, server: str, url: str, refused: str = "") -> Grant:
        """The grant with a token that can be used: not `refused`, and not about to end.

        Raises:
            AuthError: a person has to sign in, or the authorization server cannot be asked.
        """
        key = (client, server)
        task = self._running.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._renew(client, server, url, refused))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def settled(self, client: str, server: str) -> None:
        """Let what was begun for one client at one server end, whatever comes of it."""
        if (task := self._running.get((client, server))) is not None:
            await asyncio.wait([task], timeout=STOP_SECONDS)

    async def close(self) -> None:
        """Let what was begun end: an answer that came and was not kept is a grant that is lost."""
        tasks = tuple(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self, client: str, server: str, url: str, refused: str) -> Grant:
        place, rows = where(client, server), self._grants.rows
        async with asyncio.timeout(TURN_SECONDS):
            while True:
                held = self._grants.of(client, server, url)
                if held is None:
                    raise AuthError("sign_in_needed")
                grant = held.grant
                if grant.ended or grant.tokens is None:
                    raise AuthError(grant.ended or "sign_in_needed")
                if grant.tokens.access != refused and self.is_fresh(grant):
                    return grant
                if not grant.tokens.refresh and not grant.unattended:
                    if grant.tokens.access != refused and self._clock() < grant.tokens.expires:
                        return grant
                    raise AuthError("rejected")
                turn = await asyncio.to_thread(rows.lease, place, held.generation, self._owner, LEASE_SECONDS)
                if turn == "mine":
                    break
                if turn == "busy":
                    await asyncio.sleep(LOOK_SECONDS)
        return await self._asked(client, server, held, refused)

    async def _asked(self, client: str, server: str, held: Held, refused: str) -> Grant:
        grant, tokens = held.grant, held.grant.tokens
        assert tokens is not None
        try:
            renewed = grant.renewed(await self._token(grant, tokens.refresh))
        except AuthError as problem:
            if problem.kind is Kind.SIGN_IN:
                ended = replace(grant, tokens=None, ended=problem.code)
                if await asyncio.to_thread(self._grants.swap, client, server, held.generation, ended):
                    raise
                newer = self._grants.of(client, server, grant.url)  # somebody signed in meanwhile
                if newer is not None and self.is_fresh(newer.grant):
                    return newer.grant
                raise
            await asyncio.to_thread(self._grants.rows.release, where(client, server), self._owner)
            if tokens.access != refused and self._clock() < tokens.expires:
                return grant  # it still counts, and the next call asks again
            raise
        assert renewed.tokens is not None
        self._secret(f"oauth/{client}/{server}/access", renewed.tokens.access)
        self._secret(f"oauth/{client}/{server}/refresh", renewed.tokens.refresh)
        if not await asyncio.to_thread(self._grants.swap, client, server, held.generation, renewed):
            newer = self._grants.of(client, server, grant.url)
            if newer is None:  # they signed out meanwhile: what came counts for nobody
                raise AuthError("sign_in_needed")
            if self.is_fresh(newer.grant):
                return newer.grant
        return renewed

    async def _token(self, grant: Grant, refresh: str) -> answers.Tokens:
        if grant.unattended:
            form = requests.credentials_form(grant.requested, grant.resource)
        else:
            form = requests.refresh_form(refresh, grant.resource)
        now = self._clock()
        form, headers = requests.proven(form, grant.registration, now=now, id=secrets.token_urlsafe(16))
        said = await self._wire.post(endpoint(grant.token_endpoint), form, headers)
        return answers.tokens(said.status, said.value, now)
