"""The network as the machine reaches it: real lookups and connections, in network namespaces made for the test."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.sandbox.egress.outside import dial, is_own, real_outside
from tests.sandbox.conftest import ORDINARY_USER, PYTHON_INSIDE, Yard

pytestmark = pytest.mark.sandbox

LIMIT = 60
HOSTS = ["allowed.test", "meta.test", "near.test", "mine.test"]
PROGRAM = """
import json, socket, sys, urllib.error, urllib.request
def get(url, handlers):
    try:
        return urllib.request.build_opener(*handlers).open(url, timeout=8).read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
direct = [urllib.request.ProxyHandler({})]
hosts = ("allowed.test", "other.test", "meta.test", "near.test", "mine.test", "stolen.allowed.test")
json.dump({host: [get(f"http://{host}/", way) for way in ([], direct)] for host in hosts}, sys.stdout)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_an_address_of_this_machine_is_known_as_its_own() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("192.0.2.1")


async def test_a_name_of_this_machine_is_looked_up() -> None:
    assert await real_outside().resolve("localhost") == ("127.0.0.1",)


async def test_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await dial("127.0.0.1", port)


async def test_a_port_that_listens_is_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await dial("127.0.0.1", listener.getsockname()[1])
        async with asyncio.timeout(10):
            await stream.close()


class Namespaces:
    """This machine and the far world: two namespaces with one wire between them, and none to anywhere else."""

    def __init__(self, yard: Yard) -> None:
        names = yard.file("resolv.conf", "nameserver 10.99.0.2\noptions timeout:2 attempts:1\n")
        inside = 'echo up; read go; mount --bind "$0" "$(readlink -f /etc/resolv.conf)"; exec "$@"'
        user = ["setpriv", "--reuid", str(ORDINARY_USER), "--regid", str(ORDINARY_USER), "--clear-groups"]
        stage = [*(user if yard.who == "user" else []), yard.python, "-B", "-m", "tests.sandbox.stage"]
        unshare = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
        self.far = self._start([*unshare, sys.executable, str(Path(__file__).with_name("far.py"))], yard)
        self.here = self._start([*unshare, "sh", "-c", inside, str(names), *stage], yard)

    def wire(self) -> None:
        for process in (self.here, self.far):
            assert process.stdout is not None and process.stdout.readline() == "up\n"
        here, far = (["nsenter", "--net", "--target", str(process.pid), "ip"] for process in (self.here, self.far))
        for command in (
            [*here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(self.far.pid)],
            [*here, "link", "set", "lo", "up"],
            [*here, "addr", "add", "10.99.0.1/24", "dev", "wire"],
            [*here, "link", "set", "wire", "up"],
            [*far, "link", "set", "lo", "up"],
            *([*far, "addr", "add", f"{address}/32", "dev", "lo"] for address in ("93.184.216.34", "169.254.169.254")),
            [*far, "addr", "add", "10.99.0.2/24", "dev", "wire"],
            [*far, "link", "set", "wire", "up"],
            [*here, "route", "add", "default", "via", "10.99.0.2"],
        ):
            subprocess.run(command, check=True, timeout=LIMIT)

    def ask(self, wish: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        assert self.far.stdin is not None and self.far.stdout is not None
        self.far.stdin.write("go\n")
        self.far.stdin.flush()
        assert self.far.stdout.readline() == "ready\n"
        out, err = self.here.communicate("go\n" + json.dumps(wish) + "\n", timeout=LIMIT)
        assert self.here.returncode == 0, err
        told, _ = self.far.communicate(timeout=LIMIT)
        return json.loads(out)["results"][0], json.loads(told)

    def close(self) -> None:
        for process in (self.here, self.far):
            process.kill()
            process.communicate()

    def _start(self, argv: list[str], yard: Yard) -> "subprocess.Popen[str]":
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8",
                       "HOME": str(yard.home), "PYTHONPATH": str(yard.path / "lib")}  # fmt: skip
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=yard.path, env=environment)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make network namespaces with a wire between them")
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the ip command (package iproute2)")
def test_names_and_connections_of_a_real_network_are_held_to_the_grant(yard: Yard) -> None:
    namespaces = Namespaces(yard)
    try:
        namespaces.wire()
        job = {"argv": [PYTHON_INSIDE, "-c", PROGRAM], "hosts": HOSTS}
        result, far = namespaces.ask({"jobs": [job], "real_network": True})
    finally:
        namespaces.close()
    assert result.get("code") == 0, result
    told = json.loads(result["out"])
    assert told["allowed.test"] == ["hello from far", "hello from far"]
    assert all("hello" not in said for host, both in told.items() if host != "allowed.test" for said in both)
    assert "is this machine's" in told["mine.test"][0]
    assert "hands out credentials" in told["meta.test"][0]
    assert "is not of the public network" in told["near.test"][0]
    assert far["came"] == ["93.184.216.34"] * 2
    assert set(far["asked"]) == set(HOSTS)
