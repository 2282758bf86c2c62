"""The bearer for programs that cannot be given one: a loopback address that adds it to every request.

The suite is given an address and nothing else.  What it says of itself as the host is told Bulkhead as Bulkhead's own
address, because the suite knows no other; a foreign host or origin passes as it is, and Bulkhead has to refuse it.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

MAX_HEAD: Final = 64 * 1024
IDLE: Final = 120.0
PIECE: Final = 64 * 1024
OWN_NAMES: Final = ("127.0.0.1", "localhost")


@contextmanager
def with_bearer(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """The address at which `url` can be asked without `headers`, until the block is left."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = f"127.0.0.1:{listener.getsockname()[1]}"
        door = _Door(own.partition(":")[2], parts.netloc, headers)
        threading.Thread(target=_accept, args=(listener, door), daemon=True).start()
        try:
            yield f"http://{own}{parts.path}"
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


class _Door:
    def __init__(self, port: str, behind: str, headers: Mapping[str, str]) -> None:
        self._names = {f"{name}:{port}" for name in OWN_NAMES}
        self._behind = behind
        self._headers = headers

    def carry(self, caller: socket.socket) -> None:
        """One request and its answer; every connection carries just one."""
        caller.settimeout(IDLE)
        host, _, port = self._behind.partition(":")
        with caller, suppress(OSError), socket.create_connection((host, int(port)), timeout=IDLE) as server:
            head, rest = _head(caller)
            server.sendall(self._told(head) + rest)
            threading.Thread(target=_pump, args=(caller, server), daemon=True).start()
            _pump(server, caller)

    def _told(self, head: bytes) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        kept = []
        for line in lines:
            name, _, value = (part.strip() for part in line.partition(":"))
            if name.lower() == "host" and value in self._names:
                kept.append(f"Host: {self._behind}")
            elif name.lower() == "origin" and urlsplit(value).netloc in self._names:
                continue  # a program that is no browser says where it is; Bulkhead has no page that could ask
            elif name.lower() != "connection":
                kept.append(line)
        kept += [f"{name}: {value}" for name, value in self._headers.items()]
        return "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1")


def _accept(listener: socket.socket, door: _Door) -> None:
    with suppress(OSError):
        while True:
            caller, _ = listener.accept()
            threading.Thread(target=door.carry, args=(caller,), daemon=True).start()


def _head(caller: socket.socket) -> tuple[bytes, bytes]:
    read = b""
    while b"\r\n\r\n" not in read:
        piece = caller.recv(PIECE)
        if not piece or len(read) > MAX_HEAD:
            raise OSError("no request came")
        read += piece
    head, _, rest = read.partition(b"\r\n\r\n")
    return head, rest


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes until either end is closed, and tell the other."""
    with suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
