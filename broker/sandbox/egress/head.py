"""The head of one HTTP request: read strictly, and written anew.

What is forwarded is built from what was judged, never passed on.  Two lengths, a folded line, a bare line feed, a space
before a colon: whatever a second parser might read otherwise is refused.  Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_HEAD: Final = 32 * 1024  # common servers take 8 to 16 KiB
MAX_FIELDS: Final = 100
MAX_LENGTH_DIGITS: Final = 15
MAX_CHUNK_LINE: Final = 256

TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
METHOD: Final = re.compile(r"[A-Z][A-Z_-]{0,31}")
TARGET: Final = re.compile(r"[!-~]{1,16384}")
VALUE: Final = re.compile(rb"[\t -~\x80-\xff]*")
AUTHORITY: Final = re.compile(r"([A-Za-z0-9._-]{1,300})(?::([1-9][0-9]{0,4}))?")
ABSOLUTE: Final = re.compile(r"http://([^/?#]+)(/[^#]*|\?[^#]*)?", re.IGNORECASE)
STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]{0,200}))?")
CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t -~]*)?\r\n")

WRITTEN_ANEW: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
HOP_BY_HOP: Final = frozenset(
    {"keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "upgrade"}
)
"""Meant for the next hop only."""


class HeadError(ValueError):
    """It is no HTTP request, or not a clear one.  `str` says what is wrong, without any of its text."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request line and its fields, names in lower case."""

    method: str
    target: str
    fields: tuple[tuple[str, bytes], ...]

    def values(self, name: str) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    @property
    def host(self) -> tuple[str, int | None]:
        """The one host the `Host` field names, and its port."""
        hosts = self.values("host")
        if len(hosts) != 1:
            raise HeadError("it does not name exactly one host")
        return authority(hosts[0].decode("latin-1"))

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it comes in chunks."""
        lengths, codings = self.values("content-length"), self.values("transfer-encoding")
        if codings:
            if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
                raise HeadError("it has two lengths")
            return None
        if not lengths:
            return 0
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
            raise HeadError("its length is not one number")
        return int(lengths[0])

    def forwarded(self, host: str, target: str) -> bytes:
        """The head to send on: one host, no hop's own fields, and an end after one answer."""
        named = {token.strip().lower() for value in self.values("connection") for token in value.split(b",")}
        dropped = HOP_BY_HOP | WRITTEN_ANEW | {name.decode("latin-1") for name in named}
        lines = [f"{self.method} {target} HTTP/1.1".encode("ascii"), f"Host: {host}".encode("ascii")]
        lines += [name.encode("ascii") + b": " + value for name, value in self.fields if name not in dropped]
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.values("content-length"):
            lines.append(b"Content-Length: %d" % self.length)
        return b"\r\n".join((*lines, b"Connection: close", b"", b""))


@dataclass(frozen=True, slots=True)
class Answer:
    """A status line and its fields, names in lower case."""

    status: int
    reason: bytes
    fields: tuple[tuple[str, bytes], ...]

    def values(self, name: str) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def length(self, method: str) -> int | None:
        """Bytes of the body; None when it comes in chunks, -1 when it lasts until the end of the connection."""
        lengths, codings = set(self.values("content-length")), self.values("transfer-encoding")
        if method == "HEAD" or self.status < 200 or self.status in (204, 304):
            return 0
        if codings:
            if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
                raise HeadError("the answer has two lengths")
            return None
        if not lengths:
            return -1
        (length, *others) = lengths
        if others or not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
            raise HeadError("the length of the answer is not one number")
        return int(length)


def parse_answer(data: bytes) -> Answer:
    """An answer's head, up to and with its empty line.

    Raises:
        HeadError: it is not one, or could be read in two ways.
    """
    first, *lines = data[:-4].split(b"\r\n")
    found = STATUS.fullmatch(first)
    if len(data) > MAX_HEAD or found is None:
        raise HeadError("what came back is no HTTP/1 answer")
    if len(lines) > MAX_FIELDS:
        raise HeadError("the answer has too many fields")
    return Answer(int(found[1]), found[2] or b"", tuple(map(_field, lines)))


def parse_head(data: bytes) -> Head:
    """A request's head, up to and with its empty line.

    Raises:
        HeadError: it is not one, or could be read in two ways.
    """
    if len(data) > MAX_HEAD or not data.endswith(b"\r\n\r\n"):
        raise HeadError("its head is too long")
    first, *lines = data[:-4].split(b"\r\n")
    words = first.decode("latin-1").split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise HeadError("it is no HTTP/1 request")
    method, target, _ = words
    if METHOD.fullmatch(method) is None or TARGET.fullmatch(target) is None:
        raise HeadError("its request line is malformed")
    if len(lines) > MAX_FIELDS:
        raise HeadError("it has too many fields")
    return Head(method, target, tuple(map(_field, lines)))


def authority(text: str) -> tuple[str, int | None]:
    """`host[:port]`, both as they stand there; no user, no brackets."""
    found = AUTHORITY.fullmatch(text)
    if found is None or int(found[2] or 1) > 65_535:
        raise HeadError("its host is malformed")
    return found[1], int(found[2]) if found[2] else None


def absolute(target: str) -> tuple[str, int, str]:
    """Host, port and path of a target in absolute form."""
    found = ABSOLUTE.fullmatch(target)
    if found is None:
        raise HeadError("its target is no http:// address")
    host, port = authority(found[1])
    path = found[2] or "/"
    return host, port or 80, path if path.startswith("/") else f"/{path}"


def origin_form(target: str) -> str:
    """A target as a server of its own takes it: a path, and no host in it."""
    if not target.startswith("/") or "#" in target:
        raise HeadError("its target is no path")
    return target


def chunk_length(line: bytes) -> int:
    """The length in the first line of a chunk; what else stands there is not carried on."""
    found = CHUNK.fullmatch(line)
    if found is None or len(line) > MAX_CHUNK_LINE:
        raise HeadError("its body is not in chunks")
    return int(found[1], 16)


def _field(line: bytes) -> tuple[str, bytes]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or TOKEN.fullmatch(name) is None or VALUE.fullmatch(value) is None:
        raise HeadError("one of its fields is malformed")
    return name.decode("ascii").lower(), value
