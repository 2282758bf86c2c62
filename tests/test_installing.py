"""What gets packages works in a box: of this machine it sees its own runtime, of the network the named registries."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from broker.errors import MachineError, SandboxError
from broker.installing import Box
from broker.model import ServerName
from broker.sandbox.hosts import HostRules
from broker.sandbox.launcher import Launcher
from broker.sandbox.supervisor import Supervisor
from broker.sandbox.tiers import Tier
from broker.trust.run import Command
from tests.trust.registries import NpmRegistry

WITHIN: Final = 120.0
PROJECT: Final = Path(__file__).resolve().parents[1]

NEVER_ASKED: Final = Supervisor.__new__(Supervisor)
"""There is no process behind it: whoever asks it for anything fails."""

LOOKS: Final = """
import json, os, sys
home, work = sys.argv[1], os.getcwd()
def can(what, *arguments):
    try:
        what(*arguments)
    except OSError:
        return False
    return True
print(json.dumps({
    "home": os.path.exists(home), "secret": can(open, home + "/secret"), "variable": "TOKEN" in os.environ,
    "runtime": can(open, os.__file__, "a"), "usr": can(open, "/usr/x", "w"), "work": can(open, work + "/made", "w"),
    "uid": os.getuid(), "interfaces": os.listdir("/sys/class/net") if os.path.exists("/sys/class/net") else []}))
"""
DIALS: Final = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=20).status)
    except OSError as error:
        print("refused")
"""
LEAVES: Final = """
import os
os.symlink("/etc/passwd", "link")
os.mkfifo("fifo")
os.mkdir("folder")
open("folder/file", "w").write("x")
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def play(folder: Path, *jobs: dict[str, Any], **variables: str) -> list[dict[str, Any]]:
    """Run each job in a box of its own; an ordinary process of one thread stands in for the daemon."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tool_stage"], cwd=PROJECT, env={**os.environ, **variables}, timeout=WITHIN,
        input=json.dumps({"folder": str(folder), "jobs": jobs}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.sandbox
@pytest.mark.claim("C16")
def test_a_tool_in_a_box_sees_no_home_and_no_variable_and_writes_only_where_it_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "secret").write_text("s3cret")
    (one,) = play(tmp_path, {"code": LOOKS, "arguments": [str(home)]}, TOKEN="s3cret", HOME=str(home))
    assert one["code"] == 0, one
    seen = json.loads(one["out"])
    assert {name: seen[name] for name in ("home", "secret", "variable", "runtime", "usr", "work")} == {
        "home": False, "secret": False, "variable": False, "runtime": False, "usr": False, "work": True,
    }  # fmt: skip
    assert (seen["uid"] == os.getuid()) == (os.getuid() != 0), "as root, a tool is a user of its own"
    assert one["left"]["made"] == os.getuid(), "what it made is ours afterwards"
    (launch,) = one["facts"]
    assert (launch["method"], launch["target"], launch["tier"]) == ("tool", "python", one["tier"])


@pytest.mark.sandbox
@pytest.mark.claim("C16")
def test_a_tool_in_a_box_reaches_the_named_registry_and_nothing_beside_it(tmp_path: Path) -> None:
    with NpmRegistry() as named, NpmRegistry() as other:
        named.publish("server")
        host = named.url.removeprefix("http://")
        urls = [f"{named.url}/server", f"{other.url}/server", "http://elsewhere.test/"]
        allowed, shut = play(
            tmp_path, {"code": DIALS, "arguments": urls, "hosts": [host]}, {"code": DIALS, "arguments": urls}
        )
    assert allowed["out"].split() == ["200", "refused", "refused"], allowed
    assert shut["out"].split() == ["refused"] * 3
    assert (named.asked, other.asked) == (["/server"], [])
    connections = [fact for fact in allowed["facts"] if fact["method"] == "connect" and fact["target"] == host]
    assert [(fact["side"], fact["reason"]) for fact in connections] == [
        ("broker", "your configuration of python names it")
    ]
    assert not any("bulkhead grant" in fact["reason"] for fact in allowed["facts"])


@pytest.mark.sandbox
def test_what_a_tool_leaves_holds_no_link_and_no_special_file(tmp_path: Path) -> None:
    (one,) = play(tmp_path, {"code": LEAVES})
    assert one["code"] == 0, one
    assert {"link", "fifo"} & one["left"].keys() == set()
    assert (tmp_path / "0/folder/file").read_text() == "x"
    assert (tmp_path / "0/folder/file").stat().st_uid == os.getuid()


@pytest.mark.sandbox
def test_a_tool_that_goes_on_or_says_too_much_is_ended(tmp_path: Path) -> None:
    late, loud = play(
        tmp_path,
        {"code": "import time; time.sleep(600)", "timeout": 1.0},
        {"code": "while True: print('x' * 10000)", "limit": 100_000},
    )
    assert late["error"] == "python did not finish within 1 seconds"
    assert loud["error"] == "python wrote more than 100000 bytes"


async def test_without_a_sandbox_no_tool_runs(tmp_path: Path) -> None:
    facts: list[object] = []
    launcher = Launcher(NEVER_ASKED, Tier("none", "bubblewrap is not installed", "install bubblewrap"))
    box = Box(ServerName("s"), launcher, lambda origin, fact: facts.append(fact))
    with pytest.raises(MachineError, match="bubblewrap is not installed") as refused:
        await box(Command((sys.executable, "-c", "pass"), tmp_path, tmp_path, {}))
    assert refused.value.hint == "install bubblewrap"
    assert (facts, box.tier) == ([], "")


@pytest.mark.parametrize(
    ("named", "rule"),
    [
        ("registry.example:443", "registry.example:443"),
        ("packages.corp:4873", "packages.corp:4873"),
        ("localhost:4873", "127.0.0.1:4873"),
        ("10.1.2.3:8080", "10.1.2.3:8080"),
    ],
)
def test_a_registry_counts_wherever_the_users_configuration_says_it_is(named: str, rule: str) -> None:
    (found,) = HostRules.of_registries([named]).rules
    assert str(found) == rule
    host, _, port = rule.rpartition(":")
    assert found.covers(host, int(port))
    assert not found.covers(host, int(port) + 1)


@pytest.mark.parametrize(
    "named", ["*.example.com:443", "registry.example", "169.254.169.254:80", "public:*", "[::1]:80"]
)
def test_what_is_no_single_host_with_a_port_is_no_registry(named: str) -> None:
    with pytest.raises(SandboxError, match="packages cannot be fetched from"):
        HostRules.of_registries([named])
