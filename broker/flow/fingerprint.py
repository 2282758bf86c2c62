"""Marks of a text: keyed hashes by which a piece of it is known again, however it is wrapped.

A text is reduced to its letters and digits (NFKC, case folded, zero-width characters gone), and every fourth window of
twelve of them becomes a mark; short names and values become marks of their own.  What is asked about is looked at in
every window, so any 15 letters and digits in common are found.  A mark is one AES block under a secret key, cut to 64
bits: without the key it says nothing, and a thousand of them take a fraction of a millisecond.
"""

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from broker.flow.decode import runs, unescaped, unwrapped

WINDOW: Final = 12  # letters and digits
STRIDE: Final = 4  # between the windows of what was read; what is compared with it is looked at in every window
SHORTEST: Final = 4  # letters and digits of a value that has a mark of its own
LONGEST_KEY: Final = 20  # characters; what is longer is no name of a parameter
_BLOCK: Final = 16
_SHORTEST_NUMBER: Final = 7  # digits: shorter ones are counts
_DATE = re.compile(rb"(?:19|20)\d\d(?:0\d|1[012])[0-3]\d(?:\d{4}|\d{6})?")
_READ_RUN: Final = 32  # characters of a run in a read that is looked at as an encoding
_SHORTEST_RUN: Final = _READ_RUN - 6  # padding may be among them

_ZERO_WIDTH = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]")
_ASCII: Final = bytes(range(128))
_WORDLESS: Final = bytes(code for code in range(128) if not chr(code).isalnum())
_APART: Final = b"\n\r\t\"'`<>(){}[],;|"
_FIELDS: Final = bytes(10 if code in _APART else code for code in range(256))
_IN_FIELDS: Final = bytes(code for code in _WORDLESS if code not in _APART)
_TOKENS: Final = bytes(32 if code in _APART or code == 61 else code for code in range(256))
_BUT_LINES: Final = bytes(code for code in _WORDLESS if code != 10)
_JOINTS: Final = b"-*~+&=$!?%"  # between words, these make no name of them
_ROT13: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")


def plain(text: str) -> str:
    """One spelling for all that look alike."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", _ZERO_WIDTH.sub("", text)).casefold()


def plain_bytes(text: str) -> bytes:
    """The same in UTF-8.  Where letters beyond ASCII are as they should be, only the others need to be looked at."""
    data = text.encode("utf-8", "surrogatepass")
    if text.isascii():
        return data.lower()
    beyond = data.translate(None, _ASCII).decode("utf-8", "surrogatepass")
    if unicodedata.is_normalized("NFKC", text) and beyond.casefold() == beyond and not _ZERO_WIDTH.search(beyond):
        return data.lower()
    return plain(text).encode("utf-8", "surrogatepass")


def squeezed(text: str) -> bytes:
    """Letters and digits alone, of a plain text; what is not ASCII counts as a letter."""
    return text.encode("utf-8", "surrogatepass").translate(None, _WORDLESS)


def leaves(value: object) -> Iterator[str]:
    """Every string and number in a JSON value, and the keys that are too long to be names of parameters."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
            yield from (key for key in one if len(key) > LONGEST_KEY)
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str):
            yield one
        elif one is not None and not isinstance(one, bool):
            yield str(one)


class Marker:
    """Makes marks under one key.  Two homes never make the same mark of the same text."""

    def __init__(self, key: bytes) -> None:
        """`key`: 16 secret bytes."""
        self._key = key
        self._encrypt: Any = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - single blocks, a PRF

    def of_read(self, texts: Iterable[str]) -> set[int]:
        """The marks under which what was read is remembered, its one level of decodings included."""
        blocks: list[bytes] = []
        for text in texts:
            whole = unwrapped(text)
            for view in (whole, *runs(whole, _READ_RUN)) if len(whole) >= _SHORTEST_RUN else (whole,):
                data = plain_bytes(view)
                blocks.append(_strides(data.translate(None, _WORDLESS)))
                blocks += [name.ljust(_BLOCK, b"\0") for name in names(data)]
        return set(self._marks(b"".join(blocks)))  # at once: each text by itself would cost more than it says

    def windows(self, data: bytes) -> list[int]:
        """A mark for every window, in order."""
        count = len(data) - WINDOW + 1
        if count <= 0:
            return []
        blocks = bytearray(_BLOCK * count)
        for place in range(WINDOW):
            blocks[place::_BLOCK] = data[place : place + count]
        return self._marks(bytes(blocks)).tolist()

    def names(self, values: Sequence[bytes]) -> list[int]:
        """A mark for each short value, in order."""
        return self._marks(b"".join([value.ljust(_BLOCK, b"\0") for value in values])).tolist()

    def whole(self, data: bytes) -> bytes:
        """Eight bytes that stand for data of any length."""
        return hashlib.blake2b(data, digest_size=8, key=self._key).digest()

    def _marks(self, blocks: bytes) -> "array[int]":
        return array("Q", self._encrypt.update(blocks))[::2]


def _strides(data: bytes) -> bytes:
    """Every `STRIDE`th window as a block: each is three words of that many bytes, and shares two with the next."""
    count = (len(data) - WINDOW) // STRIDE + 1
    if count <= 0:
        return b""
    words = array("I", data[: STRIDE * (count + WINDOW // STRIDE - 1)])
    blocks = array("I", bytes(_BLOCK * count))
    for place in range(WINDOW // STRIDE):
        blocks[place :: _BLOCK // STRIDE] = words[place : place + count]
    return blocks.tobytes()


def names(data: bytes) -> list[bytes]:
    """The short names and values of a plain text: what stands between quotes, brackets and line ends, and `tokens`.
    Longer ones need no mark: their windows know them."""
    found = {*data.translate(_FIELDS, _IN_FIELDS).split(b"\n"), *tokens(data)}
    return [name for name in found if SHORTEST <= len(name) <= _BLOCK and not (name.isdigit() and _counts(name))]


def tokens(data: bytes) -> list[bytes]:
    """The letters and digits of every identifier, address and path of a plain text: of its words with a digit, a dot, a
    slash or the like in them.  `https://www.` is no part of a name."""
    words = set(filterfalse(bytes.isalpha, data.translate(_TOKENS).split()))
    spaced = b" ".join([*words, b""]).replace(b". ", b" ").replace(b": ", b" ")  # the end of a sentence is no name
    apart = filterfalse(bytes.isalpha, spaced.translate(None, _JOINTS).split())
    joined = b"\n".join(apart).replace(b"https:", b"").replace(b"http:", b"").replace(b"www.", b"")
    return [name for name in joined.translate(None, _BUT_LINES).split(b"\n") if len(name) >= SHORTEST]


def telling(name: bytes) -> bool:
    """Whether a value is worth a mark: no count, no date, and short enough to need one."""
    return SHORTEST <= len(name) <= _BLOCK and not (name.isdigit() and _counts(name))


def _counts(digits: bytes) -> bool:
    return len(digits) < _SHORTEST_NUMBER or _DATE.fullmatch(digits) is not None


def turned(spelled: str) -> tuple[bytes, ...]:
    """The letters of a plain text as they are, backwards, and by thirteen letters further."""
    readings = [spelled, spelled[::-1], spelled.translate(_ROT13)]
    if "\\" in spelled:  # what was read is remembered without its escapes, and these may have been turned as well
        readings += [unescaped(reading) for reading in (*readings, "".join(spelled.split()))]
    return tuple(map(squeezed, readings))
