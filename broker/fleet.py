"""The policy bundle of an organisation: subscribed to by a person, pulled each day, and only ever stricter than theirs.

What was pulled last and was good stays in force: whatever the source says later, and however long it says nothing.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import tomli_w

from broker.agreed import Agreed
from broker.audit.log import AuditLog
from broker.errors import BulkheadError, ConfigError, PolicyError, TrustError
from broker.files import write_private
from broker.model import Fact, Origin
from broker.policy.fleet import BUNDLE, FLEET, Subscription, read_subscription
from broker.policy.store import PolicyStore
from broker.signed_source import Document, fetch
from broker.trust.run import Run, run_command

MAX_BUNDLE: Final = 1024 * 1024
MAX_ROOT: Final = 512 * 1024  # what the framework itself takes
DAY: Final = 86_400.0
LOOK_SECONDS: Final = 900.0  # how often the clock is looked at; a laptop that slept is late by no more
_WANTED: Final = Document(BUNDLE, "the policy bundle", MAX_BUNDLE)
_log = logging.getLogger(__name__)


class Fleet:
    """At most one subscription of a home.  `changed` is told when another policy is in force."""

    def __init__(
        self, agreed: Agreed, folder: Path, policy: PolicyStore, audit: AuditLog, changed: Callable[[], None],
        environment: Mapping[str, str], run: Run = run_command,
    ) -> None:  # fmt: skip
        self._agreed = agreed
        self._folder = folder
        self._policy = policy
        self._audit = audit
        self._changed = changed
        self._environment = environment
        self._run = run
        self._turn = asyncio.Lock()
        self.problem = ""
        """Why the last pull brought nothing; empty when it did."""

    def current(self) -> Subscription | None:
        """Raises PolicyError: the document is not acceptable."""
        data = self._agreed.load(FLEET)
        return read_subscription(data) if data is not None else None

    async def subscribe(self, source: str, root: str) -> Subscription:
        """Believe who signs with the keys of `root`, and put what they publish in force.

        Raises:
            BulkheadError: there is nothing to be had there, or nothing good; what was before stays.
        """
        if len(root.encode()) > MAX_ROOT:
            raise ConfigError(f"a root has at most {MAX_ROOT} bytes", hint="give the root.json of the repository")
        async with self._turn:
            now = self.current()
            if now is None or (now.source, now.root) != (source, root):
                now = Subscription(source, root, 0, "")
            return await self._pull(now, "subscribed")

    async def refresh(self) -> Subscription | None:
        """Pull it anew.

        Raises:
            BulkheadError: as above.
        """
        async with self._turn:
            now = self.current()
            return await self._pull(now, "pulled") if now is not None else None

    async def leave(self) -> None:
        """Its rules hold no more, from the moment this is on record."""
        async with self._turn:
            now = self.current()
            if now is None:
                raise ConfigError("no policy bundle is subscribed to")
            await self._record("left", now.source, {"version": now.version})
            self._agreed.remove(FLEET)
            self._in_force()

    async def run(self, clock: Callable[[], float] = time.time) -> None:
        """Pull at once, then each day by the wall clock."""
        looked = float("-inf")
        while True:
            if not 0 <= clock() - looked < DAY:
                looked = clock()
                try:
                    await self.refresh()
                except BulkheadError as problem:
                    _log.warning("the policy bundle of before stays in force: %s", problem)
            await asyncio.sleep(LOOK_SECONDS)

    async def _pull(self, now: Subscription, how: str) -> Subscription:
        try:
            found = await self._fetched(now)
        except BulkheadError as problem:
            if str(problem) != self.problem:
                await self._record("refused", now.source, {"problem": str(problem)})
            self.problem = str(problem)
            raise
        self.problem = ""
        if found != now:
            body = {"version": found.version, "digest": found.policy.digest, "rules": len(found.policy.rules)}
            await self._record(how, found.source, body)
            self._agreed.write(FLEET, tomli_w.dumps({
                "source": found.source, "version": found.version, "root": found.root, "text": found.text,
            }).encode())  # fmt: skip
            self._in_force()
        return found

    async def _fetched(self, now: Subscription) -> Subscription:
        # What was seen of another source, or by another root, says nothing of this one.
        folder = self._folder / hashlib.sha256(f"{now.source}\n{now.root}".encode()).hexdigest()[:16]
        bootstrap = folder / "root.json"
        await asyncio.to_thread(write_private, bootstrap, now.root.encode())
        data, version = await fetch(now.source, _WANTED, folder, self._environment, bootstrap, self._run)
        if version < now.version:
            raise TrustError("the source of the policy bundle went back to an older one")
        try:
            found = replace(now, version=version, text=data.decode("utf-8"))
        except UnicodeDecodeError as cause:
            raise PolicyError("the policy bundle is not text in UTF-8") from cause
        _ = found.policy  # one that is not acceptable never comes into force
        return found

    def _in_force(self) -> None:
        self._policy.reload()
        self._changed()

    async def _record(self, what: str, source: str, body: dict[str, object]) -> None:
        fact = Fact("policy", "broker", f"fleet.{what}", source[:200], body=body, durable=True)
        await self._audit.append_durable(Origin(), fact)
