"""A hostile npm registry and a hostile folder, met by the real npm and the real node; one download serves many cases.

What a closure holds beside the server is taken in, so that the store may hold it; whether it is *run* is asked after.
"""

import asyncio
import copy
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from broker.errors import TrustError
from broker.model import ServerName
from broker.pin import Pin
from broker.trust.launch_spec import parse
from broker.trust.npm_lock import Machine, read_lock
from broker.trust.npm_package import find_entry
from broker.trust.npm_settings import origin
from broker.trust.resolve import resolve
from broker.trust.run import Command, Finished, run_command
from broker.trust.store import Store
from tests.fakes.launchers import node_environment
from tests.trust.archives import member, package_files, tarball
from tests.trust.attack_table import catches
from tests.trust.registries import NpmRegistry

ASKS: Final = """#!/usr/bin/env node
console.log('the pinned one')
try { require('not-there') } catch (e) { console.log('nothing else') }
"""
PROGRAMS: Final[Mapping[str, tuple[dict[str, Any], dict[str, str], str]]] = {
    "C05 climbs out of its package": ({"bin": "../../../../bin/sh"}, {}, "lies outside the package"),
    "C06 is not in its package": ({"bin": "gone.js"}, {}, "is not in the package"),
    "C07 could be one of two": ({"bin": {"x": "index.js", "y": "b.js"}}, {"b.js": ""}, "it has: x, y"),
    "C08 is for a shell": ({"bin": "run.sh"}, {"run.sh": "#!/bin/sh\n"}, "something else than node"),
}


@dataclass(frozen=True)
class Closure:
    """What the real npm resolved, as it wrote it down, and the pin made of it."""

    store: Store
    pin: Pin
    lock: Mapping[str, Any]
    registry: str

    @property
    def object(self) -> Path:
        return self.store.object(self.pin.artifact.tree)


@pytest.fixture(scope="module")
def closure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closure]:
    folder = tmp_path_factory.mktemp("closure")
    locks: list[bytes] = []

    async def watched(command: Command) -> Finished:
        done = await run_command(command)
        if "install" in command.argv:
            locks.append((command.cwd / "package-lock.json").read_bytes())
        return done

    with NpmRegistry() as registry:
        names = {case: case[:3].lower() for case in PROGRAMS}
        for case, (manifest, files, _) in PROGRAMS.items():
            registry.publish(names[case], "1.0.0", manifest, files=files)
        needed = {"dependencies": dict.fromkeys(names.values(), "1.0.0")}
        registry.publish("server", "1.0.0", needed, files={"index.js": ASKS})
        store, request = Store(folder / "store"), parse(["npx", "server@1.0.0"], exists=os.path.exists)
        environment = node_environment(registry.environment(folder / "user"))
        artifact = asyncio.run(
            resolve(request, store=store, environment=environment, progress=lambda said: None, run=watched)
        )
        (lock,) = locks
        yield Closure(store, Pin(ServerName("s"), "now", request, artifact), json.loads(lock), registry.url)


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_downloaded_package_is_not_run_whose_program(case: str, closure: Closure) -> None:
    with pytest.raises(TrustError, match=PROGRAMS[case][2]):
        find_entry(closure.object, [case[:3].lower()], None)


