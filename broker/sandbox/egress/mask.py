"""Secrets kept out of what comes back: every known spelling of a value is starred out, wherever the bytes were cut.

What is starred out keeps its length, so that an answer's own length stays true.  Pure.
"""

import base64
import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

STAR: Final = b"*"


class Mask:
    """Searches one stream of bytes.  Holds back only what could be the beginning of a value."""

    def __init__(self, values: Iterable[str]) -> None:
        self._needles = sorted({form for value in values for form in spellings(value)}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._needles))) if self._needles else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may be passed on now."""
        if self._pattern is None:
            return data
        data = self._held + data
        ready = len(data) - self._begun(data)
        out, at = bytearray(data), 0
        for found in self._pattern.finditer(data):
            at, end = found.span()
            if at >= ready:
                break
            out[at:end] = STAR * (end - at)
            ready = max(ready, end)
        self._held = data[ready:]
        return bytes(out[:ready])

    def finish(self) -> bytes:
        """What was held back: nothing follows that could complete it."""
        held, self._held = self._held, b""
        return self.whole(held)

    def whole(self, data: bytes) -> bytes:
        """Bytes that nothing follows."""
        if self._pattern is None:
            return data
        return self._pattern.sub(lambda found: STAR * len(found[0]), data)

    def _begun(self, data: bytes) -> int:
        """The length of the longest end of `data` with which a value could begin."""
        longest = min(len(self._needles[0]), len(data))
        for length in range(longest, 0, -1):
            tail = data[-length:]
            if any(len(needle) > length and needle.startswith(tail) for needle in self._needles):
                return length
        return 0


def spellings(value: str) -> set[bytes]:
    """A value as it may stand in an answer: as it is, in a URL, in JSON, in hexadecimal, and inside of base64."""
    raw = value.encode()
    forms = {raw, quote(value, safe="").encode(), json.dumps(value)[1:-1].encode(), raw.hex().encode()}
    forms |= {raw.hex().upper().encode(), json.dumps(value)[1:-1].replace("/", "\\/").encode()}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        # Only the characters that depend on nothing but the value itself.
        first = (shift * 8 + 5) // 6
        inner = encoded[first : (shift + len(raw)) * 8 // 6]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
