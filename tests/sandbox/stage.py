"""A stand-in for the daemon: starts what it is told in real sandboxes and says what came of it.

One JSON object on standard input, one line of JSON on standard output.  With `hold` it stays, with its sandboxes
running, until standard input ends.
"""

import asyncio
import errno
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from broker.config import Waits
from broker.errors import BulkheadError
from broker.model import Fact, Grants, ImageRoot, Injection, Inspection, Limits, Mount, ServerName, VerifiedArtifact
from broker.sandbox import landlock, seccomp
from broker.sandbox.delegation import find_groups
from broker.sandbox.eyes import Seen
from broker.sandbox.launcher import Launcher
from broker.sandbox.plan import plan
from broker.sandbox.process import Instance
from broker.sandbox.supervisor import Supervisor, readable
from broker.sandbox.tiers import Tier, probe
from tests.sandbox.scenes import SCENES
from tests.sandbox.surroundings import Surroundings
from tests.sandbox.world import World

MAX_OUTPUT = 1 << 20
LIMIT = 60.0


async def start(launcher: Launcher, job: dict[str, Any], world: World | None = None) -> Instance:
    artifact = VerifiedArtifact(
        server=ServerName(job.get("server", "toy")),
        kind="script",
        tree="",
        argv=tuple(job["argv"]),
        mounts=tuple(Mount(Path(source), Path(target)) for source, target in job.get("code", ())),
        env=job.get("needed", {}),
        cwd=Path(job["image"]["cwd"]) if "image" in job else None,
        image=image_root(job["image"]) if "image" in job else None,
    )
    spec = plan(
        artifact,
        Grants(
            paths(job.get("read", ())),
            paths(job.get("write", ())),
            tuple(job.get("hosts", ())),
            boxed=not job.get("unboxed"),
            unix_sockets=job.get("unix_sockets", False),
            inspection=inspection_of(job),
        ),
        Limits(**job.get("limits", {})),
        env=job.get("env", {}),
        home=Path(os.environ["HOME"]),
        protected=paths(job.get("protected", ())),
        realpath=(lambda path: path) if job.get("trusting") else Path.resolve,
        cwd=Path(job.get("cwd", "/home/mcp")),
        state=Path(job["state"]) if "state" in job else None,
    )
    if world is not None:
        return await launcher.spawn(spec, world.record)
    facts = job.setdefault("facts", [])

    def record(fact: Fact) -> None:
        facts.append({"kind": fact.kind, "method": fact.method, "limit": (fact.body or {}).get("limit")})

    seen = Seen({}) if job.get("watched") else None
    instance = await launcher.spawn(spec, None if spec.hosts else record, seen=seen)
    job["seen"] = seen.paths if seen is not None else {}
    job["refused"] = seen.calls if seen is not None else {}
    return instance


def image_root(image: dict[str, Any]) -> ImageRoot:
    places = tuple((Path(source), Path(target)) for source, target in image.get("places", ()))
    return ImageRoot(Path(image["source"]), paths(image.get("scratch", ())), places)


def inspection_of(job: dict[str, Any]) -> Inspection | None:
    wish = job.get("inspection")
    if wish is None:
        return None
    return Inspection(tuple(wish["rules"]), tuple(Injection(**secret) for secret in wish["secrets"]))


