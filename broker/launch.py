"""Start the server of one link: its sandbox is built while its bytes are read, and opened when both are done.

Nothing of a server runs before every byte was compared with the pin and the launch is on the disk: the gate of the
sandbox waits for a `Proof`, which only the store can give.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from broker.boxes import box_table
from broker.errors import BulkheadError, SandboxError
from broker.flaws import agree_to_flaws
from broker.house import House
from broker.joins import agree_to_joins
from broker.model import ClientName, Fact, SessionId, VerifiedArtifact
from broker.network import tables
from broker.outflow import Outflow
from broker.pages import Pages
from broker.pin import Pin
from broker.registry import Server
from broker.sandbox.process import Instance
from broker.trust import pins


class Launch:
    """What a link starts, as often as it must.  `end` ends the link."""

    def __init__(
        self,
        house: House,
        pin: Pin,
        record: Callable[[Fact], None],
        record_durably: Callable[[Fact], Awaitable[None]],
        end: Callable[[str], None],
        client: ClientName,
        session: SessionId,
        let_in: Callable[[], frozenset[int]],
    ) -> None:
        """`let_in`: what of other servers' texts a person let into this one."""
        self._outflow = Outflow(house, client, session, pin.server, let_in, record_durably)
        self._pages = Pages(house, client, session, pin.server, record, record_durably)
        self._client = client
        self._session = session
        self.instance: Instance | None = None
        self._house = house
        self._pin = pin
        self._record = record
        self._record_durably = record_durably
        self._end = end
        self._hashing: asyncio.Task[None] | None = None

    async def start(self, server: Server) -> Instance:
        """Verified, and recorded on the disk, before the server's first instruction."""
        self._house.advisories.refuse_malware(server.name, self._pin.artifact)
        await agree_to_flaws(self._house, self._pin)
        artifact = self._house.store.named(self._pin)
        joins = await agree_to_joins(self._house, self._client, self._session, server, self._record_durably)
        env = await self._house.provisions.of(server)
        grants = server.grants
        fact = Fact(
            "launch",
            "broker",
            target=server.name,
            digest=artifact.tree,
            body={
                "argv": list(artifact.argv),
                "tree": artifact.tree,
                "read": [str(path) for path in grants.read],
                "write": [str(path) for path in grants.write],
                "hosts": list(grants.hosts),
                "network": tables(grants.inspection),
                "variables": sorted(env),
                "references": dict(server.references),
                **box_table(grants),
                "joins": list(joins),
                "development": pins.development(self._pin.artifact),
            },
            durable=True,
        )
        moment = time.time()
        reading = asyncio.create_task(self._verified(self._house.waits.verify))

        async def proof() -> VerifiedArtifact:
            verified = await reading
            await self._record_durably(fact)
            return verified

        try:
            instance = await self._house.spawn(
                *(artifact, grants, env, self._record, self._session, proof, self._outflow, self._client)
            )
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # the gate has raised it, or the sandbox failed before its gate
        self.instance = instance
        if instance.pages is not None:
            instance.pages.listen(self._pages)
        started = {"pid": instance.pid, "limits": instance.kept_by, "warnings": list(instance.warnings)}
        try:
            self._record(Fact("launch", "broker", method="started", target=server.name, body=started))
        except BulkheadError:
            await instance.stop()  # nobody else knows of it
            raise
        self._hashing = asyncio.create_task(self._look_again(moment))
        return instance

    def server_changed(self, server: Server) -> None:
        """What was granted to it since it started it has at once, as far as its doors lead there."""
        if self.instance is not None:
            self.instance.regrant(server.grants.hosts)

    def close(self) -> None:
        """The link is over: nobody needs to know any more."""
        self._pages.close()
        if self._hashing is not None:
            self._hashing.cancel()

    async def _verified(self, seconds: float, *, whole: bool = False) -> VerifiedArtifact:
        """What the pin names, read again; a disk that hangs ends this launch and no other."""
        try:
            async with asyncio.timeout(seconds):
                return await self._house.store.verified(self._pin, whole=whole)
        except TimeoutError as cause:
            raise SandboxError(
                f"the files of {self._pin.server} could not be read and hashed within {seconds:.0f} s",
                hint="look at the disk that holds the store, then call again",
            ) from cause

    async def _look_again(self, since: float) -> None:
        """Hash whole, beside the start, what was only glanced at, or changed while it was hashed and mounted."""
        store, again = self._house.store, True
        with contextlib.suppress(TimeoutError):  # a disk that hangs is hashed as well, and that ends the link
            async with asyncio.timeout(self._house.waits.verify):
                again = store.owes_whole(self._pin) or await store.touched(self._pin, since)
        if again:
            await self._hash_whole()

    async def _hash_whole(self) -> None:
        """What was only looked at before the start is hashed beside it; a difference ends the server."""
        try:
            await self._verified(self._house.waits.verify_whole, whole=True)
        except Exception as problem:  # noqa: BLE001 - whatever kept it from being hashed, nobody knows what runs
            reason = str(problem) if isinstance(problem, BulkheadError) else f"{self._pin.server} could not be hashed"
            self._end(reason)
            self._record(Fact("violation", "broker", "store", self._pin.server, body={"problem": reason}))
