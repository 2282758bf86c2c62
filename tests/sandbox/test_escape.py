"""Nothing gets out: every attempt of the escape probe, from inside a real sandbox, as a user and as root."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.inside import ATTEMPTS, CONTROLS

pytestmark = pytest.mark.sandbox

SMALL = {"tmp_size": 16 << 20, "home_size": 16 << 20, "shm_size": 8 << 20, "processes": 128}


HELD_ANYWAY = frozenset(
    {
        # An ordinary user cannot do these on any machine.
        *("change the system's programs", "write to /etc", "write to the root folder", "fill /dev"),
        *("look through /proc/1/root", "read a secret of process 1's environment", "join process 1's namespaces"),
        *("open a raw socket", "open a packet socket", "make a device", "load a BPF program", "make a mount namespace"),
        *("mount something", "remount the read-only grant writable", "unmount a guard", "use the new mount calls"),
        *("change its root", "write core_pattern", "write sysrq-trigger", "run as root", "become root"),
        # On these, machines differ: kernels, networks, terminals, limits set by whoever started us.
        *("reach the network", "resolve a name", "see the host's network interfaces", "read the machine's id"),
        *("use io_uring", "use the calls of another architecture", "open a file by handle", "dump core"),
        *("open a socket to the hypervisor", "open a multipath socket", "open a netlink socket other than routing"),
        *("push keys into a terminal", "open the controlling terminal", "use the kernel's keyring"),
    }
)


def _set_up(yard: Yard) -> dict[str, Any]:
    """The two grants, full of what an attacker would change, and the job that runs the probe in them."""
    yard.file("read/notes.txt", "granted")
    writable = yard.folder("write", 0o777)
    for root in ("write", "write/company/repository"):
        yard.file(f"{root}/.git/hooks/pre-commit", mode=0o777)
        yard.file(f"{root}/.git/config", "[core]\n", mode=0o666)
        for name in (".git", ".git/hooks"):
            (yard.work / root / name).chmod(0o777)
    yard.file("write/.vscode/tasks.json", mode=0o666)
    yard.file("write/.envrc", mode=0o666)
    for name in ("company", "company/repository"):
        (writable / name).chmod(0o777)
    code = yard.file("code/inside.py", (Path(__file__).parent / "inside.py").read_text(), mode=0o666)
    return {
        "argv": [PYTHON_INSIDE, "/srv/code/inside.py"],
        "code": [[str(code), "/srv/code/inside.py"]],
        "read": [str(yard.work / "read")],
        "write": [str(writable)],
        "limits": SMALL,
    }


@pytest.fixture(scope="module")
def probed(yard: Yard) -> dict[str, Any]:
    job = _set_up(yard)
    (result,) = yard.ask({"jobs": [job], "surroundings": str(yard.path)})["results"]
    assert result.get("code") == 0, result
    answers = json.loads(result["out"])
    assert isinstance(answers, dict)
    return {**answers, "tier": result["tier"], "warnings": result["warnings"]}


@pytest.mark.parametrize("what", CONTROLS)
def test_a_server_can(probed: dict[str, Any], what: str) -> None:
    worked, detail = probed["controls"][what]
    assert worked, detail


@pytest.mark.claim("C20", "C21", "C22")
@pytest.mark.parametrize("what", ATTEMPTS)
def test_a_server_cannot(probed: dict[str, Any], what: str) -> None:
    got_through, detail = probed["attempts"][what]
    assert not got_through, detail


def test_what_a_server_wrote_is_in_the_granted_folder(probed: dict[str, Any], yard: Yard) -> None:
    assert (yard.work / "write/made-inside.txt").read_text() == "made inside"


def test_the_tier_says_how_the_server_ran(probed: dict[str, Any], yard: Yard) -> None:
    assert probed["tier"] == {"user": "A", "root": "A-root"}[yard.who]


def test_without_a_sandbox_the_same_probe_gets_through(user_yard: Yard) -> None:
    _set_up(user_yard)
    program = str(user_yard.work / "code/inside.py")
    wish = {"jobs": [{}], "bare": program, "surroundings": str(user_yard.path)}
    (result,) = user_yard.ask(wish)["results"]
    attempts = json.loads(result["out"])["attempts"]
    held = {what: detail for what, (through, detail) in attempts.items() if not through}
    assert {what: detail for what, detail in held.items() if what not in HELD_ANYWAY} == {}


def test_a_read_only_git_folder_is_told(probed: dict[str, Any], yard: Yard) -> None:
    assert any(str(yard.work / "write/.git") in warning for warning in probed["warnings"])