EDITED: Final[Mapping[str, tuple[dict[str, object], str, str]]] = {
    "C15 without a hash": ({"integrity": None}, "node_modules/c05", "no SHA-512"),
    "C16 with a weak hash only": ({"integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, "node_modules/c05", "no SHA-512"),
    "C17 with another host": ({"resolved": "https://evil.test/c05.tgz"}, "node_modules/c05", "not a registry you"),
    "C18 with a place outside": ({}, "../c05", "outside the tree"),
    "C19 with a link": ({"link": True, "resolved": "../c05"}, "node_modules/c05", "is a link"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITED)
def test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand(case: str, closure: Closure) -> None:
    changes, place, reason = EDITED[case]
    here = Machine("linux", "x64", "glibc")
    origins = frozenset({origin(closure.registry)})
    assert len(read_lock(closure.lock, origins, here)[0]) == len(PROGRAMS) + 1
    lock = copy.deepcopy(dict(closure.lock))
    entry = lock["packages"].pop("node_modules/c05")
    lock["packages"][place] = {key: value for key, value in {**entry, **changes}.items() if value is not None}
    with pytest.raises(TrustError, match=reason):
        read_lock(lock, origins, here)


async def started(closure: Closure, cwd: Path, home: Path) -> str:
    """Run what the pin says, with the store object where the sandbox would mount it."""
    found = await closure.store.verified(closure.pin)
    argv = [word.replace("/opt/bulkhead/package", str(closure.object)) for word in found.argv]
    with anyio.fail_after(60):
        return (await anyio.run_process(argv, cwd=cwd, env={"HOME": str(home)})).stdout.decode()


@catches("C20")
async def test_a_folder_with_a_package_of_the_same_name_and_version_runs_nothing(
    closure: Closure, tmp_path: Path
) -> None:
    """npx itself would run the program of the folder it is started in."""
    planted = tmp_path / "node_modules/server"
    planted.mkdir(parents=True)
    (planted / "package.json").write_text(json.dumps({"name": "server", "version": "1.0.0", "bin": "index.js"}))
    (planted / "index.js").write_text("console.log('planted')")
    (tmp_path / ".npmrc").write_text("registry=http://127.0.0.1:9/\n")
    assert await started(closure, tmp_path, tmp_path) == "the pinned one\nnothing else\n"


@catches("C21")
async def test_a_module_that_is_not_there_is_not_taken_from_the_users_home(closure: Closure, tmp_path: Path) -> None:
    planted = tmp_path / "user/.node_modules/not-there"
    planted.mkdir(parents=True)
    (planted / "index.js").write_text("console.log('planted')")
    assert "planted" in await started(closure, tmp_path, tmp_path / "user")  # so node is; a sandbox has its own home
    assert await started(closure, tmp_path, tmp_path / "private") == "the pinned one\nnothing else\n"


@catches("A16")
async def test_the_list_of_packages_inside_an_object_cannot_be_edited_unnoticed(closure: Closure) -> None:
    listed = closure.object / "closure.json"
    text = listed.read_bytes()
    try:
        listed.chmod(0o644)
        listed.write_bytes(text.replace(b"1.0.0", b"1.0.1"))
        listed.chmod(0o444)
        with pytest.raises(TrustError, match=r"closure\.json was changed"):
            await closure.store.verified(closure.pin)
    finally:
        listed.chmod(0o644)
        listed.write_bytes(text)
        listed.chmod(0o444)
    await closure.store.verified(closure.pin)


# --- a registry that lies about one package ---


async def refusal(registry: NpmRegistry, folder: Path, npmrc: str = "", said: Any = lambda said: None) -> TrustError:
    """What somebody is told who asks for `server`; nothing is left in the store."""
    store = Store(folder / "store")
    environment = node_environment(registry.environment(folder / "user", npmrc))
    request = parse(["npx", "server"], exists=os.path.exists)
    with pytest.raises(TrustError) as refused:
        await resolve(request, store=store, environment=environment, progress=said)
    assert [os.listdir(store.root / each) for each in ("objects", "staging", "listings")] == [[], [], []]
    return refused.value


ELSEWHERE: Final = {
    "C10 a repository": "git+https://127.0.0.1:9/x.git",
    "C11 a tarball's address": "http://127.0.0.1:9/x.tgz",
    "C12 a folder": "file:../../../etc",
}


@pytest.mark.parametrize("case", ELSEWHERE)
async def test_a_dependency_deep_in_the_tree_is_refused_that_is(
    case: str, npm_registry: NpmRegistry, tmp_path: Path
) -> None:
    npm_registry.publish("server", "1.0.0", {"dependencies": {"lib": "1.0.0"}})
    npm_registry.publish("lib", "1.0.0", {"dependencies": {"evil": ELSEWHERE[case]}})
    assert "not from a registry" in str(await refusal(npm_registry, tmp_path))


@catches("C09")
async def test_a_tarball_that_calls_itself_otherwise_is_refused(npm_registry: NpmRegistry, tmp_path: Path) -> None:
    npm_registry.publish("server", "1.0.0", data=tarball(package_files("other", "1.0.0")))
    assert "server 1.0.0: its tarball calls itself 'other'" in str(await refusal(npm_registry, tmp_path))


BUNDLED: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "H07 that npm follows": ({"bundleDependencies": ["lib"], "dependencies": {"lib": "1.0.0"}}, "not from a registry"),
    "H07 that npm leaves out without a word": ({}, "holds a link: 'package/node_modules/lib'"),
}


@pytest.mark.parametrize("case", BUNDLED)
async def test_a_package_is_refused_that_brings_a_link_for_a_dependency(
    case: str, npm_registry: NpmRegistry, tmp_path: Path
) -> None:
    manifest, reason = BUNDLED[case]
    link = member("package/node_modules/lib", kind=tarfile.SYMTYPE, link="../../../../../etc")
    data = tarball(package_files("server", "1.0.0", manifest), [link])
    npm_registry.publish("server", "1.0.0", manifest, data=data)
    assert reason in str(await refusal(npm_registry, tmp_path))


@catches("H06")
async def test_a_registry_that_tells_npm_one_thing_and_everybody_else_another_is_refused(
    npm_registry: NpmRegistry, tmp_path: Path
) -> None:
    npm_registry.publish("server", "1.0.0")

    def turn(said: str) -> None:
        if "who published" in said:
            npm_registry.publish("server", "1.0.0", files={"more.js": ""})

    said = str(await refusal(npm_registry, tmp_path, said=turn))
    assert "server: the registry's signature does not hold: the registry names other bytes to us" in said
