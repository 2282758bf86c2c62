"""What a daemon does with an instance, played by the stage; each scene returns what the test compares."""

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker.config import Waits
from broker.errors import SandboxError, TrustError
from broker.model import Fact, Limits, SandboxSpec, VerifiedArtifact
from broker.sandbox.launcher import Launcher
from broker.sandbox.plan import plan_probe
from broker.sandbox.process import Instance
from broker.sandbox.supervisor import Supervisor, readable

SLEEPER = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("READY", flush=True)
time.sleep(600)
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("READY", flush=True)
time.sleep(600)
"""
READER = """
import sys
print("READY", flush=True)
sys.stdin.read()
sys.exit(3)
"""


async def start(launcher: Launcher, program: str) -> Instance:
    instance = await launcher.spawn(plan_probe(("/usr/bin/python3", "-c", program)))
    while True:
        try:
            if b"READY" in os.read(instance.stdout, 100):
                return instance
        except BlockingIOError:
            await asyncio.sleep(0.005)


async def stop_asks_before_it_kills(launcher: Launcher, supervisor: Supervisor) -> Any:
    codes = []
    for program in (READER, POLITE, SLEEPER):
        instance = await start(launcher, program)
        await instance.stop()
        codes.append(await instance.wait())
    return codes


WRITER = """
import os, sys
os.write(1, b"ran")
"""


async def the_gate_waits_for_the_proof(launcher: Launcher, supervisor: Supervisor) -> Any:
    spec = plan_probe(("/usr/bin/python3", "-c", WRITER))
    before, asked, judged = descriptors(), asyncio.Event(), asyncio.Event()

    async def refuse() -> VerifiedArtifact:
        raise TrustError("changed")

    async def wait() -> VerifiedArtifact:
        asked.set()
        await judged.wait()
        return VerifiedArtifact(spec.server, "binary", "", spec.argv, ())

    try:
        await launcher.spawn(spec, proof=refuse)
    except TrustError as refused:
        said = str(refused)
    left = descriptors() - before
    starting = asyncio.create_task(launcher.spawn(spec, proof=wait))
    await asked.wait()
    early = starting.done()
    judged.set()
    instance = await starting
    streams = instance.take_streams()
    code = await instance.wait()
    told = os.read(streams.stdout, 100).decode()
    streams.close()
    await instance.stop()
    return [said, left, early, code, told]


ECHO = """
import sys
print("READY", flush=True)
for line in sys.stdin: print("heard", flush=True)
"""


async def held_still_it_says_nothing_and_then_goes_on(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, ECHO)
    if not instance.freezes:
        try:
            await instance.freeze()
        except SandboxError as refused:
            return [instance.kept_by, str(refused)]
    await instance.freeze()
    os.write(instance.stdin, b"word\n")
    silent = not await readable(instance.stdout, 0.3)
    instance.thaw()
    answered = await readable(instance.stdout, 60)
    await instance.freeze()
    await instance.stop()
    return [instance.kept_by, silent, answered, instance.alive]


async def stop_is_idempotent(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, READER)
    await asyncio.gather(instance.stop(), instance.stop())
    await instance.stop()
    instance.kill()
    return [instance.alive, await instance.wait()]


async def stop_goes_on_without_its_caller(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, SLEEPER)
    stopping = asyncio.create_task(instance.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    async with asyncio.timeout(20):
        return await instance.wait()


async def a_cancelled_launch_leaves_nothing(launcher: Launcher, supervisor: Supervisor) -> Any:
    before = descriptors()
    for number in range(40):
        spec = with_hosts("/bin/sleep", "600") if number % 2 else plan_probe(("/bin/sleep", "600"))
        launch = asyncio.create_task(launcher.spawn(spec, lambda fact: None))
        await asyncio.sleep(number * 0.001)
        launch.cancel()
        try:
            instance = await launch
        except asyncio.CancelledError:
            continue
        await instance.stop()
    limit = time.monotonic() + 10
    while (descriptors() != before or children(supervisor.pid)) and time.monotonic() < limit:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return [descriptors() - before, children(supervisor.pid)]


async def no_descriptor_is_kept(launcher: Launcher, supervisor: Supervisor) -> Any:
    await (await launcher.spawn(plan_probe(("/bin/true",)))).stop()
    before = descriptors()
    for _ in range(5):
        instance = await launcher.spawn(plan_probe(("/bin/true",)))
        await instance.wait()
        await instance.stop()
    return descriptors() - before


async def streams_are_taken_once(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, READER)
    streams = instance.take_streams()
    try:
        instance.take_streams()
    except SandboxError as refusal:
        said = str(refusal)
    os.close(streams.stdin)
    await instance.stop()
    blocking = [os.get_blocking(descriptor) for descriptor in (streams.stdout, streams.stderr)]
    os.close(streams.stdout)
    os.close(streams.stderr)
    return [said, blocking, await instance.wait()]


async def a_dead_supervisor_refuses(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, SLEEPER)
    os.kill(supervisor.pid, 9)
    code = await instance.wait()
    await instance.stop()
    said = []
    for _ in range(2):
        try:
            await launcher.spawn(plan_probe(("/bin/true",)))
        except SandboxError as refusal:
            said.append(str(refusal))
    return [code, supervisor.alive, said]


async def a_launch_ends_with_the_supervisor(launcher: Launcher, supervisor: Supervisor) -> Any:
    """What keeps its descriptors open here is a child of bwrap's, which the kernel does not end with it."""
    with tempfile.TemporaryDirectory() as folder:
        stuck, note = stuck_bwrap(Path(folder))
        patient = Launcher(supervisor, replace(launcher.tier, bwrap=stuck), Waits(launch=600))
        building = asyncio.ensure_future(patient.spawn(plan_probe(("/bin/true",))))
        while not os.path.exists(note):  # noqa: ASYNC110, ASYNC240 - the script can tell us in no other way
            await asyncio.sleep(0.005)
        os.kill(supervisor.pid, 9)
        try:
            await building
        except SandboxError as refusal:
            return str(refusal)
        finally:
            os.kill(int(read_text(note)), 9)


