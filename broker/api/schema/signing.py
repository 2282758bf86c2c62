"""Signing in at servers that run elsewhere."""

from typing import Literal

from pydantic import Field

from broker.api.schema.words import Words


class SignIn(Words):
    """Sign a client in at a server elsewhere.  What is None stays as it was chosen before.

    `resource` is what names the server to the authorization server: `prm` (what it says itself), `omit`, `fixed:URI`.
    `secret` goes with a client id that was registered by hand, and `method` says how it is shown; with `key` it is a
    private key, and no person is needed.
    """

    client: str = "local"
    server: str = ""
    way: Literal["browser", "device"] = "browser"
    resource: str | None = Field(default=None, max_length=2048)
    client_id: str | None = Field(default=None, max_length=2048)
    secret: str | None = Field(default=None, max_length=16384)
    method: Literal["client_secret_basic", "client_secret_post"] | None = None
    key: bool = False
    issuer: str | None = Field(default=None, max_length=2048)
    document: str | None = Field(default=None, max_length=2048)

    def __repr__(self) -> str:
        return f"SignIn(client={self.client!r}, server={self.server!r})"


class SignedIn(Words):
    """What came of it; `needed` is false where the server asks for no sign-in."""

    needed: bool
    issuer: str = ""
    scopes: list[str] = []


class Logout(Words):
    client: str
    server: str


class LoggedOut(Words):
    """`revoked`: the authorization server has forgotten the tokens, too."""

    revoked: bool


class Paste(Words):
    """The address that a browser on another machine could not open."""

    url: str = Field(max_length=16384)


class TokenView(Words):
    """One client's sign-in at one server; never a token.  `expires` is seconds since the epoch, 0 for not said."""

    client: str
    server: str
    url: str = ""
    issuer: str = ""
    registered: str = ""
    redirect: str = ""
    scopes: list[str] = []
    state: Literal["signed in", "sign in again", "waits for a person"]
    expires: float = 0.0
    renews: bool = False
    link: str = ""
    code: str = ""


class TokenList(Words):
    tokens: list[TokenView]
