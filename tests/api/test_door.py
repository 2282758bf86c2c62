"""The door for shims, when there is nothing to let them in with."""

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from broker.api.door import Door
from broker.errors import ConfigError
from broker.model import Peer
from broker.visit import Hello, Visit
from tests.waiting import WITHIN, turns


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OutOfDescriptors(socket.socket):
    """A listener whose first callers cannot be let in."""

    refused = 0
    for_so_long = 1

    def accept(self) -> tuple[socket.socket, object]:
        if self.refused < self.for_so_long:
            self.refused += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def nobody(_hello: Hello, _peer: Peer, _descriptors: tuple[int, int]) -> Visit:
    raise ConfigError("nobody is let in here")


@pytest.mark.anyio
async def test_without_descriptors_the_door_rests_and_opens_again(tmp_path: Path) -> None:
    listener = OutOfDescriptors(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "door"))
    listener.listen()
    listener.setblocking(False)
    listener.for_so_long = 2
    door = Door(nobody)
    door.open(listener)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as shim:
        shim.setblocking(False)
        shim.connect(str(tmp_path / "door"))
        await turns(50)
        assert listener.refused == 1  # not once for each turn of the loop
        async with asyncio.timeout(WITHIN):
            await asyncio.get_running_loop().sock_sendall(shim, b"no hello\n")
            answer = await asyncio.get_running_loop().sock_recv(shim, 100)
    assert answer.startswith(b"no ")
    assert listener.refused == 2
    await door.close()