def paths(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(map(Path, names))


async def run(launcher: Launcher, job: dict[str, Any], world: World | None = None) -> dict[str, Any]:
    """Give it its input, take all it says, wait for its end."""
    try:
        instance = await start(launcher, job, world)
    except BulkheadError as refusal:
        return {"error": str(refusal), "hint": refusal.hint}
    streams = instance.take_streams()
    feeding = asyncio.create_task(feed(streams.stdin, job.get("input", "").encode()))
    reading = [asyncio.create_task(drain(descriptor)) for descriptor in (streams.stdout, streams.stderr)]
    async with asyncio.timeout(LIMIT):
        output, errors = await asyncio.gather(*reading)
        code = await instance.wait()
    await feeding
    await instance.stop()
    for descriptor in (streams.stdout, streams.stderr):
        os.close(descriptor)
    return {
        "code": code,
        "out": output.decode(errors="replace"),
        "err": errors.decode(errors="replace"),
        "tier": instance.tier,
        "reason": launcher.tier.reason,
        "kept_by": instance.kept_by,
        "warnings": instance.warnings,
        "ending": instance.ending,
        "facts": job.get("facts", []),
        "seen": job.get("seen", {}),
        "refused": job.get("refused", {}),
    }


async def feed(descriptor: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    try:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_writer(descriptor, ready.set_result, None)
                try:
                    await ready
                finally:
                    loop.remove_writer(descriptor)
    except BrokenPipeError:
        pass
    finally:
        os.close(descriptor)


async def drain(descriptor: int, until: bytes | None = None) -> bytes:
    data = b""
    while len(data) < MAX_OUTPUT:
        await readable(descriptor, LIMIT)
        part = os.read(descriptor, 65536)
        data += part
        if not part or (until is not None and until in data):
            break
    return data


async def hold(launcher: Launcher, supervisor: Supervisor, jobs: list[dict[str, Any]]) -> None:
    instances = []
    for job in jobs:
        instance = await start(launcher, job)
        await drain(instance.stdout, until=b"READY")
        instances.append(instance)
        if job.get("frozen") and instance.freezes:
            await instance.freeze()
    say(
        {"supervisor": supervisor.pid, "outer": [i.pid for i in instances], "server": [i.server_pid for i in instances]}
    )
    while await readable(0, 600) and os.read(0, 4096):
        pass
    codes = [await instance.wait() for instance in instances if not instance.alive]
    for instance in instances:
        await instance.stop()
    say({"ended_before": codes})


async def beside(launcher: Launcher, neighbours: list[dict[str, Any]], attacker: dict[str, Any]) -> None:
    """Run one sandbox while others live, tell it all about them, and see whether they lived through it."""
    instances = []
    for job in neighbours:
        instances.append(instance := await start(launcher, job))
        await drain(instance.stdout, until=b"READY")
    pids = [pid for instance in instances for pid in (instance.server_pid, instance.pid)]
    attacker["input"] = json.dumps({"pids": pids, "namespaces": namespaces(pids[0]), "bare": False})
    result = await run(launcher, attacker)
    alive = [instance.alive for instance in instances]
    for instance in instances:
        await instance.stop()
    say({"result": result, "alive": alive})


def namespaces(pid: int) -> dict[str, int]:
    return {kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in ("ipc", "mnt", "net", "pid", "uts")}


async def bare_beside(module: str) -> None:
    """The same without a sandbox around either."""
    pipe = asyncio.subprocess.PIPE
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "neighbour", stdin=pipe, stdout=pipe, start_new_session=True
    )
    assert one.stdin is not None and one.stdout is not None
    await one.stdout.readuntil(b"READY")
    result = await bare(module, json.dumps({"pids": [one.pid], "namespaces": namespaces(one.pid)}))
    one.stdin.close()
    await one.wait()
    say({"result": result, "alive": [True]})


async def race(launcher: Launcher, supervisor: Supervisor, job: dict[str, Any]) -> None:
    """Say that a launch begins, and launch: somebody outside kills us meanwhile."""
    say({"supervisor": supervisor.pid})
    instance = await start(launcher, job)
    await instance.wait()


async def bare(module: str, text: str, around: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the program without a sandbox of ours, to know what ours is good for; `around` may be another's."""
    text = json.dumps({**json.loads(text), "bare": True})
    process = await asyncio.create_subprocess_exec(
        *(around or (sys.executable, "-m", module)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        close_fds=False,
    )
    async with asyncio.timeout(LIMIT):
        output, _ = await process.communicate(text.encode())
    return {"code": process.returncode, "out": output.decode()}


def refuse_calls(names: list[str]) -> None:
    """Be on a machine whose kernel refuses these calls; those of clone only for namespaces."""
    machine = platform.machine()
    program = [seccomp._load(seccomp.OFFSET_NUMBER)]
    no = seccomp._refusal(errno.EPERM)
    for name in names:
        body = [no]
        if name == "clone":
            looked_into = seccomp._looked_into(seccomp.Answers(no, no, no), unix_sockets=False)
            body = [*looked_into["clone"], seccomp._answer(seccomp.ALLOW)]
        program += seccomp._when_called(machine, name, body)
    landlock.load_filter(b"".join([*program, seccomp._answer(seccomp.ALLOW)]))


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def main(supervisor: Supervisor, wish: dict[str, Any]) -> None:
    tier, waits = await asyncio.to_thread(probe), Waits(**wish.get("waits", {}))
    if wish.get("settle"):
        tier = await Launcher(supervisor, tier).settle()
    if "world" in wish:
        await in_a_world(supervisor, tier, wish)
        return
    if "real_network" in wish:
        await on_the_real_network(supervisor, tier, wish)
        return
    groups = await asyncio.to_thread(find_groups, (os.getpid(), supervisor.pid))
    try:
        await as_wished(supervisor, Launcher(supervisor, tier, waits, groups=groups), wish)
    finally:
        groups.close()


async def as_wished(supervisor: Supervisor, launcher: Launcher, wish: dict[str, Any]) -> None:
    if "scene" in wish:
        say({"scene": await SCENES[wish["scene"]](launcher, supervisor)})
    elif "beside" in wish:
        await beside(launcher, wish["beside"], wish["attacker"])
    elif "bare_beside" in wish:
        await bare_beside(wish["bare_beside"])
    elif "bare" in wish:
        say(
            {"results": [await bare(wish["bare"], job["input"], tuple(wish.get("around", ()))) for job in wish["jobs"]]}
        )
    elif "race" in wish:
        await race(launcher, supervisor, wish["race"])
    elif "hold" in wish:
        await hold(launcher, supervisor, wish["hold"])
    elif "together" in wish:
        results = await asyncio.gather(*(run(launcher, job) for job in wish["together"]))
        say({"results": results})
    else:
        say({"results": [await run(launcher, job) for job in wish["jobs"]]})
    await supervisor.stop()


async def in_a_world(supervisor: Supervisor, tier: Tier, wish: dict[str, Any]) -> None:
    """Run one job after another in a world of their own; the answer tells what went out."""
    results = []
    for job in wish["jobs"]:
        world = await World(**wish["world"]).start()
        result = await run(Launcher(supervisor, tier, outside=world.outside), job, world)
        results.append({**result, **world.told()})
        await world.close()
    say({"results": results})
    await supervisor.stop()


async def on_the_real_network(supervisor: Supervisor, tier: Tier, wish: dict[str, Any]) -> None:
    """Run the jobs with the lookups and connections of whatever network namespace this process is in."""
    world, launcher = World("", "", ""), Launcher(supervisor, tier)
    say({"results": [{**await run(launcher, job, world), **world.told()} for job in wish["jobs"]]})
    await supervisor.stop()


def run_plainly(command: list[str]) -> None:
    """Start a program of the test's own with a gate that stays shut; name it; stay until standard input ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        gate = theirs.fileno()
        process = subprocess.Popen(["/bin/sh", "-c", f'exec 3<&{gate} "$@"', "-", *command], pass_fds=(gate,))
        say({"pid": process.pid})
        sys.stdin.read()
        process.wait()


if __name__ == "__main__":
    wish = json.loads(sys.stdin.readline())
    if "command" in wish:
        run_plainly(wish["command"])
        sys.exit()
    if "refused" in wish:
        refuse_calls(wish["refused"])
    surroundings = None
    if wish.get("surroundings"):
        surroundings = Surroundings(Path(wish["surroundings"]))
        for job in wish["jobs"]:
            job["input"] = json.dumps(surroundings.facts)
    root = os.open("/", os.O_RDONLY)  # something of the daemon's that nobody else may hold
    supervisor = Supervisor.start()
    os.close(root)
    if surroundings is not None:
        surroundings.answer()
    asyncio.run(main(supervisor, wish))
    if surroundings is not None:
        surroundings.close()
