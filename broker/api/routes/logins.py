"""Signing in and out at the desk."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.auth.challenge import Bearer
from broker.auth.grants import Grant, Settings
from broker.auth.problems import AuthError
from broker.auth.requests import check_mode
from broker.auth.wishes import Shown, Wanted
from broker.errors import DeskError
from broker.model import Origin, QuestionId
from broker.sign_ins import Attendant


class Logins:
    """Who is signed in where, and how one signs in."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.LOGIN.method: self._login,
            schema.LOGOUT.method: self._logout,
            schema.PASTE.method: self._paste,
            schema.TOKENS.method: self._tokens,
            schema.WAITING.method: self._waiting,
        }

    def attended(self, caller: Caller, client: str, server: str) -> AbstractContextManager[None]:
        """Whoever called is told what this client's sign-in at this server wants of a person."""

        def asked(question: QuestionId) -> None:
            caller.progress(f"a sign-in waits for a yes: bulkhead approve {question}")
            caller.event(schema.ToDo(question=question))

        def shown(what: Shown) -> None:
            caller.event(schema.ToDo(link=what.url, code=what.code, redirect=what.redirect))

        return self._at.sign_ins.attended(client, server, Attendant(asked, shown))

    async def enter(
        self, server: str, url: str, headers: Mapping[str, str], wish: schema.SignIn, *, always: bool
    ) -> Grant | None:
        """Sign in where the server asks for it; None where it does not.  `always`: also where it did not ask just now.

        Raises:
            AuthError: why there is no grant.
        """
        client = self._at.house.registry.clients.find(wish.client).name
        await self._choose(server, wish)
        settings = self._at.sign_ins.front.grants.settings(server)
        challenge = await self._at.sign_ins.probed(url, headers)
        if challenge is None and not always and not settings.key:
            return None

        want = Wanted(client, server, url, challenge or Bearer(), wish.way, anew=True)
        try:
            grant = await self._at.sign_ins.front.sign_in(want)
        except AuthError as problem:
            if challenge is None and problem.code == "no_resource_metadata":
                return None
            raise
        body = {"issuer": grant.registration.issuer, "scopes": list(grant.scopes), "how": grant.registration.how}
        await self._at.did("grant", "login", server, Origin(client, server), body)
        return grant

    async def server_gone(self, server: str) -> None:
        """Nobody is signed in at a server that was removed."""
        if self._at.house.vault.standing.is_open:
            await self._at.sign_ins.front.forget(server=server)

    async def _choose(self, server: str, wish: schema.SignIn) -> None:
        """Keep what was chosen; what was not named stays."""
        front = self._at.sign_ins.front
        kept = front.grants.settings(server)
        said: dict[str, Any] = {
            "resource": wish.resource, "client_id": wish.client_id, "secret": wish.secret, "issuer": wish.issuer,
            "document": wish.document, "method": wish.method, "key": True if wish.key else None,
        }  # fmt: skip
        named = {name: value for name, value in said.items() if value is not None}
        if "client_id" in named:  # another registration: nothing of the one before counts for it
            named = {"secret": "", "issuer": "", "key": False, "method": None, **named}
        chosen: Settings = replace(kept, **named)
        check_mode(chosen.resource)
        if chosen.secret:
            self._at.house.audit.redactor.add(f"oauth/{server}/secret", chosen.secret)
        if chosen != kept:
            front.grants.choose(server, chosen)

    async def _login(self, caller: Caller, params: schema.SignIn) -> schema.SignedIn:
        registry = self._at.house.registry
        pin = registry.pin(registry.server(params.server).name)
        if pin is None or pin.artifact.kind != "remote":
            raise DeskError(f"{params.server} runs here: there is nowhere to sign in", hint="bulkhead servers")
        url = (await self._at.house.store.verified(pin)).argv[0]
        headers = registry.env(registry.server(params.server))
        with self.attended(caller, params.client, params.server):
            grant = await self.enter(params.server, url, headers, params, always=True)
        if grant is None:
            return schema.SignedIn(needed=False)
        return schema.SignedIn(needed=True, issuer=grant.registration.issuer, scopes=list(grant.scopes))

    async def _logout(self, _caller: Caller, params: schema.Logout) -> schema.LoggedOut:
        front = self._at.sign_ins.front
        if not any((client, server) == (params.client, params.server) for client, server, _ in front.grants.all()):
            raise DeskError(
                f"{params.client} is not signed in at {params.server}", hint="bulkhead tokens", code="unknown"
            )
        revoked = await front.logout(params.client, params.server)
        for link in self._at.sessions.links(params.server):
            if link.client == params.client:
                link.end(f"{params.client} was signed out of {params.server}")
        origin = Origin(params.client, params.server)
        await self._at.did("grant", "logout", params.server, origin, {"revoked": revoked})
        return schema.LoggedOut(revoked=revoked)

    async def _paste(self, _caller: Caller, params: schema.Paste) -> schema.Nothing:
        if not self._at.sign_ins.front.paste(params.url):
            raise DeskError(
                "no sign-in waits for this address", hint="paste it whole: http://127.0.0.1:...", code="unknown"
            )
        return schema.Nothing()

    async def _tokens(self, _caller: Caller, _params: schema.Nothing) -> schema.TokenList:
        return schema.TokenList(tokens=self._views(links=False))

    async def _waiting(self, _caller: Caller, _params: schema.Nothing) -> schema.TokenList:
        return schema.TokenList(tokens=self._views(links=True))

    def _views(self, *, links: bool) -> list[schema.TokenView]:
        front = self._at.sign_ins.front
        waiting = front.waiting()
        found = []
        for client, server, grant in front.grants.all():
            shown = waiting.pop((client, server), None)
            state = "waits for a person" if shown else "signed in" if grant.is_live else "sign in again"
            found.append(_view(client, server, state, shown if links else None, grant))
        for (client, server), shown in sorted(waiting.items()):
            found.append(_view(client, server, "waits for a person", shown if links else None))
        return found


async def client_gone(premises: Premises, client: str) -> None:
    """A client that was removed is signed in nowhere."""
    if premises.house.vault.standing.is_open:
        await premises.sign_ins.front.forget(client=client)


def _view(client: str, server: str, state: Any, shown: Shown | None, grant: Grant | None = None) -> schema.TokenView:
    tokens = grant.tokens if grant is not None else None
    return schema.TokenView(
        client=client,
        server=server,
        url=grant.url if grant is not None else "",
        issuer=grant.registration.issuer if grant is not None else "",
        registered=grant.registration.how if grant is not None else "",
        redirect=grant.registration.redirect if grant is not None else "",
        scopes=list(grant.scopes) if grant is not None else [],
        state=state,
        expires=tokens.expires if tokens is not None else 0.0,
        renews=tokens is not None and bool(tokens.refresh),
        link=shown.url if shown is not None else "",
        code=shown.code if shown is not None else "",
    )
