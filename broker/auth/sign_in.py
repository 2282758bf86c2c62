"""One sign-in from its challenge to its grant: discover, ask the person, register, browser, code, token.

The person is asked before anything is opened and before anything is sent that tells an authorization server of them.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from broker.auth import answers, registration, requests
from broker.auth.callback import Brought, Expected
from broker.auth.discovery import Found, discover
from broker.auth.grants import Grant, Grants, Settings
from broker.auth.loopback import Loopback, path_of
from broker.auth.problems import AuthError
from broker.auth.registration import Registration
from broker.auth.scopes import Scopes, wanted
from broker.auth.wire import Wire
from broker.auth.wishes import Reason, Shown, Wanted, Way, Wish
from broker.protocol.frames import encode

BROWSER_SECONDS: Final = 300.0


class SignIn:
    """Makes grants.  `agree` asks the person, `show` is told what they need, `secret` what to keep out of records."""

    def __init__(
        self,
        grants: Grants,
        wire: Wire,
        loopback: Loopback,
        agree: Callable[[Wish], Awaitable[bool]],
        show: Callable[[Wanted, Shown], None],
        secret: Callable[[str, str], None] = lambda _name, _value: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._grants = grants
        self._wire = wire
        self._loopback = loopback
        self._agree = agree
        self._show = show
        self._secret = secret
        self._clock = clock

    async def run(self, want: Wanted) -> Grant:
        """Sign in, and keep what came of it.

        Raises:
            AuthError: why there is no grant; one that was there stays.
        """
        settings = self._grants.settings(want.server)
        held = self._grants.of(want.client, want.server, want.url)
        before = held.grant if held is not None else None
        pinned = before.registration.issuer if before is not None and not want.anew else ""
        found = await discover(self._wire, want.url, want.challenge, settings.resource, pinned)
        left = before.registration.issuer if before is not None else ""
        if left in ("", found.metadata.issuer):
            left = ""
        else:
            before = None  # nothing of it is shown to another one
        live = before if before is not None and before.is_live else None
        had = tuple(dict.fromkeys((*live.scopes, *live.requested))) if live is not None else ()
        scopes = wanted(want.challenge.scopes, found.resource.scopes, found.metadata.scopes, had)
        reason: Reason = "another authorization server" if left else "more rights" if had else "sign in"
        wish = Wish(
            client=want.client,
            server=want.server,
            url=want.url,
            issuer=found.metadata.issuer,
            host=_host(found, want.way, settings),
            scopes=scopes,
            new_scopes=tuple(scope for scope in scopes if scope not in had),
            reason="without a person" if settings.key else reason,
            before=left,
        )
        if not await self._agree(wish):
            raise AuthError("refused_by_person")
        resource = requests.resource_for(settings.resource, found.resource.resource)
        known = await self._known(want, found, settings, before)
        if settings.key:
            tokens = await self._token(found, known, requests.credentials_form(scopes, resource))
        elif want.way == "device":
            tokens = await self._by_device(want, found, known, scopes, resource)
        else:
            tokens = await self._by_browser(want, found, known, scopes, resource)
        revocation = found.metadata.revocation
        grant = Grant(
            url=want.url,
            registration=known,
            token_endpoint=found.metadata.token.url,
            resource=resource,
            requested=scopes,
            revocation_endpoint=revocation.url if revocation is not None else "",
            tokens=tokens,
            unattended=settings.key,
        )
        self._secret(f"oauth/{want.client}/{want.server}/access", tokens.access)
        self._secret(f"oauth/{want.client}/{want.server}/refresh", tokens.refresh)
        await asyncio.to_thread(self._grants.put, want.client, want.server, grant)
        return grant

    async def _known(self, want: Wanted, found: Found, settings: Settings, before: Grant | None) -> Registration:
        redirect = self._loopback.redirect(found.metadata.issuer)
        by_browser = want.way == "browser"  # a registration is for one way, and another needs its own
        kept = before.registration if before is not None and before.ended != "invalid_client" and by_browser else None
        known = registration.known(found.metadata, kept, settings.by_hand, settings.document, redirect, self._clock())
        if known is not None:
            return known
        assert found.metadata.registration is not None
        asked = registration.request(want.client, redirect, found.metadata, device=want.way == "device")
        said = await self._wire.post_json(found.metadata.registration, encode(asked))
        known = registration.read(said.status, said.value, found.metadata.issuer, redirect, self._clock())
        self._secret(f"oauth/{want.client}/{want.server}/client", known.secret)
        return known

    async def _by_browser(
        self, want: Wanted, found: Found, known: Registration, scopes: Scopes, resource: str
    ) -> answers.Tokens:
        proof = requests.pkce(secrets.token_bytes(requests.VERIFIER_BYTES))
        state = secrets.token_urlsafe(requests.STATE_BYTES)
        deadline = time.monotonic() + BROWSER_SECONDS
        issuer = found.metadata.issuer
        expected = Expected(state, path_of(issuer), issuer, found.metadata.says_issuer, deadline)
        future = self._loopback.expect(expected)
        try:
            url = requests.authorization(found.metadata.authorization, known, scopes, resource, state, proof)
            self._show(want, Shown(url, redirect=known.redirect))
            async with asyncio.timeout(BROWSER_SECONDS):
                brought: Brought = await future
        except TimeoutError as cause:
            raise AuthError("timed_out") from cause
        finally:
            self._loopback.forget(expected)
        if brought.problem is not None:
            raise brought.problem
        form = requests.code_form(brought.code, known.redirect, proof.verifier, resource)
        return await self._token(found, known, form)

    async def _by_device(
        self, want: Wanted, found: Found, known: Registration, scopes: Scopes, resource: str
    ) -> answers.Tokens:
        place = found.metadata.device
        if place is None:
            raise AuthError("no_device_flow")
        form, headers = self._proven(requests.device_form(scopes, resource), known)
        said = await self._wire.post(place, form, headers)
        device = answers.device(said.status, said.value, found.allowed, self._clock())
        # Never opened by us: whoever began a sign-in on another machine must come here themselves.
        self._show(want, Shown(device.place.url, device.user_code))
        pause = device.seconds
        while self._clock() < device.expires:
            await asyncio.sleep(pause)
            form, headers = self._proven(requests.device_token_form(device.code, resource), known)
            said = await self._wire.post(found.metadata.token, form, headers)
            match answers.error_of(said.value):
                case "authorization_pending":
                    continue
                case "slow_down":
                    pause = min(pause + answers.SLOWER_SECONDS, answers.MAX_DEVICE_SECONDS)
                case _:
                    return answers.tokens(said.status, said.value, self._clock())
        raise AuthError("timed_out")

    async def _token(self, found: Found, known: Registration, form: requests.Form) -> answers.Tokens:
        form, headers = self._proven(form, known)
        said = await self._wire.post(found.metadata.token, form, headers)
        return answers.tokens(said.status, said.value, self._clock())

    def _proven(self, form: requests.Form, known: Registration) -> tuple[requests.Form, dict[str, str]]:
        return requests.proven(form, known, now=self._clock(), id=secrets.token_urlsafe(16))


def _host(found: Found, way: Way, settings: Settings) -> str:
    device = found.metadata.device
    place = found.metadata.token if settings.key else found.metadata.authorization
    return (device if way == "device" and device is not None else place).origin