def stuck_bwrap(folder: Path) -> tuple[Path, Path]:
    """One that says nothing and leaves a child, and where it notes which."""
    stuck, note = folder / "bwrap", folder / "pid"
    stuck.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {note}.new; mv {note}.new {note}; wait\n")
    stuck.chmod(0o755)
    return stuck, note


def read_text(path: Path) -> str:
    return path.read_text()


async def every_link_is_a_user_of_its_own(launcher: Launcher, supervisor: Supervisor) -> Any:
    instances = [await start(launcher, READER) for _ in range(3)]
    users = [user_of(instance.server_pid) for instance in instances]
    for instance in instances:
        await instance.stop()
    return users


async def the_numbers_are_the_servers(launcher: Launcher, supervisor: Supervisor) -> Any:
    instance = await start(launcher, READER)
    parents = [instance.server_pid]
    while parents[-1] not in (instance.pid, 0):
        parents.append(int(of_process(parents[-1], "stat").rsplit(")", 1)[1].split()[1]))
    limits = of_process(instance.server_pid, "limits").splitlines()
    program = of_process(instance.server_pid, "cmdline").split("\0")[0]
    await instance.stop()
    processes = next(line for line in limits if line.startswith("Max processes")).split()[2]
    return [program, parents[-1] == instance.pid, int(processes) == Limits().processes]


async def the_supervisor_holds_nothing_of_the_daemons(launcher: Launcher, supervisor: Supervisor) -> Any:
    folder = Path(f"/proc/{supervisor.pid}/fd")
    try:
        return sorted({os.readlink(folder / name).partition(":")[0] for name in os.listdir(folder) if name != "2"})
    except PermissionError:
        return ["closed"]


async def a_network_without_its_filter_starts_nothing(launcher: Launcher, supervisor: Supervisor) -> Any:
    before, said = descriptors(), []
    try:
        await supervisor.listen(os.open("/dev/null", os.O_RDONLY), [80])
    except SandboxError as refusal:
        said.append(str(refusal))
    listen, supervisor.listen = supervisor.listen, no_way_in  # type: ignore[method-assign]
    try:
        await launcher.spawn(with_hosts("/bin/sleep", "600"), lambda fact: None)
    except SandboxError as refusal:
        said.append(str(refusal))
    supervisor.listen = listen  # type: ignore[method-assign]
    try:
        await launcher.spawn(with_hosts("/bin/sleep", "600"))
    except SandboxError as refusal:
        said.append(str(refusal))
    instance = await launcher.spawn(with_hosts("/bin/true"), lambda fact: None)
    code = await instance.wait()
    await instance.stop()
    limit = time.monotonic() + 10
    while (descriptors() != before or children(supervisor.pid)) and time.monotonic() < limit:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return [said, code, descriptors() - before, children(supervisor.pid)]


