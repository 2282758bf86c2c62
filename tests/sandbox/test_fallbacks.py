"""Machines that refuse something: what is left there, that it is said, and that it holds."""

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest

from broker.model import Limits, Mount, SandboxSpec, ServerName
from broker.sandbox import landlock
from broker.sandbox.unboxed import in_place
from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.test_cgroups import Held, all_gone, gone
from tests.sandbox.test_egress import make_certificate

NO_NAMESPACES = ["unshare", "clone"]
needs_landlock = pytest.mark.skipif(landlock.abi() < landlock.LEAST_ABI, reason="this kernel's Landlock is too old")


def python(text: str) -> list[str]:
    return [PYTHON_INSIDE, "-c", textwrap.dedent(text)]


WAYS = python("""
    import json, os, socket, urllib.request
    def tried(what):
        try: return what()
        except Exception as e: return type(e).__name__ + ": " + str(e)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    print(json.dumps([
        tried(lambda: urllib.request.urlopen("http://allowed.test/x", timeout=20).read().decode()),
        tried(lambda: urllib.request.urlopen("http://other.test/x", timeout=20).status),
        tried(lambda: direct.open("http://allowed.test/x", timeout=20).status),
        tried(lambda: socket.socket(socket.AF_UNIX)),
    ]))
""")


@pytest.mark.sandbox
def test_where_no_network_can_be_entered_the_proxy_is_made_from_inside_and_is_the_only_way(yard: Yard) -> None:
    place = make_certificate(yard.path)
    wish = {
        "refused": ["setns"],
        "settle": True,
        "world": place,
        "jobs": [{"argv": WAYS, "hosts": ["allowed.test"]}, {"argv": ["/bin/true"]}],
    }
    reached, without = yard.ask(wish)["results"]
    assert "error" not in reached, reached
    through, refused, direct, unix = json.loads(reached["out"])
    assert "allowed.test" in through, reached
    assert "403" in refused and "urlopen error" in direct, reached["out"]
    assert "Address family not supported" in unix
    assert reached["tier"] == without["tier"] == ("A'" if yard.who == "user" else "A'-root")
    assert "only programs that ask the proxy" in reached["reason"]


@pytest.mark.sandbox
def test_where_it_can_be_entered_nothing_changes(yard: Yard) -> None:
    (result,) = yard.ask({"settle": True, "jobs": [{"argv": ["/bin/true"]}]})["results"]
    assert result["tier"] == ("A" if yard.who == "user" else "A-root")


HELD = python("""
    import ctypes, json, os, signal, socket, subprocess, sys
    facts = json.loads(sys.stdin.read())
    def tried(what):
        try: what()
        except OSError as e: return e.errno
        return 0
    def write(path):
        with open(path, "w") as f: f.write("x")
    libc = ctypes.CDLL(None, use_errno=True)
    print(json.dumps({
        "own file": tried(lambda: write(os.environ["HOME"] + "/x")),
        "granted write": tried(lambda: write(facts["write"] + "/x")),
        "granted read": tried(lambda: open(facts["read"]).read()),
        "child": subprocess.run(["/bin/true"]).returncode,
        "thread": __import__("concurrent.futures").futures.ThreadPoolExecutor().submit(abs, -1).result() - 1,
        "no: write to what is for reading": tried(lambda: write(facts["read"])),
        "no: read elsewhere": tried(lambda: open(facts["secret"]).read()),
        "no: write elsewhere": tried(lambda: write(facts["secret"])),
        "no: list elsewhere": tried(lambda: os.listdir(os.path.dirname(facts["secret"]))),
        "no: chmod elsewhere": tried(lambda: os.chmod(facts["secret"], 0o777)),
        "no: utime elsewhere": tried(lambda: os.utime(facts["secret"])),
        "no: signal the daemon": tried(lambda: os.kill(os.getppid(), 0)),
        "no: environment of the daemon": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
        "no: internet socket": tried(lambda: socket.socket()),
        "no: datagram socket": tried(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
        "no: unix socket": tried(lambda: socket.socket(socket.AF_UNIX)),
        "no: netlink socket": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "no: shared memory": int(libc.shmget(0, 4096, 0o1600) < 0),
        "no: trace": int(libc.ptrace(0, 0, 0, 0) < 0),
    }))
""")


@pytest.fixture
def no_namespaces(user_yard: Yard) -> dict[str, Any]:
    """One run on a machine where nobody may make namespaces."""
    secret = user_yard.file("../home/secret", "secret", 0o600)
    job: dict[str, Any] = {
        "argv": HELD,
        "read": [str(user_yard.file("read/file", "read"))],
        "write": [str(user_yard.folder("write"))],
    }
    job["input"] = json.dumps({"read": job["read"][0], "write": job["write"][0], "secret": str(secret.resolve())})
    wish = {"refused": NO_NAMESPACES, "settle": True, "jobs": [job, {"argv": ["/bin/true"], "hosts": ["a.example"]}]}
    done, with_hosts = user_yard.ask(wish)["results"]
    return {**done, "with hosts": with_hosts, "secret": secret.read_text()}


