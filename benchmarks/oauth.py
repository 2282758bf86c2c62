"""Bulkhead's sign-ins beside the SDK's own provider, in the same run: `python -m benchmarks.oauth [--seconds 20]`.

Attacks: each line of `tests/auth/test_attacks.py`, on one network in memory, by one measure for both.  Harm is that
something internal or the attacker's host was asked, a secret or a hostile word was told or logged, somebody reads or
waits without an end, or what must work does not; apart from that is counted who went on where Bulkhead refuses.
Renewal: calls at the end of a token, and many processes under tokens of three seconds whose refresh counts once.
"""

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult

from benchmarks.refresh import failed, measured
from benchmarks.sdk_sign_in import client, metadata
from broker.auth import wire
from broker.endpoints.http_reach import Unreachable
from tests.auth.internet import AS, MCP, NAMES, Internet, staged
from tests.auth.test_attacks import ATTACKS, Attack
from tests.passes.sdk import Kept

PATIENCE: Final = 5.0
MOST: Final = 8 * 1024 * 1024  # bytes of one answer; whoever reads on would read for ever
WENT_ON: Final = "went on"
"""Where Bulkhead refuses: in part stricter than the specification, in part the application's to judge."""
CANARIES: Final = ("SECRET", "CALL-ME", "code_verifier", "\x1b")


class Unguarded(httpx2.AsyncBaseTransport):
    """The same network for somebody who judges no addresses."""

    def __init__(self, net: Internet) -> None:
        self._net = net

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        addresses = {**NAMES, "flip.example": "127.0.0.1"}
        if host not in addresses and not host.replace(".", "").isdigit() and host != "localhost" and ":" not in host:
            raise httpx2.ConnectError(f"no such name: {host}")
        headers = request.headers.copy()
        headers["host"] = host
        dialled = httpx2.Request(
            request.method, request.url.copy_with(host=addresses.get(host, host)), headers=headers,
            content=await request.aread(),
        )  # fmt: skip
        answer = await self._net.handle_async_request(dialled)
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=Bounded(answer.stream))


class Bounded(httpx2.AsyncByteStream):
    """A body that is told from an endless one."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MOST:
                raise Endless
            yield piece


class Endless(Exception):
    """Somebody reads whatever comes."""


@dataclass
class Stand:
    """What a line of the list looks at afterwards.  Nobody is asked before a browser opens: that is not the SDK's."""

    net: Internet
    opened: list[str] = field(default_factory=list)
    wishes: tuple[()] = ()

    async def call(self) -> int:
        """The status of one call by the SDK's provider, and a person who goes along with everything."""
        scene = self.net.scene
        given = scene.settings
        registered = client(given.client_id, given.secret, AS) if given.client_id else None

        async def opened(url: str) -> None:
            self.opened.append(url)

        async def brought() -> AuthorizationCodeResult:
            asked = query_of(self.opened[-1])
            self.net.wanted = asked.get("scope", "").split()
            said: dict[str, Any] = {"code": "CODE-SECRET-1", "state": asked.get("state"),
                                    "iss": f"https://{urlsplit(self.opened[-1]).netloc}", **scene.callback}  # fmt: skip
            return AuthorizationCodeResult(code=said["code"] or "", state=said["state"], iss=said["iss"])

        provider = OAuthClientProvider(MCP, metadata(), Kept(client=registered), opened, brought)
        async with httpx2.AsyncClient(auth=provider, transport=Unguarded(self.net), trust_env=False) as http:
            return (await http.post(MCP, json={"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code


class Logged(logging.Handler):
    """Everything from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        problem = record.exc_info[1] if record.exc_info else ""
        self.said.append(f"{record.getMessage()} {problem}")


async def by_bulkhead(attack: Attack) -> str:
    """What went wrong; empty where nothing did."""
    log = Logged()
    logging.getLogger().addHandler(log)
    try:
        with patch.object(wire, "WHOLE_SECONDS", 0.5):
            async with staged(attack.scene(), patience=attack.patience) as stage:
                found, told = 0, ""
                try:
                    async with asyncio.timeout(PATIENCE):
                        found = await stage.call()
                except Unreachable as problem:
                    told = f"{problem} {problem.hint}"
                except TimeoutError:
                    return "waits"
                return wrong(attack, stage, found, told + "".join(log.said))
    finally:
        logging.getLogger().removeHandler(log)


async def by_sdk(attack: Attack) -> str:
    """What went wrong; empty where nothing did."""
    log, stand = Logged(), Stand(Internet(attack.scene()))
    logging.getLogger().addHandler(log)
    found, told = 0, ""
    try:
        async with asyncio.timeout(PATIENCE):
            found = await stand.call()
    except TimeoutError:
        return "waits"
    except Endless:
        return "reads for ever"
    except Exception as problem:  # noqa: BLE001 - whatever it raises is what its caller is told
        told = str(problem)
    finally:
        logging.getLogger().removeHandler(log)
    return wrong(attack, stand, found, told + "".join(log.said))


def wrong(attack: Attack, stage: Any, found: int, told: str) -> str:
    """What an attack came to, by one measure for both."""
    if any(not asked.address.startswith("8.8.4.") for asked in stage.net.asked):
        return "asked something internal"
    if any(asked.host == "evil.example" for asked in stage.net.asked):
        return "asked the attacker"
    states = [query_of(url).get("state", "") for url in stage.opened]
    if any(word and word in told for word in (*CANARIES, *states)):
        return "told a secret or a hostile word"
    if attack.comes_to == 200 and found != 200:
        return "does not work"
    if attack.comes_to != 200 and found == 200:
        return WENT_ON
    try:
        return "" if attack.holds(stage) else "did what it must not"
    except (AttributeError, IndexError):
        return ""  # it looks at what a person was asked, which the SDK leaves to the application


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def attacked() -> None:
    for name, tried in (("bulkhead", by_bulkhead), ("sdk", by_sdk)):
        found = {attack.name: await tried(attack) for attack in ATTACKS}
        bad = {line: why for line, why in found.items() if why}
        kinds = Counter(bad.values())
        went_on = kinds.pop(WENT_ON, 0)
        print(f"attacks, {name}, of {len(found)} lines: harm in {kinds.total()} {dict(kinds)}; went on in {went_on}")
        for line, why in bad.items():
            print(f"    {line}: {why}")


async def renewed(seconds: float) -> None:
    for processes, tasks, how_long in ((1, 500, 0.0), (6, 25, seconds)):
        for by in ("bulkhead", "sdk"):
            calls, served = await measured(by, processes, tasks, how_long)
            print(
                f"{processes} processes, {tasks} tasks, {how_long:.0f} s, {by}: {sum(calls.values())} calls,"
                f" {failed(calls)} failed, {calls['sign-ins']} sign-ins, {served['token requests']} token requests,"
                f" {served['used twice']} with a used token"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.oauth", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    wanted = parser.parse_args()
    asyncio.run(attacked())
    asyncio.run(renewed(wanted.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
