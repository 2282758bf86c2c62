"""A real OAuth client, the Python SDK's own, signs in here and uses a server."""

import asyncio
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.passes.sdk import Kept, provider
from tests.passes.stage import site
from tests.waiting import WITHIN


async def test_the_sdk_signs_in_by_itself_uses_the_server_and_renews_its_tokens(tmp_path: Path) -> None:
    async with site(tmp_path) as at, asyncio.timeout(6 * WITHIN):
        kept = Kept()

        async def answer(page: str) -> None:
            at.answer(at.rooms.house.consent.open()[0], page.partition("--number ")[2][:2])

        auth = provider(at.url, kept, answer)
        async with httpx2.AsyncClient(auth=auth, trust_env=False, timeout=6 * WITHIN) as http:
            for mode in ("legacy", "2026-07-28"):
                async with Client(streamable_http_client(at.url, http_client=http), mode=mode) as sdk:
                    assert "read" in [tool.name for tool in (await sdk.list_tools()).tools]
                    auth.context.token_expiry_time = 1.0  # long ago
                    assert (await sdk.list_tools()).tools
        (made,) = at.door.entries.all()
        assert (made.turn, made.client, made.server, made.name) == (2, "desk", "notes", "the SDK")
        assert (
            len(kept.opened) == 1 and "code_challenge_method=S256" in kept.opened[0] and "resource=" in kept.opened[0]
        )
        assert kept.client is not None and kept.client.client_secret is None