@pytest.mark.sandbox
@needs_landlock
def test_without_namespaces_landlock_holds_a_server_to_its_grants_and_gives_it_no_network(
    no_namespaces: dict[str, Any],
) -> None:
    assert "error" not in no_namespaces, no_namespaces
    assert (no_namespaces["tier"], no_namespaces["code"], no_namespaces["secret"]) == ("B", 0, "secret"), no_namespaces
    found = json.loads(no_namespaces["out"])
    assert {name for name, number in found.items() if number == 0} == {
        name for name in found if not name.startswith("no: ")
    }, found
    assert "Landlock stands in" in no_namespaces["reason"] and "permi" in no_namespaces["reason"]
    assert any("behind Landlock only" in warning for warning in no_namespaces["warnings"])
    assert "cannot filter a network" in no_namespaces["with hosts"]["error"]
    assert no_namespaces["with hosts"]["hint"]


@pytest.mark.sandbox
@needs_landlock
def test_without_bwrap_an_ordinary_user_has_landlock(user_yard: Yard) -> None:
    wish = {"jobs": [{"argv": ["/bin/sh", "-c", "echo $HOME; setsid sleep 600 & echo done"]}]}
    (result,) = user_yard.ask(wish, PATH="/nowhere")["results"]
    assert result["tier"] == "B" and "bubblewrap is not installed" in result["reason"], result
    home, done = result["out"].split()
    assert done == "done" and not Path(home).exists()


@pytest.mark.sandbox
def test_as_root_without_namespaces_no_server_is_started(root_yard: Yard) -> None:
    wish = {"refused": NO_NAMESPACES, "settle": True, "jobs": [{"argv": ["/bin/true"]}]}
    (result,) = root_yard.ask(wish)["results"]
    assert "bubblewrap cannot build a sandbox here" in result["error"]
    assert "does not hold what runs as root" in result["error"] and result["hint"]


@pytest.mark.sandbox
def test_only_what_a_person_took_out_of_the_sandbox_by_name_runs_without_one(yard: Yard) -> None:
    job = {"argv": ["/bin/sh", "-c", "echo $HOME; ls /"], "unboxed": True, "hosts": ["a.example"]}
    (free,) = yard.ask({"jobs": [job]}, PATH="/nowhere")["results"]
    assert free["tier"] == "off", free
    assert free["out"].split()[0] == str(yard.home) and "home" in free["out"].split()
    assert any("without a sandbox, as you chose" in warning for warning in free["warnings"])


def test_paths_of_the_sandbox_are_named_by_their_real_places() -> None:
    code, home = Path("/store/tree"), Path("/boxes/1")
    spec = SandboxSpec(
        server=ServerName("notes"),
        argv=("/usr/bin/node", "/opt/app/index.js", "--config=/opt/app", "/opt/application"),
        env={"HOME": "/home/mcp", "PYTHONPATH": "/opt/app/lib:/usr/lib", "HTTP_PROXY": "http://127.0.0.1:3128"},
        cwd=Path("/opt/app"),
        mounts=(Mount(code, Path("/opt/app")), Mount(Path("/data"), Path("/data"), writable=True)),
        limits=Limits(),
    )
    here = in_place(spec, home)
    assert here.argv == ("/usr/bin/node", "/store/tree/index.js", "--config=/opt/app", "/opt/application")
    assert dict(here.env) == {"HOME": "/boxes/1", "TMPDIR": "/boxes/1", "PYTHONPATH": "/store/tree/lib:/usr/lib"}
    assert here.cwd == code
    assert here.mounts == (Mount(code, code), Mount(Path("/data"), Path("/data"), writable=True))


DETACHED = python("""
    import os, resource, sys, time
    if os.fork() == 0:
        os.setsid()
        if child := os.fork():
            with open(sys.argv[1], "w") as file: file.write(str(child))
            os._exit(0)
        try: resource.setrlimit(resource.RLIMIT_MSGQUEUE, (1, 1))
        except (OSError, ValueError): pass
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os.wait()
    print("READY", flush=True)
    time.sleep(600)
""")


@pytest.mark.sandbox
@needs_landlock
def test_what_a_server_behind_landlock_detached_is_known_again_at_the_next_start(user_yard: Yard, held: Held) -> None:
    folder = user_yard.folder("detached")
    job = {"argv": [*DETACHED, str(folder / "pid")], "write": [str(folder)]}
    stage, said = held(user_yard, {"refused": NO_NAMESPACES, "settle": True, "hold": [job]})
    os.kill(said["supervisor"], signal.SIGSTOP)  # so that it cannot clear up between the two
    stage.send_signal(signal.SIGKILL)
    os.kill(said["supervisor"], signal.SIGKILL)
    stage.wait()
    detached = int((folder / "pid").read_text())
    assert not gone(detached)
    user_yard.run(["/bin/true"])
    assert all_gone([detached])
