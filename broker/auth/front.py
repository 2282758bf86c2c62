"""Every sign-in of a home: tokens for requests, what a refusal leads to, and one window for many who wait.

A token is attached without a lock, and only to requests of the client and the server that it was made for.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.auth import requests
from broker.auth.challenge import Bearer, bearer
from broker.auth.grants import Grant, Grants, endpoint
from broker.auth.loopback import Loopback
from broker.auth.problems import AuthError, Kind
from broker.auth.renewal import Renewal
from broker.auth.sign_in import SignIn
from broker.auth.wire import Wire
from broker.auth.wishes import Shown, Wanted, Wish
from broker.model import JsonObject
from broker.protocol.frames import encode
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, MODERN_VERSIONS, VERSION_KEY

PATIENCE_SECONDS: Final = 45.0  # a request waits so long for a person, less than a launch may take; then it is told
MANY: Final = 5
MANY_SECONDS: Final = 600.0
_PROBE: Final = "server/discover"
_MODERN: Final = MODERN_VERSIONS[-1]


@dataclass(frozen=True, slots=True)
class World:
    """What the sign-ins of a home need of it.  `agree` asks the person; `opened` shows them where to go."""

    agree: Callable[[Wish], Awaitable[bool]]
    opened: Callable[[Wanted, Shown], None]
    secret: Callable[[str, str], None]
    changed: Callable[[], None]


class Front:
    """One for each home.  `patience` is how long a request waits for a person."""

    def __init__(
        self, grants: Callable[[], Grants], wire: Wire, world: World, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """`grants` raises where secrets cannot be had."""
        self._grants = grants
        self._wire = wire
        self._world = world
        self._patience = patience
        self._loopback = Loopback()
        self._renewal: Renewal | None = None
        self._signing: dict[tuple[str, str], asyncio.Task[Grant]] = {}
        self._shown: dict[tuple[str, str], Shown] = {}
        self._begun: dict[tuple[str, str], list[float]] = {}

    def attached(self, client: str, server: str, url: str) -> "Attached":
        """The tokens of one client at one server."""
        return Attached(self, client, server, url)

    @property
    def grants(self) -> Grants:
        return self._grants()

    @property
    def renewal(self) -> Renewal:
        if self._renewal is None:
            self._renewal = Renewal(self.grants, self._wire, secret=self._world.secret)
        return self._renewal

    async def sign_in(self, want: Wanted) -> Grant:
        """Sign in, together with whoever else wants the same.

        Raises:
            AuthError: why there is no grant.
        """
        key = (want.client, want.server)
        task = self._signing.get(key)
        if task is None:
            if not want.anew:
                self._count(key)
            task = asyncio.get_running_loop().create_task(self._run(want))
            self._signing[key] = task
            task.add_done_callback(lambda done: self._over(key, done))
        try:
            return await asyncio.shield(task)
        except AuthError as problem:
            raise problem.named(want.client, want.server) from None

    def waiting(self) -> dict[tuple[str, str], Shown]:
        """What persons still have to go to, by client and server."""
        return dict(self._shown)

    def paste(self, url: str) -> bool:
        """An address that a browser on another machine could not open."""
        return self._loopback.paste(url)

    def abandon(self, client: str, server: str) -> None:
        """Nobody wants this sign-in any more."""
        if (task := self._signing.get((client, server))) is not None:
            task.cancel()

    async def logout(self, client: str, server: str) -> bool:
        """Forget a grant, and have the authorization server forget it (RFC 7009); true if that was done there too."""
        self.abandon(client, server)
        if self._renewal is not None:
            await self._renewal.settled(client, server)  # so that what it brings is taken back too
        found = [grant for whose, where, grant in self.grants.all() if (whose, where) == (client, server)]
        await asyncio.to_thread(self.grants.forget, client, server)
        self._world.changed()
        return all([await self._revoked(grant) for grant in found])

    async def forget(self, *, client: str = "", server: str = "") -> None:
        """A client or a server is gone, and so is every sign-in of it."""
        for whose, where, _ in self.grants.all():
            if client in ("", whose) and server in ("", where):
                await self.logout(whose, where)
        if server:
            await asyncio.to_thread(self.grants.forget_settings, server)

    async def close(self) -> None:
        """Nobody waits for a browser any more; what was begun with an authorization server ends in order."""
        for task in tuple(self._signing.values()):
            task.cancel()
        await asyncio.gather(*self._signing.values(), return_exceptions=True)
        if self._renewal is not None:
            await self._renewal.close()
        await self._loopback.close()

    async def _run(self, want: Wanted) -> Grant:
        def show(_want: Wanted, shown: Shown) -> None:
            self._shown[(want.client, want.server)] = shown
            self._world.opened(want, shown)
            self._world.changed()

        making = SignIn(self.grants, self._wire, self._loopback, self._world.agree, show, self._world.secret)
        return await making.run(want)

    def _over(self, key: tuple[str, str], done: "asyncio.Task[Grant]") -> None:
        self._signing.pop(key, None)
        self._shown.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waits is told; if nobody does any more, it is no error of the loop
        self._world.changed()

    def _count(self, key: tuple[str, str]) -> None:
        now = time.monotonic()
        recent = [at for at in self._begun.get(key, []) if at > now - MANY_SECONDS]
        if len(recent) >= MANY:
            raise AuthError("too_many")
        self._begun[key] = [*recent, now]

    async def wait_for(self, want: Wanted) -> Grant:
        """Sign in, but do not let a request wait for a person for ever.

        Raises:
            AuthError: among the other reasons, that it still waits.
        """
        try:
            async with asyncio.timeout(self._patience):
                return await self.sign_in(want)
        except TimeoutError as cause:
            raise AuthError("sign_in_pending").named(want.client, want.server) from cause

    async def probed(self, url: str, given: Mapping[str, str]) -> Bearer | None:
        """What a server says to a request without a token, with the fixed headers it was `given`.

        None if it asks for no sign-in, or cannot be asked.
        """
        headers = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": _MODERN,
            "mcp-method": _PROBE,
        }
        meta: JsonObject = {VERSION_KEY: _MODERN, CLIENT_CAPABILITIES_KEY: {}}
        message: JsonObject = {"jsonrpc": "2.0", "id": 1, "method": _PROBE, "params": {"_meta": meta}}
        try:
            said = await self._wire.post_json(endpoint(url), encode(message), {**given, **headers})
        except AuthError as problem:
            if problem.kind is Kind.LATER:
                return None
            raise
        return bearer(said.challenges) if said.status == 401 else None

    async def _revoked(self, grant: Grant) -> bool:
        tokens = grant.tokens
        if tokens is None or not grant.revocation_endpoint:
            return tokens is None
        kinds = {"refresh_token": tokens.refresh, "access_token": tokens.access}
        done = True
        for kind, token in kinds.items():
            if token:
                form, headers = requests.proven(requests.revocation_form(token, kind), grant.registration)
                try:
                    said = await self._wire.post(endpoint(grant.revocation_endpoint), form, headers)
                except AuthError:
                    done = False
                    continue
                # Some revoke no access tokens of a form that others check by themselves: those end soon.
                done &= said.status == 200 or (kind == "access_token" and said.status == 400)
        return done


class Attached:
    """What a conversation with a server needs to know of signing in."""

    def __init__(self, front: Front, client: str, server: str, url: str) -> None:
        self._front = front
        self._client = client
        self._server = server
        self._url = url
        self._renewed = ""

    async def token(self) -> str:
        """The token to send now; empty where there is none, which the server then says.

        Raises:
            AuthError: there is one, and it cannot be renewed now.
        """
        held = self._front.grants.of(self._client, self._server, self._url)
        if held is None or not held.grant.is_live:
            return ""
        grant = held.grant
        if not self._front.renewal.is_fresh(grant):
            try:
                grant = await self._front.renewal.renewed(self._client, self._server, self._url)
            except AuthError as problem:
                if problem.kind is Kind.SIGN_IN:
                    return ""
                raise problem.named(self._client, self._server) from None
        assert grant.tokens is not None
        return grant.tokens.access

    async def refused(self, status: int, challenges: list[str], sent: str) -> bool:
        """The server did not take `sent`; true when it is worth asking it again.

        Raises:
            AuthError: it is not, and why.
        """
        said = bearer(challenges)
        if status == 403 and (said.error != "insufficient_scope" or not sent):
            return False
        held = self._front.grants.of(self._client, self._server, self._url)
        if held is not None and held.grant.is_live and await self._has_better(held.grant, status, said, sent):
            return True
        await self._front.wait_for(Wanted(self._client, self._server, self._url, said))
        return True

    async def _has_better(self, grant: Grant, status: int, said: Bearer, sent: str) -> bool:
        """Whether there is a token now that is worth trying without a person."""
        assert grant.tokens is not None
        if grant.tokens.access != sent:
            return True  # it was renewed meanwhile
        if status == 403:
            if said.scopes and set(said.scopes) <= set(grant.requested):
                raise AuthError("insufficient_scope").named(self._client, self._server)
            return False
        if sent == self._renewed and self._front.renewal.is_fresh(grant):
            return False  # it was made for this, has not ended, and was not taken either
        try:
            renewed = await self._front.renewal.renewed(self._client, self._server, self._url, refused=sent)
        except AuthError as problem:
            if problem.kind is Kind.SIGN_IN:
                return False
            raise problem.named(self._client, self._server) from None
        self._renewed = renewed.tokens.access if renewed.tokens is not None else ""
        return True
