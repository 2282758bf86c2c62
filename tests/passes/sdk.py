"""The Python SDK's own OAuth client, whose browser is a plain client and whose person reads the number off the page."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.passes.stage import REDIRECT, brought
from tests.waiting import WITHIN


@dataclass
class Kept:
    """The SDK's storage, in memory, and what its browser was opened with."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    opened: list[str] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def provider(url: str, kept: Kept, answer: Callable[[str], Awaitable[None]]) -> OAuthClientProvider:
    """`answer` is given the page that waits, and answers the question it names."""

    async def browse(opened: str) -> None:
        kept.opened.append(opened)

    async def callback() -> AuthorizationCodeResult:
        async with httpx2.AsyncClient(trust_env=False, timeout=6 * WITHIN) as browser:
            waiting = (await browser.get(kept.opened[-1])).headers["location"]
            where = f"http://{urlsplit(url).netloc}{waiting}"
            await answer((await browser.get(where)).text)
            said = await brought(browser, where)
        return AuthorizationCodeResult(code=said["code"], state=said["state"], iss=said["iss"])

    metadata = OAuthClientMetadata.model_validate({"redirect_uris": [REDIRECT], "client_name": "the SDK"})
    return OAuthClientProvider(url, metadata, kept, browse, callback)
