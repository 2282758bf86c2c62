"""`login`, `logout`, `tokens`: signing in at servers that run elsewhere, and doing what a sign-in asks of a person."""

import asyncio
import getpass
import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeVar

from broker.api import schema
from broker.api.client import DeskClient
from broker.auth.browser import open_url
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.errors import ConfigError, DeskError
from broker.files import read_bounded

MAX_KEY: Final = 16 * 1024
SHOWN: Final[Mapping[str | None, Literal["client_secret_basic", "client_secret_post"] | None]] = MappingProxyType(
    {None: None, "basic": "client_secret_basic", "post": "client_secret_post"}
)
"""How a secret can be shown to an authorization server, by the word of the command line."""
T = TypeVar("T")


class Attending:
    """Does what a sign-in asks of the person at this terminal.  `yes` answers its question."""

    def __init__(
        self,
        context: Context,
        *,
        yes: bool,
        browser: bool = True,
        paste: bool = False,
        sign_in: schema.SignIn | None = None,
    ) -> None:
        self.sign_in = sign_in
        self._context = context
        self._yes = yes
        self._browser = browser
        self._paste = paste

    async def through(self, ask: Callable[[Callable[[schema.ToDo], None]], Awaitable[T]]) -> T:
        """Ask the desk, and do what is to do until it has answered."""
        to_do: asyncio.Queue[schema.ToDo] = asyncio.Queue()
        work = asyncio.ensure_future(ask(to_do.put_nowait))
        following = asyncio.ensure_future(to_do.get())
        try:
            while True:
                await asyncio.wait({work, following}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    return work.result()
                await self._do(following.result())
                following = asyncio.ensure_future(to_do.get())
        finally:
            work.cancel()
            following.cancel()
            await asyncio.gather(work, following, return_exceptions=True)

    async def _do(self, what: schema.ToDo) -> None:
        if what.question:
            await self._answer(what.question)
            return
        output.aside(f"sign in here: {what.link}")
        if what.code:
            output.aside(f"and enter the code {what.code}")
            return
        if self._browser and not self._paste:
            await asyncio.to_thread(open_url, what.link, self._context.environment)
        if self._paste:
            output.aside(f"then paste the whole address that begins with {what.redirect} here:")
            url = (await asyncio.to_thread(sys.stdin.readline)).strip()
            async with self._context.desk() as desk:
                await desk.ask(schema.PASTE, schema.Paste(url=url), schema.Nothing)

    async def _answer(self, id: str) -> None:
        async with self._context.desk() as desk:
            found = (await desk.ask(schema.PENDING, schema.Nothing(), schema.Questions)).questions
            for question in (one for one in found if one.id == id):
                output.aside(output.line(question.what))
                for line in question.evidence:
                    output.aside(f"  {output.line(line, 300)}")
                allow = self._yes or output.ask("sign in?") == "y"
                answer = schema.Answered(id=id, digest=question.digest, allow=allow)
                await desk.ask(schema.APPROVE if allow else schema.DENY, answer, schema.Nothing)


async def agreed_to(desk: DeskClient, agree: schema.Agree, attending: Attending | None) -> schema.Agreed:
    """Say yes to a proposal, and do what a sign-in that it needs asks for; unattended, its question stands open."""
    asked = partial(desk.ask, schema.AGREE, agree, schema.Agreed, progress=output.progress)
    return await (attending.through(lambda to_do: asked(to_do=to_do)) if attending else asked())


async def login(args: Namespace, context: Context) -> int:
    """Sign a client in at a server elsewhere."""
    wish = chosen(args, server=args.name)
    async with context.desk() as desk:
        attending = Attending(context, yes=args.yes, browser=not args.no_browser, paste=args.paste)
        found = await attending.through(
            lambda to_do: desk.ask(schema.LOGIN, wish, schema.SignedIn, progress=output.progress, to_do=to_do)
        )
    if args.json:
        output.show_json({"client": args.client, "server": args.name, **found.model_dump(mode="json")})
    elif not found.needed:
        output.show(f"{args.name} asks for no sign-in")
    else:
        output.show(f"{args.client} is signed in at {found.issuer} for {args.name}: {_rights(found.scopes)}")
    return DONE


async def logout(args: Namespace, context: Context) -> int:
    """Forget a sign-in, here and at the authorization server."""
    async with context.desk() as desk:
        asked = schema.Logout(client=args.client, server=args.name)
        revoked = (await desk.ask(schema.LOGOUT, asked, schema.LoggedOut)).revoked
    if args.json:
        output.show_json({"client": args.client, "server": args.name, "revoked": revoked})
    else:
        there = "and the authorization server has forgotten it" if revoked else "its tokens there end by themselves"
        output.show(f"{args.client} is signed out of {args.name}; {there}")
    return DONE


async def tokens(args: Namespace, context: Context) -> int:
    """Who is signed in where; never a token."""
    async with context.desk() as desk:
        route = schema.WAITING if args.links else schema.TOKENS
        found = (await desk.ask(route, schema.Nothing(), schema.TokenList)).tokens
    if args.json:
        output.show_json([one.model_dump(mode="json") for one in found])
        return DONE
    output.show_table(
        ("CLIENT", "SERVER", "AT", "STATE", "RIGHTS", "TOKEN ENDS"),
        [(t.client, t.server, t.issuer or "-", t.state, _rights(t.scopes), _ends(t)) for t in found],
    )
    for token in found:
        if token.link:
            output.show(f"{token.client} at {token.server}: {token.link}{f' code {token.code}' if token.code else ''}")
    return DONE


def chosen(args: Namespace, server: str = "") -> schema.SignIn:
    """What a command line says about signing in.

    Raises:
        ConfigError: a key file cannot be read.
    """
    secret = None
    if args.client_key:
        try:
            secret = read_bounded(Path(args.client_key).expanduser(), MAX_KEY).decode()
        except (OSError, ValueError) as cause:
            raise ConfigError(f"the key {args.client_key} cannot be read", hint="name a PEM file") from cause
    elif args.client_secret:
        secret = _prompted()
    if secret is not None and not args.client_id:
        raise DeskError("a secret belongs to a client id", hint="add --client-id ID", code="usage")
    return schema.SignIn(
        client=args.client,
        server=server,
        way="device" if args.device else "browser",
        resource=args.resource,
        client_id=args.client_id,
        method=SHOWN[args.client_auth],
        secret=secret,
        key=bool(args.client_key),
        issuer=args.issuer,
        document=args.client_document,
    )


def _prompted() -> str:
    """A secret from a prompt or from standard input; never from the command line, which others can see."""
    if sys.stdin.isatty():
        return getpass.getpass("client secret: ")
    return sys.stdin.readline(MAX_KEY).strip()


def _rights(scopes: list[str]) -> str:
    return output.line(" ".join(scopes), 120) if scopes else "no named rights"


def _ends(token: schema.TokenView) -> str:
    if not token.expires:
        return "-"
    left = token.expires - time.time()
    return ("renewed by itself" if token.renews else "over") if left <= 0 else f"in {left:.0f} s"
