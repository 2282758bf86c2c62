"""From a line to a pin: nothing runs before the yes, and the yes covers exactly what was shown."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import pytest

from broker import pinning
from broker.errors import BulkheadError, ConfigError, DeskError, LaunchLineError, SandboxError, TrustError
from broker.model import Grants, ServerName, VerifiedArtifact
from broker.pinning import MAX_PROPOSALS, Pinner, Prepared, grants_of
from broker.protocol import catalog as catalogs
from broker.protocol.catalog import Catalog, View
from broker.sandbox.process import Instance
from broker.stocktaking import take_stock
from tests.house import Rooms, housed
from tests.peers import ToyServer
from tests.protocol.stage import LEGACY, MODERN, READ, WRITE
from tests.waiting import WITHIN, open_descriptors, turns, until

TRUE: Final = Path("/bin/true").read_bytes()
FALSE: Final = Path("/bin/false").read_bytes()
REFUSAL: Final = {"code": -32601, "message": "method not found"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def silent(_text: str) -> None:
    """Nobody hears of progress."""


class BothEras(ToyServer):
    """Shows the legacy view to whoever opens with `initialize`, the modern one to the others."""

    legacy: View = LEGACY
    modern: View = MODERN

    async def _serve(self) -> None:
        while True:
            try:
                message = await self.far.hear(within=3600.0)
            except EOFError:
                return
            self.heard.append(message)
            if message.get("method") == "initialize":
                self._stage.live = self.legacy
            elif message.get("method") == "server/discover":
                self._stage.live = self.modern
            reply = self._stage.from_view(message)
            if reply is not None:
                await self.far.say(reply)


@dataclass
class Bench:
    """A pinner in a house, and every server it started."""

    rooms: Rooms
    pinner: Pinner
    servers: list[ToyServer]
    spawned: list[tuple[VerifiedArtifact, Grants, Mapping[str, str]]]
    program: Path

    async def prepare(self, name: str = "tool", *argv: str) -> Prepared:
        words = argv or (str(self.program), "--loud")
        return await self.pinner.prepare(name, words, {"PATH": os.environ["PATH"]}, silent)

    async def agree(self, prepared: Prepared, grants: Grants = Grants(), **env: str) -> Any:  # noqa: B008
        async with asyncio.timeout(WITHIN):
            return await self.pinner.agree(prepared.id, prepared.digest, grants, env, silent)


@asynccontextmanager
async def benched(folder: Path, toy: Callable[[], ToyServer] = BothEras) -> AsyncIterator[Bench]:
    program = folder / "tool"
    program.write_bytes(TRUE)
    program.chmod(0o755)
    async with housed(folder) as rooms:
        servers: list[ToyServer] = []
        spawned: list[tuple[VerifiedArtifact, Grants, Mapping[str, str]]] = []

        async def spawn(artifact: VerifiedArtifact, grants: Grants, env: Mapping[str, str], _client: str) -> Instance:
            spawned.append((artifact, grants, env))
            servers.append(toy())
            return cast(Instance, servers[-1])

        house = rooms.house
        yield Bench(
            rooms,
            Pinner(house.registry, house.store, house.advisories, spawn, house.provisions),
            servers,
            spawned,
            program,
        )
        assert all(server.stopped.is_set() for server in servers)


# --- preparing ------------------------------------------------------------------------------------------------------


async def test_preparing_runs_nothing_and_registers_nothing(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare()
        assert prepared.artifact.kind == "binary"
        assert any("runs:" in line and "--loud" in line for line in prepared.lines)
        assert (bench.servers, bench.spawned) == ([], [])
        assert not bench.rooms.registry.has_server("tool")
        assert repr(prepared) == f"Prepared('tool', {prepared.digest[:12]})"


async def test_everything_shown_is_in_the_digest(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        digests = {
            (await bench.prepare()).digest,
            (await bench.prepare("other")).digest,
            (await bench.prepare("tool", str(bench.program))).digest,
            (await bench.prepare("tool", "env", "A=1", str(bench.program), "--loud")).digest,
        }
        bench.program.write_bytes(FALSE)
        digests.add((await bench.prepare()).digest)
        assert len(digests) == 5


@pytest.mark.parametrize(
    ("name", "argv", "problem"),
    [
        ("../x", ["/bin/true"], ConfigError),
        ("tool", [], LaunchLineError),
        ("tool", ["sh", "-c", "true; curl x"], LaunchLineError),
        ("tool", ["/nonexistent/program"], BulkheadError),
    ],
)
async def test_what_cannot_be_pinned_is_refused(
    tmp_path: Path, name: str, argv: list[str], problem: type[BulkheadError]
) -> None:
    async with benched(tmp_path) as bench:
        with pytest.raises(problem):
            await bench.pinner.prepare(name, argv, {}, silent)
        assert bench.pinner._prepared == {}


async def test_values_on_the_line_are_kept_apart_and_their_names_are_shown(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare("tool", "env", "TOKEN=hunter2", "ZONE=UTC", str(bench.program))
        assert "sets: TOKEN, ZONE (the values are kept apart)" in prepared.lines
        await bench.agree(prepared)
        assert bench.spawned[0][2] == {"TOKEN": "hunter2", "ZONE": "UTC"}
        registry = bench.rooms.registry
        assert registry.server("tool").argv == (str(bench.program),)
        server = registry.server("tool")
        assert (registry.env(server), dict(server.references)) == ({"ZONE": "UTC"}, {"TOKEN": "keychain:tool/TOKEN"})
        assert await bench.rooms.house.provisions.of(server) == {"TOKEN": "hunter2", "ZONE": "UTC"}
        for folder in ("servers", "pins"):
            for path in (bench.rooms.paths.config / folder).iterdir():
                assert b"hunter2" not in path.read_bytes()


# --- agreeing -------------------------------------------------------------------------------------------------------


async def test_a_yes_starts_the_server_once_a_view_and_pins_everything_it_offers(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        said: list[str] = []
        prepared = await bench.prepare()
        grants = Grants(read=(tmp_path,))
        async with asyncio.timeout(WITHIN):
            pin, notes = await bench.pinner.agree(prepared.id, prepared.digest, grants, {"ZONE": "UTC"}, said.append)
        catalog = bench.rooms.registry.catalog("tool")
        assert set(catalog.views) == {"legacy/full", "legacy/empty", "modern/full", "modern/empty"}
        assert pin.catalog == catalogs.digest(catalog)
        assert bench.rooms.registry.pin("tool") == pin
        server = bench.rooms.registry.server("tool")
        assert (server.argv, server.grants, server.env) == ((str(bench.program), "--loud"), grants, ("ZONE",))
        assert len(bench.servers) == 4  # servers lock themselves to the era of their first message
        assert {(artifact.server, seen) for artifact, seen, _ in bench.spawned} == {(ServerName("tool"), grants)}
        assert len(said) == 4
        assert notes == ()


async def test_only_the_proposal_that_was_shown_can_be_agreed_to_and_only_once(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare()
        for id, digest, code in ((prepared.id, "0" * 64, "replaced"), ("nothing", prepared.digest, "unknown")):
            with pytest.raises(DeskError) as refused:
                await bench.pinner.agree(id, digest, Grants(), {}, silent)
            assert refused.value.code == code
        assert bench.servers == []
        await bench.agree(prepared)
        with pytest.raises(DeskError, match="there is no such proposal any more"):
            await bench.agree(prepared)


async def test_a_proposal_of_yesterday_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare()
        later = time.monotonic() + pinning.PROPOSAL_SECONDS + 1
        monkeypatch.setattr("broker.pinning.time.monotonic", lambda: later)
        with pytest.raises(DeskError, match="there is no such proposal any more"):
            await bench.agree(prepared)


async def test_as_many_proposals_as_the_bound_can_all_be_agreed_to(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        first = await bench.prepare()
        bench.pinner._prepared |= {str(number): first for number in range(MAX_PROPOSALS - 1)}
        assert (await bench.agree(first))[0].server == "tool"
        await bench.prepare("one-more")
        await bench.prepare("and-another")
        assert len(bench.pinner._prepared) == MAX_PROPOSALS


async def test_a_byte_that_changed_after_it_was_shown_registers_nothing(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare()
        bench.program.write_bytes(FALSE)
        with pytest.raises(TrustError, match="was changed"):
            await bench.agree(prepared)
        assert bench.servers == []
        assert not bench.rooms.registry.has_server("tool")


async def test_a_server_that_cannot_be_started_registers_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        prepared = await bench.prepare()
        spawn = bench.pinner._spawn

        async def refuse(*_: object) -> Instance:
            raise SandboxError("the sandbox could not be built")

        bench.pinner._spawn = refuse
        with pytest.raises(SandboxError):
            await bench.agree(prepared)
        assert not bench.rooms.registry.has_server("tool")
        assert bench.rooms.registry.pin("tool") is None
        bench.pinner._spawn = spawn
        await bench.agree(prepared)
        assert bench.rooms.registry.has_server("tool")


async def test_pinning_anew_keeps_values_and_switches_nothing_on_again(tmp_path: Path) -> None:
    async with benched(tmp_path) as bench:
        registry = bench.rooms.registry
        await bench.agree(await bench.prepare(), TOKEN="hunter2")
        registry.set_enabled("tool", "write", False)
        registry.set_enabled("tool", "", False)
        await bench.agree(await bench.prepare())
        server = registry.server("tool")
        assert (server.disabled_tools, server.enabled) == (("write",), False)
        assert await bench.rooms.house.provisions.of(server) == {"TOKEN": "hunter2"}


def test_only_what_is_there_can_be_granted(tmp_path: Path) -> None:
    assert grants_of([str(tmp_path)], [], []) == Grants((tmp_path,), ())
    for path in ("relative", str(tmp_path / "missing"), ""):
        with pytest.raises(ConfigError, match="cannot be granted"):
            grants_of([], [path], [])


# --- taking stock ---------------------------------------------------------------------------------------------------


async def stock(toy: Callable[[], ToyServer], *, elsewhere: bool = False) -> tuple[Catalog, list[ToyServer]]:
    servers: list[ToyServer] = []

    async def start() -> ToyServer:
        servers.append(toy())
        return servers[-1]

    before = open_descriptors()
    try:
        async with asyncio.timeout(WITHIN):
            return await take_stock(ServerName("toy"), start, silent, elsewhere=elsewhere), servers
    finally:
        await turns()
        assert all(server.stopped.is_set() for server in servers)
        await until(lambda: open_descriptors() == before)


class Legacy(BothEras):
    modern = View("modern", refusal=REFUSAL)


class ModernAlone(BothEras):
    modern = replace(MODERN, opening={**(MODERN.opening or {}), "supportedVersions": ["2026-07-28"]})


class Neither(BothEras):
    legacy = View("legacy", refusal=REFUSAL)
    modern = View("modern", refusal=REFUSAL)


async def test_every_kind_of_client_is_asked_for_in_a_process_of_its_own() -> None:
    catalog, servers = await stock(BothEras)
    assert {name: len(view.tools) for name, view in catalog.views.items()} == {
        "legacy/full": 2, "legacy/empty": 2, "modern/full": 2, "modern/empty": 2,
    }  # fmt: skip
    assert [server.heard[0]["method"] for server in servers] == ["initialize"] * 2 + ["server/discover"] * 2


@pytest.mark.parametrize(
    ("toy", "openings", "spoken"),
    [
        (BothEras, ["server/discover"] * 2 + ["initialize"] * 2, {"legacy", "modern"}),
        (ModernAlone, ["server/discover"] * 2, {"modern"}),
        (Legacy, ["server/discover", "initialize", "initialize"], {"legacy"}),
    ],
)
async def test_a_server_elsewhere_is_opened_in_the_newer_era_and_in_the_older_if_it_says_so(
    toy: Callable[[], ToyServer], openings: list[str], spoken: set[str]
) -> None:
    catalog, servers = await stock(toy, elsewhere=True)
    assert [server.heard[0]["method"] for server in servers] == openings
    assert {view.era for view in catalog.views.values() if view.opening is not None} == spoken
    assert len(catalog.views) == 4


async def test_an_era_that_is_refused_is_not_asked_for_twice() -> None:
    catalog, servers = await stock(Legacy)
    assert catalog.views["modern/full"].refusal == catalog.views["modern/empty"].refusal is not None
    assert len(servers) == 3


async def test_a_server_that_speaks_neither_era_is_named() -> None:
    with pytest.raises(TrustError, match="toy speaks no protocol revision of MCP that is known here"):
        await stock(Neither)


class Broken(ToyServer):
    """Says one thing and ends."""

    line = b"not json\n"
    words = b"Traceback: no module named tool\n"

    async def _serve(self) -> None:
        os.write(self.complain, self.words)
        await turns(20)
        await self.far.say_bytes(self.line)
        self.far.stop_talking()


class TwoAnswers(Broken):
    line = json.dumps({"jsonrpc": "2.0", "id": "nobody asked", "result": {}}).encode() + b"\n"


@pytest.mark.parametrize("toy", [Broken, TwoAnswers])
async def test_a_server_that_breaks_the_rules_of_the_wire_is_told_with_its_last_words(toy: type[ToyServer]) -> None:
    with pytest.raises(TrustError, match="toy could not be asked what it offers") as refused:
        await stock(toy)
    assert "no module named tool" in str(refused.value)


class Flood(ToyServer):
    async def _serve(self) -> None:
        while True:
            await self.far.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}})


async def test_a_server_that_talks_without_end_is_given_up() -> None:
    with pytest.raises(TrustError, match="sent more than 10000 messages"):
        await stock(Flood)


async def test_a_server_that_says_nothing_is_waited_for_with_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.stocktaking.OPENING_SECONDS", 0.1)
    monkeypatch.setattr("broker.stocktaking.WHOLE_SECONDS", 0.1)
    with pytest.raises(TrustError, match="speaks no protocol revision"):
        await stock(lambda: ToyServer(serve=False))


async def test_stock_taking_that_is_cut_short_leaves_no_server() -> None:
    servers: list[ToyServer] = []

    async def start() -> ToyServer:
        servers.append(ToyServer(serve=False))
        return servers[-1]

    taking = asyncio.ensure_future(take_stock(ServerName("toy"), start, silent))
    await until(lambda: servers)
    await turns()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert servers[0].stopped.is_set()


def test_the_toy_views_offer_two_tools() -> None:
    assert (LEGACY.tools, replace(MODERN).tools) == ((WRITE, READ), (WRITE, READ))
