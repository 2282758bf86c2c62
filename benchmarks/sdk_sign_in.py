"""The SDK's own provider of tokens, as an application would set it up, beside Bulkhead's.

Where the SDK leaves something to the application, it is done here: tokens are kept in a file, and what the provider
forgets between two runs (when a token ends, where tokens are renewed) is given back to it.
"""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
)
from pydantic import AnyHttpUrl

REDIRECT: Final = "http://127.0.0.1:33418/cb"


class NoPerson(Exception):
    """Somebody would have to sign in."""


def metadata() -> OAuthClientMetadata:
    return OAuthClientMetadata(redirect_uris=[AnyHttpUrl(REDIRECT)], client_name="a client")


def ended(refresh: str, life: int) -> OAuthToken:
    """A token that ended, and what it is renewed with."""
    return OAuthToken(access_token=refresh, refresh_token=refresh, expires_in=life)


def client(id: str, secret: str | None = None, issuer: str | None = None) -> OAuthClientInformationFull:
    return OAuthClientInformationFull(
        client_id=id, client_secret=secret, issuer=issuer, redirect_uris=[AnyHttpUrl(REDIRECT)],
        token_endpoint_auth_method="client_secret_post" if secret else "none",
    )  # fmt: skip


def keep(path: Path, tokens: OAuthToken) -> None:
    """Write tokens whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(tokens.model_dump_json())
    part.replace(path)


class File:
    """Tokens in a file that several processes share."""

    def __init__(self, path: Path, registered: OAuthClientInformationFull) -> None:
        self._path = path
        self._registered: OAuthClientInformationFull | None = registered

    async def get_tokens(self) -> OAuthToken | None:
        return OAuthToken.model_validate_json(self._path.read_text())

    async def set_tokens(self, tokens: OAuthToken) -> None:
        keep(self._path, tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._registered

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._registered = client_info


def restored(url: str, path: Path, counts: Counter[str]) -> OAuthClientProvider:
    """A provider that was signed in before: its token ended, and it knows where to renew it."""
    base = url.removesuffix("/mcp")

    async def sign_in(_url: str) -> None:
        counts["sign-ins"] += 1
        raise NoPerson

    async def never() -> AuthorizationCodeResult:
        raise NoPerson

    provider = OAuthClientProvider(url, metadata(), File(path, client("cid", issuer=base)), sign_in, never)
    provider.context.token_expiry_time = time.time() - 1
    provider.context.oauth_metadata = OAuthMetadata(
        issuer=AnyHttpUrl(base),
        authorization_endpoint=AnyHttpUrl(f"{base}/authorize"),
        token_endpoint=AnyHttpUrl(f"{base}/token"),
    )
    return provider
