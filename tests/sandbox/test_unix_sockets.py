"""Unix sockets, where a person allows them, join a server's own processes and reach nothing outside of its box."""

import json
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.sandbox.conftest import PYTHON_INSIDE, Yard

pytestmark = pytest.mark.sandbox

TOY: Final = """
import json, socket, sys
told = json.load(sys.stdin)
def reached(place):
    try:
        with socket.socket(socket.AF_UNIX) as out:
            out.settimeout(20)
            out.connect(place)
            return out.recv(16).decode()
    except OSError as refused:
        return type(refused).__name__
try:
    own = socket.socket(socket.AF_UNIX)
except OSError as refused:
    print(json.dumps({"own": str(refused.errno)}))
    sys.exit()
own.bind("/tmp/own")
own.listen()
with socket.socket(socket.AF_UNIX) as out:
    out.connect("/tmp/own")
    own.accept()[0].sendall(b"mine")
    said = out.recv(16).decode()
print(json.dumps({"own": said, "others": [reached(place) for place in told]}))
"""


@pytest.fixture
def listening(yard: Yard) -> Iterator[list[str]]:
    """Sockets of programs outside: one in a folder, one in /tmp, one without any file."""
    places = [str(yard.folder("served") / "socket"), str(yard.path / "socket"), f"\0{yard.path}"]
    made = []
    for place in places:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(place)
        listener.listen()
        made.append(listener)
    yield places
    for listener in made:
        listener.close()


def ran(yard: Yard, places: list[str], **job: Any) -> dict[str, Any]:
    result = yard.run([PYTHON_INSIDE, "-c", TOY], input=json.dumps(places), **job)
    assert result.get("code") == 0, result
    told = json.loads(result["out"])
    assert isinstance(told, dict)
    return told


def test_a_server_that_may_make_sockets_reaches_its_own_and_none_outside(yard: Yard, listening: list[str]) -> None:
    told = ran(yard, listening, unix_sockets=True)
    assert told["own"] == "mine"
    assert [name for name in told["others"] if name not in ("FileNotFoundError", "ConnectionRefusedError")] == []
    assert ran(yard, listening) == {"own": "97"}  # EAFNOSUPPORT


def test_sockets_and_a_folder_of_the_user_are_refused_together(yard: Yard) -> None:
    refused = yard.run([PYTHON_INSIDE, "-c", TOY], unix_sockets=True, read=[str(yard.folder("kept"))])
    assert "could reach what listens on a socket" in refused["error"] and "--unix-sockets off" in refused["hint"]
