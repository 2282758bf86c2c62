"""DER, read strictly: one way to write each value, nothing before it and nothing behind it.

Only what a signature block needs.  A value that another reader could see differently is refused.
"""

from dataclasses import dataclass

from broker.errors import TrustError

INTEGER, OCTETS, OBJECT, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x30, 0x31


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its tag, its content, and all of its bytes."""

    tag: int
    content: bytes
    whole: bytes

    def children(self, tag: int = 0) -> list["Value"]:
        """What a constructed value holds.

        Raises:
            TrustError: it is not constructed, not of the kind `tag`, or its content is not DER.
        """
        if not self.tag & 0x20 or (tag and self.tag != tag):
            raise TrustError("its signature block is not built as it should be")
        found, rest = [], self.content
        while rest:
            value, rest = _first(rest)
            found.append(value)
        return found

    def holding(self, tag: int) -> bytes:
        """The content, if it is of this kind.

        Raises:
            TrustError: it is of another.
        """
        if self.tag != tag:
            raise TrustError("its signature block is not built as it should be")
        return self.content


def read(data: bytes) -> Value:
    """The one value that these bytes are.

    Raises:
        TrustError: they are none, or more.
    """
    value, rest = _first(data)
    if rest:
        raise TrustError("its signature block holds more than a signature")
    return value


def _first(data: bytes) -> tuple[Value, bytes]:
    if len(data) < 2 or data[0] & 0x1F == 0x1F:
        raise TrustError("its signature block is cut off")
    size, start = data[1], 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count or data[2] == 0:
            raise TrustError("its signature block has a length that is not DER")
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
        if size < 0x80 or (count > 1 and size < 1 << 8 * (count - 1)):
            raise TrustError("its signature block has a length that is not DER")
    if len(data) < start + size:
        raise TrustError("its signature block is cut off")
    return Value(data[0], data[start : start + size], data[: start + size]), data[start + size :]
