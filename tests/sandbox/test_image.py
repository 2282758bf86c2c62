"""An image as the root of a sandbox: its own programs, nothing of this machine's, and the same walls."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.sandbox.conftest import PYTHON_INSIDE, Yard
from tests.sandbox.test_egress import make_certificate

pytestmark = pytest.mark.sandbox

MODULES: Final = ("json", "os", "socket", "encodings.idna")
FOLDERS: Final = ("proc", "dev", "tmp", "run", "etc/bulkhead", "home/mcp", ".bulkhead", "notes", "kept", "data", "srv")
FILES: Final = tuple(f"etc/{name}" for name in ("passwd", "group", "nsswitch.conf", "hosts", "resolv.conf",
                                                "host.conf", "bulkhead/trust.pem", "mark"))  # fmt: skip
ASK: Final = """
import json, os, socket, sys
def tried(act):
    try:
        return str(act())
    except OSError as error:
        return type(error).__name__
def write(path):
    with open(path, "w") as file:
        return file.write("x")
print(json.dumps({
    "root": sorted(os.listdir("/")), "cwd": os.getcwd(), "user": os.getuid(), "mark": open("/etc/mark").read(),
    "env": dict(os.environ), "notes": tried(lambda: open("/notes/a.txt").read()),
    "writes": {path: tried(lambda: write(path)) for path in sys.argv[1:]},
    "network": tried(lambda: socket.socket().connect(("127.0.0.1", 1))),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
    "usr": tried(lambda: os.listdir("/usr/share")), "shell": os.path.exists("/bin/sh"),
}))
"""


@pytest.fixture(scope="module")
def image(yard: Yard) -> Iterator[Path]:
    """A root file system of this machine's Python alone: no shell, no libraries but its own."""
    root = yard.path / "image"
    code = f"import sys, encodings.utf_8, {', '.join(MODULES)};print(*(getattr(m, '__file__', None) or '' for m in "
    code += "list(sys.modules.values())))"
    found = subprocess.run([PYTHON_INSIDE, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    names = [PYTHON_INSIDE, *found.stdout.split()]
    binaries = [name for name in names if not name.endswith(".py")]
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout.split()
    for name in {*names, *(word for word in listed if word.startswith("/") and not word.endswith(":"))}:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(name, target)
        target.chmod(0o555)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (root / file).write_text("of the image")
    (root / "link").symlink_to("/etc/mark")
    for made in (root, *root.rglob("*")):
        yard.give(made)
        if made.is_dir():
            made.chmod(0o555)
    yield root
    for made in (root, *root.rglob("*")):
        if made.is_dir() and not made.is_symlink():
            made.chmod(0o755)


def asked(yard: Yard, image: Path, *writes: str, **job: Any) -> dict[str, Any]:
    settings = {"source": str(image), "cwd": "/srv", "scratch": ["/data"], **job.pop("settings", {})}
    result = yard.run([PYTHON_INSIDE, "-I", "-S", "-c", ASK, *writes], image=settings, **job)
    assert result.get("code") == 0, result
    told = json.loads(result["out"])
    assert isinstance(told, dict)
    return told


@pytest.mark.claim("C17")
def test_a_server_sees_its_image_and_nothing_of_this_machine(yard: Yard, image: Path) -> None:
    writes = ("/etc/mark", "/srv/x", "/usr/x", "/.bulkhead/x", "/proc/sys/kernel/core_pattern", "/link",
              "/tmp/x", "/data/x", "/home/mcp/x", "/run/x")  # fmt: skip
    told = asked(yard, image, *writes, needed={"PATH": "/usr/bin", "OF_IMAGE": "1", "MODE": "a"}, env={"MODE": "b"})
    assert set(told["root"]) <= {*(folder.partition("/")[0] for folder in FOLDERS), *os.listdir(image)}
    assert (told["cwd"], told["mark"], told["shell"], told["usr"]) == (
        "/srv",
        "of the image",
        False,
        "FileNotFoundError",
    )
    assert (told["env"]["OF_IMAGE"], told["env"]["MODE"], told["env"]["PATH"]) == ("1", "b", "/usr/bin")
    refused = {path for path, said in told["writes"].items() if said != "1"}
    assert refused == set(writes[:6])
    assert told["user"] != 0
    assert told["capabilities"] == ["0" * 16]
    assert told["network"] != "None" and "socket" not in told["network"]


def test_a_folder_is_seen_where_the_line_says_and_nowhere_else(yard: Yard, image: Path) -> None:
    notes = yard.file("notes/a.txt", "a note").parent
    kept = yard.folder("kept", 0o777)
    hooks = yard.file("kept/.git/hooks/sample", "x").parent
    by_link = yard.path / "by-link"
    by_link.symlink_to(notes)
    places = [[str(by_link), "/notes"], [str(kept), "/kept"]]
    writes = ("/notes/b", "/kept/b", "/kept/.git/hooks/evil")
    told = asked(yard, image, *writes, read=[str(notes)], write=[str(kept)], settings={"places": places})
    assert told["notes"] == "a note"
    assert told["writes"] == {"/notes/b": "OSError", "/kept/b": "1", "/kept/.git/hooks/evil": "OSError"}
    assert (kept / "b").read_text() == "x"
    assert [path.name for path in hooks.iterdir()] == ["sample"]
    refused = yard.run([PYTHON_INSIDE], image={"source": str(image), "cwd": "/"}, read=[str(notes)])
    assert "has no place in the image" in refused["error"]


def test_a_program_that_is_not_in_the_image_is_not_taken_from_this_machine(yard: Yard, image: Path) -> None:
    result = yard.run(["/bin/sh", "-c", "echo out"], image={"source": str(image), "cwd": "/"})
    assert result["code"] == 127
    assert result["out"] == ""


def test_the_hosts_of_an_image_are_those_that_were_granted(yard: Yard, image: Path) -> None:
    code = (
        "import socket, sys\n"
        "for host in ('allowed.test', 'other.test'):\n"
        "    try:\n"
        "        with socket.create_connection((host, 80), 30) as way:\n"
        "            way.sendall(f'GET / HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n'.encode())\n"
        "            print(host, way.makefile().readline().split()[1])\n"
        "    except OSError as error:\n"
        "        print(host, 'not reached')\n"
    )
    job = {"argv": [PYTHON_INSIDE, "-I", "-S", "-c", code], "hosts": ["allowed.test"],
           "image": {"source": str(image), "cwd": "/"}}  # fmt: skip
    (result,) = yard.ask({"jobs": [job], "world": make_certificate(yard.path)})["results"]
    assert result.get("out") == "allowed.test 200\nother.test not reached\n", result


def test_an_image_is_never_granted_its_own_files(yard: Yard, image: Path) -> None:
    settings = {"source": str(image), "cwd": "/", "places": [[str(image), "/data"]]}
    refused = yard.run([PYTHON_INSIDE], image=settings, write=[str(image)])
    assert "overlaps" in refused["error"]