async def no_way_in(namespace: int, ports: Sequence[int]) -> list[socket.socket]:
    os.close(namespace)
    raise SandboxError("setns: Operation not permitted")


async def a_network_ends_with_its_server(launcher: Launcher, supervisor: Supervisor) -> Any:
    before, left = descriptors(), list[int]()
    for end in ("kill", "stop"):
        instance = await launcher.spawn(with_hosts("/bin/sleep", "600"), lambda fact: None)
        left.append(descriptors() > before + 8)
        if end == "kill":
            instance.kill()
            await instance.wait()
            left.append(await open_descriptors(before + 3) - before)  # its three streams: nobody has stopped it yet
        await instance.stop()
    return [left, await open_descriptors(before) - before]


async def open_descriptors(hoped: int) -> int:
    """How many there are, once they are as few as hoped or it took too long."""
    limit = time.monotonic() + 10
    while descriptors() != hoped and time.monotonic() < limit:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return descriptors()


LISTENER = """
import socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("READY", flush=True)
while True:
    one, _ = listening.accept()
    with one: one.sendall(b"inside heard " + one.recv(100))
"""


async def what_listens_inside_is_reached_here_while_it_lasts(launcher: Launcher, supervisor: Supervisor) -> Any:
    facts: list[str] = []
    over = asyncio.Event()

    def record(fact: Fact) -> None:
        facts.append(fact.method)
        if fact.method == "listened":
            over.set()

    instance, port = await listening(launcher, record)
    async with asyncio.timeout(60):
        while b"READY" not in (await ready_bytes(instance)):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a code")
        said = (await reader.read()).decode()
        writer.close()
        await over.wait()
    try:
        await listening(launcher, lambda fact: None, port)
        refused = ""
    except SandboxError as refusal:
        refused = str(refusal)
    await instance.stop()
    with socket.socket() as asking:
        shut = asking.connect_ex(("127.0.0.1", port)) != 0
    return [said, facts[:2], refused.replace(str(port), "PORT"), shut]


async def listening(launcher: Launcher, record: Callable[[Fact], None], port: int = 0) -> tuple[Instance, int]:
    """A server that listens at `port`, or at any that is free here."""
    for rest in range(20, -1, -1):
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = port or free.getsockname()[1]
        spec = replace(plan_probe(("/usr/bin/python3", "-c", LISTENER, str(chosen))), listen=(chosen,))
        try:
            return await launcher.spawn(spec, record), chosen
        except SandboxError:
            if port or not rest:
                raise
    raise AssertionError


async def ready_bytes(instance: Instance) -> bytes:
    await readable(instance.stdout, 60)
    return os.read(instance.stdout, 100)


async def a_page_is_asked_for_by_dropping_its_address(launcher: Launcher, supervisor: Supervisor) -> Any:
    asked: asyncio.Queue[str] = asyncio.Queue()
    program = ("/bin/sh", "-c", '/run/bulkhead/bin/xdg-open "https://far.test/a?b=c d"; cat')
    instance = await launcher.spawn(with_hosts(*program), lambda fact: None)
    assert instance.pages is not None
    path = instance.pages.path
    instance.pages.listen(asked.put_nowait)
    async with asyncio.timeout(60):
        address = await asked.get()
    await instance.stop()
    return [address, path.exists(), path.parent.exists()]


def with_hosts(*argv: str) -> SandboxSpec:
    return replace(plan_probe(argv), hosts=("far.test", "far.test:8443"))


def of_process(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def user_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


SCENES = {
    scene.__name__: scene
    for scene in (
        stop_asks_before_it_kills,
        held_still_it_says_nothing_and_then_goes_on,
        the_gate_waits_for_the_proof,
        stop_is_idempotent,
        stop_goes_on_without_its_caller,
        a_cancelled_launch_leaves_nothing,
        no_descriptor_is_kept,
        streams_are_taken_once,
        a_dead_supervisor_refuses,
        a_launch_ends_with_the_supervisor,
        every_link_is_a_user_of_its_own,
        the_numbers_are_the_servers,
        the_supervisor_holds_nothing_of_the_daemons,
        a_network_without_its_filter_starts_nothing,
        a_network_ends_with_its_server,
        what_listens_inside_is_reached_here_while_it_lasts,
        a_page_is_asked_for_by_dropping_its_address,
    )
}
