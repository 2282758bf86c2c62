"""The first message of a TLS connection, read just far enough to know which host it is for.

Whatever is not exactly as RFC 8446 and RFC 6066 write it is refused: a message that two parsers read in two ways could
name one host to us and another to the server it reaches.  Pure.
"""

from typing import Final

RECORD_HEADER: Final = 5
MAX_RECORD: Final = 16_384
MAX_HELLO: Final = 32_768  # post-quantum key shares make 2 KiB of it; nothing known comes near this

HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0


class HelloError(ValueError):
    """It is no TLS ClientHello, or not a clear one.  `str` says what is wrong, without any of its text."""


def record_length(header: bytes) -> int:
    """How many bytes follow the header of a handshake record."""
    length = int.from_bytes(header[3:5])
    if len(header) != RECORD_HEADER or header[0] != HANDSHAKE or header[1] != 3 or not 0 < length <= MAX_RECORD:
        raise HelloError("it is not TLS")
    return length


def hello_length(begun: bytes) -> int:
    """How long the whole message is, once its first four bytes are there."""
    if len(begun) < 4:
        return 4
    if begun[0] != CLIENT_HELLO:
        raise HelloError("it does not begin with a ClientHello")
    length = 4 + int.from_bytes(begun[1:4])
    if length > MAX_HELLO:
        raise HelloError("its ClientHello is too long")
    return length


def server_name(hello: bytes) -> str | None:
    """The host a ClientHello (with its four bytes of header) asks for; None when it names none.

    Raises:
        HelloError: it is malformed, or names more than one host.
    """
    body = _Cut(hello[4:])
    if hello_length(hello) != len(hello):
        raise HelloError("its ClientHello has the wrong length")
    body.take(2 + 32)  # version and random
    body.vector(1)  # session id
    body.vector(2)  # cipher suites
    body.vector(1)  # compression methods
    if body.empty:
        return None
    extensions = _Cut(body.vector(2))
    body.end()
    names: list[bytes] = []
    while not extensions.empty:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind == SERVER_NAME:
            names.append(content)
    if len(names) > 1:
        raise HelloError("its ClientHello names a host twice")
    return _host_of(names[0]) if names else None


def _host_of(content: bytes) -> str:
    outer = _Cut(content)
    entries = _Cut(outer.vector(2))
    outer.end()
    kind, name = entries.number(1), entries.vector(2)
    entries.end()
    if kind != HOST_NAME or not name or not name.isascii():
        raise HelloError("its ClientHello names no host in the one way there is")
    return name.decode("ascii")


class _Cut:
    """Bytes being taken apart from the front; short ones are an error, and so are left-over ones."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise HelloError("its ClientHello is cut short")
        self._at += count
        return part

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))

    def end(self) -> None:
        if not self.empty:
            raise HelloError("its ClientHello holds more than it says")
