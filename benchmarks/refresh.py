"""Many processes, many tasks, tokens of three seconds: `python -m benchmarks.refresh [--processes 6] [--tasks 25]`.

Each process is a home's sign-ins on one vault file; the authorization server takes each refresh token once and revokes
the whole grant when one comes again, as strict ones do.  Ends with 0 only if no call failed, nobody had to sign in, and
no refresh token was used twice.  With `--sdk` the same calls are made by the SDK's own provider, on one file of tokens.
"""

import argparse
import asyncio
import json
import logging
import multiprocessing
import secrets
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import httpx2
from mcp.client.auth import OAuthFlowError

from benchmarks.sdk_sign_in import NoPerson, ended, keep, restored
from broker.auth.answers import Tokens
from broker.auth.front import Front, World
from broker.auth.grants import Grant, Grants
from broker.auth.registration import Registration
from broker.auth.wire import Wire
from broker.auth.wishes import Shown, Wanted, Wish
from broker.endpoints.http_server import Answer, Head, HttpServer, Reply
from broker.errors import BulkheadError
from broker.vault.book import KEY_BYTES, Book, open_database

LIFE: Final = 3
PAUSE: Final = 0.05  # between two calls of a task
KEY: Final = b"k" * KEY_BYTES
JSON: Final = (("content-type", "application/json"),)


class Strict:
    """The server and the authorization server: counts everything, and revokes on a second use."""

    def __init__(self) -> None:
        self.ends: dict[str, float] = {}
        self.good, self.used = {"first"}, set[str]()
        self.counts: Counter[str] = Counter()

    def judge(self, head: Head) -> Reply | object:
        if head.target == "/mcp":
            bearer = (head.one("authorization") or "").removeprefix("Bearer ")
            is_good = self.ends.get(bearer, 0.0) > time.time()
            self.counts["ok" if is_good else "refused"] += 1
            return Reply(200 if is_good else 401)
        return self._token if head.method == "POST" else Reply(404)

    async def _token(self, body: bytes) -> Answer:
        token = dict(parse_qsl(body.decode())).get("refresh_token", "")
        self.counts["token requests"] += 1
        if token not in self.good:
            self.counts["used twice" if token in self.used else "unknown"] += 1
            self.good.clear()
            return Reply(400, b'{"error": "invalid_grant"}', JSON)
        self.good.discard(token)
        self.used.add(token)
        access, refresh = secrets.token_hex(16), secrets.token_hex(16)
        self.good.add(refresh)
        self.ends[access] = time.time() + LIFE
        said = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": LIFE}
        return Reply(200, json.dumps(said).encode(), JSON)


async def _called(task: Callable[[], Awaitable[str]], tasks: int, seconds: float) -> Counter[str]:
    """What all calls of all tasks came to; each task makes at least one."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds

    async def again() -> None:
        counts[await task()] += 1
        while time.monotonic() < end:
            await asyncio.sleep(PAUSE)
            counts[await task()] += 1

    await asyncio.gather(*(again() for _ in range(tasks)))
    return counts


async def _by_bulkhead(url: str, path: Path, tasks: int, seconds: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    grants = Grants(Book(open_database(path), "stress", KEY))

    async def agree(_wish: Wish) -> bool:
        counts["sign-ins"] += 1
        return False

    def opened(_want: Wanted, _shown: Shown) -> None:
        counts["browsers"] += 1

    front = Front(lambda: grants, Wire(), World(agree, opened, lambda _n, _v: None, lambda: None))
    http = httpx2.AsyncClient(trust_env=False, timeout=60)
    attached = front.attached("client", "server", url)

    async def call() -> str:
        try:
            token = await attached.token()
            said = await http.post(url, headers={"authorization": f"Bearer {token}"})
            if said.status_code == 401 and await attached.refused(401, ["Bearer"], token):
                counts["again"] += 1
                token = await attached.token()
                said = await http.post(url, headers={"authorization": f"Bearer {token}"})
        except BulkheadError as problem:
            return f"failed: {problem}"
        return "ok" if said.status_code == 200 else "failed"

    counts += await _called(call, tasks, seconds)
    await front.close()
    await http.aclose()
    return counts


async def _by_sdk(url: str, path: Path, tasks: int, seconds: float) -> Counter[str]:
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    counts: Counter[str] = Counter()
    provider = restored(url, path.with_suffix(".json"), counts)
    async with httpx2.AsyncClient(auth=provider, trust_env=False, timeout=60) as http:

        async def call() -> str:
            try:
                said = await http.post(url)
            except (OAuthFlowError, NoPerson, httpx2.HTTPError) as problem:
                return f"failed: {type(problem).__name__}"
            return "ok" if said.status_code == 200 else "failed"

        counts += await _called(call, tasks, seconds)
    return counts


def _run(
    answers: "multiprocessing.Queue[Counter[str]]", by: str, url: str, path: Path, tasks: int, seconds: float
) -> None:
    made = _by_sdk if by == "sdk" else _by_bulkhead
    answers.put(asyncio.run(made(url, path, tasks, seconds)))


async def measured(by: str, processes: int, tasks: int, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """What calls came to, and what the server and the authorization server counted."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    strict = Strict()
    server = HttpServer(strict.judge)  # type: ignore[arg-type]
    server.open(listener)
    with tempfile.TemporaryDirectory(prefix="bh-stress-") as name:
        path = Path(name) / "vault" / "vault.db"
        database = open_database(path)
        database.execute("INSERT INTO seal VALUES (1, 'stress')")
        grants = Grants(Book(database, "stress", KEY))
        grant = Grant(f"{base}/mcp", Registration(base, "cid", "dynamic"), f"{base}/token",
                      tokens=Tokens("none", "first", 1.0, LIFE))  # fmt: skip
        grants.put("client", "server", grant)
        keep(path.with_suffix(".json"), ended("first", LIFE))
        context = multiprocessing.get_context("spawn")
        answers: multiprocessing.Queue[Counter[str]] = context.Queue()
        others = [
            context.Process(target=_run, args=(answers, by, f"{base}/mcp", path, tasks, seconds))
            for _ in range(processes)
        ]
        for other in others:
            other.start()
        total: Counter[str] = Counter()
        for _ in others:
            total += await asyncio.to_thread(answers.get, True, seconds + 120)
        for other in others:
            await asyncio.to_thread(other.join, 30)
    await server.close()
    return total, strict.counts


def failed(calls: Counter[str]) -> int:
    """How many calls failed."""
    return sum(number for name, number in calls.items() if name.startswith("failed"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--tasks", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sdk", action="store_true")
    wanted = parser.parse_args()
    by = "sdk" if wanted.sdk else "bulkhead"
    calls, served = asyncio.run(measured(by, wanted.processes, wanted.tasks, wanted.seconds))
    print(f"{by}: {wanted.processes} processes, {wanted.tasks} tasks each, {wanted.seconds:.0f} s, tokens of {LIFE} s")
    print("callers:", dict(calls))
    print("server: ", dict(served))
    return 1 if failed(calls) or calls["sign-ins"] or served["used twice"] or not calls["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
