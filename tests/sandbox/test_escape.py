"""Nothing gets out: every attempt of the escape probe, from inside a real sandbox, as a user and as root.

What is known to get through is named in SECURITY.md; a test holds that list to what is seen here.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import netprobe
from tests.sandbox.catalogue import KNOWN, LISTED
from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.probe import ATTEMPTS, CONTROLS
from tests.sandbox.test_limits import HOGS

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
        # Nor these: root's alone, or the machine has none, or they are about process 1, which is root's outside.
        *("change its own code", "give a program of its own root's rights", "become root by su"),
        *("be spared when memory runs out", "rewrite process 1 in memory", "change the program of process 1"),
        *("look through the descriptors of process 1", "connect to the system bus socket"),
        *("pass a descriptor out over its standard streams", "open a socket for pings"),
        *("open a socket of a family nobody needs", "make a socket pair of another family"),
        *(
            "make the namespaces that need no user namespace",
            "shift its clocks",
            "join the time namespace of process 1",
        ),
        *("allow itself more namespaces", "enter the namespaces of process 1 by the system's tools"),
        *("bring a mount from another namespace", "configure a new file system", "exchange its root"),
        *("watch the processor's counters", "load another kernel", "read the kernel's messages"),
        *("learn where the kernel lies", "read the kernel's memory", "open a file by handle, the handle made inside"),
        *("watch the whole file system", "set the machine's clock", "choose where its core goes"),
        *("paste into a terminal", "change the discipline of a terminal", "go before everybody else", "write to /sys"),
        *("push keys into the terminal of its standard streams", "learn the host's paths from its mounts"),
        # And these again differ: containers, distributions and the right to make user namespaces.
        *("gain rights by a program that root marked", "open the host's message queue", "search the user's keyring"),
        *("read the list of the user's keys", "connect to a service on the host's loopback by IPv6"),
        *("build the sandbox of a browser", "clone into the namespaces of a browser", "make a time namespace"),
        *("start a sandbox in its sandbox", "start a container by the system's tools", "make a user namespace"),
        *("clone into a user namespace", "clone3 into a user namespace", "handle its own page faults"),
        *("set up, enter or register a ring of io_uring", "speak another architecture by an interrupt"),
        *("push keys into a terminal, the request written with a high bit", "change any setting of the kernel"),
        *("trace a process of the host", "read the memory of a process of the host", "raise its own limits"),
        *("take a descriptor from a process of the host", "see the machine's other devices"),
        *("turn off the randomness of its addresses", "win a race against a link"),
    }
)


def set_up(yard: Yard) -> dict[str, Any]:
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
    for name in ("inside", "deeper", "probe"):
        text = (Path(__file__).parent / f"{name}.py").read_text()
        yard.file(f"code/tests/sandbox/{name}.py", text, mode=0o666)
    marked = yard.file("read/marked", mode=0o755)
    if os.getuid() == 0:
        shutil.copyfile("/usr/bin/id", marked)
        os.chown(marked, 0, 0)
        marked.chmod(0o4755)
    return {
        "argv": [PYTHON_INSIDE, "-m", "tests.sandbox.probe"],
        "code": [[str(yard.work / "code"), "/srv/code"]],
        "needed": {"PYTHONPATH": "/srv/code"},
        "read": [str(yard.work / "read")],
        "write": [str(writable)],
        "limits": SMALL,
    }


@pytest.fixture(scope="module")
def probed(yard: Yard) -> dict[str, Any]:
    job = set_up(yard)
    (result,) = yard.ask({"jobs": [job], "surroundings": str(yard.path)})["results"]
    assert result.get("code") == 0, json.dumps(result)
    answers = json.loads(result["out"])
    assert isinstance(answers, dict)
    return {**answers, "tier": result["tier"], "warnings": result["warnings"]}


@pytest.mark.parametrize("what", CONTROLS)
def test_a_server_can(probed: dict[str, Any], what: str) -> None:
    worked, detail = probed["controls"][what]
    assert worked, detail


@pytest.mark.claim("C20", "C21", "C22")
@pytest.mark.parametrize("what", [what for what in ATTEMPTS if what not in LISTED])
def test_a_server_cannot(probed: dict[str, Any], what: str) -> None:
    got_through, detail = probed["attempts"][what]
    assert not got_through, detail


SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()


@pytest.mark.parametrize("what", LISTED)
def test_what_gets_through_is_named_in_the_security_notes(probed: dict[str, Any], what: str) -> None:
    got_through, detail = probed["attempts"][what]
    assert got_through, f"it no longer does, so it is to be struck from both lists: {detail}"
    assert f"- **{LISTED[what]}**" in SECURITY


def test_the_security_notes_name_nothing_else() -> None:
    section = SECURITY.split("## What a sandboxed server can do all the same", 1)[1].split("\n## ", 1)[0]
    assert section.count("\n- **") == len(LISTED) <= 3


def test_everything_that_is_known_to_be_tried_is_tried() -> None:
    tried = {*ATTEMPTS, *CONTROLS, *netprobe.ATTEMPTS, *netprobe.CONTROLS, *HOGS}
    assert {known: attempt for known, attempt in KNOWN.items() if attempt not in tried} == {}
    assert len(KNOWN) >= 157


def test_what_a_server_wrote_is_in_the_granted_folder(probed: dict[str, Any], yard: Yard) -> None:
    assert (yard.work / "write/made-inside.txt").read_text() == "made inside"


def test_the_tier_says_how_the_server_ran(probed: dict[str, Any], yard: Yard) -> None:
    assert probed["tier"] == {"user": "A", "root": "A-root"}[yard.who]


def test_without_a_sandbox_the_same_probe_gets_through(user_yard: Yard) -> None:
    set_up(user_yard)
    wish = {"jobs": [{}], "bare": "tests.sandbox.probe", "surroundings": str(user_yard.path)}
    (result,) = user_yard.ask(wish)["results"]
    attempts = json.loads(result["out"])["attempts"]
    held = {what: detail for what, (through, detail) in attempts.items() if not through}
    assert {what: detail for what, detail in held.items() if what not in HELD_ANYWAY} == {}


def test_a_bwrap_of_the_users_own_cannot_be_changed_from_inside(user_yard: Yard) -> None:
    """A bundled one belongs to the user, and what runs as process 1 can be reached as /proc/1/exe."""
    own = user_yard.file("bin/bwrap", mode=0o755)
    shutil.copyfile("/usr/bin/bwrap", own)
    change = "import os; os.chmod('/proc/1/exe', 0o700); print(os.stat('/proc/1/exe').st_uid)"
    wish = {"jobs": [{"argv": [PYTHON_INSIDE, "-c", change]}]}
    (result,) = user_yard.ask(wish, PATH=f"{own.parent}:/usr/bin:/bin")["results"]
    assert result["tier"] == "A"
    assert own.stat().st_mode & 0o777 == 0o755, result


def test_a_read_only_git_folder_is_told(probed: dict[str, Any], yard: Yard) -> None:
    assert any(str(yard.work / "write/.git") in warning for warning in probed["warnings"])
