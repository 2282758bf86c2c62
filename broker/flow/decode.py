"""What a text says once it is unwrapped: escapes, percent signs, base64 and its relatives, compressed bytes.

Work is bounded whatever the text is: so many views, so many runs, so many characters.  Where a bound cut something
off, `Views.whole` says so, and whoever compares must not read silence as innocence.
"""

import base64
import binascii
import html
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

MAX_VIEWS: Final = 32
MAX_CHARACTERS: Final = 512 * 1024  # of all views together
MAX_RUNS: Final = 2048  # stretches of one view that could be an encoding
MAX_INFLATED: Final = 64 * 1024
LEVELS: Final = 2
MAX_RUN: Final = 65_536  # characters of a run in a long text

_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,6}")
_MOST_PADDING: Final = 6
_RUN_OR_NOT: Final = bytes(
    114 if chr(code).isascii() and (chr(code).isalnum() or chr(code) in "+/_-") else 32 for code in range(256)
)
_HEX = re.compile(r"[0-9A-Fa-f]+")
_BASE32 = re.compile(r"(?:[A-Z2-7]+|[a-z2-7]+)=*")
_ESCAPES: Final = (("\\n", " \n"), ("\\r", " \n"), ("\\t", " \t"), ('\\"', ' "'), ("\\/", "/"), ("\\\\", "\\"))
"""What separates keeps its length, which is replaced twice as fast."""
_CODE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")
_STRANGE = re.compile(r"[^\S\n\r\t ]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_GZIP: Final = b"\x1f\x8b"
_MOST_STRANGE: Final = 0.2  # of the characters; a run that begins a few characters early still shows its text


@dataclass(frozen=True, slots=True)
class Views:
    """A text and what it decodes to, itself first.  `whole`: no bound cut anything off."""

    texts: tuple[str, ...]
    whole: bool


def views(text: str, levels: int = LEVELS) -> Views:
    """The text, and its decodings up to `levels` deep."""
    if len(text) > MAX_CHARACTERS:
        return Views((text[:MAX_CHARACTERS],), whole=False)
    found: dict[str, int] = {text: 0}
    queue = [text]
    characters, whole = len(text), True
    for view in queue:  # grows while it is read
        level = found[view]
        if level >= levels:
            continue
        for decoded, cut in _decodings(view):
            whole = whole and not cut
            if not decoded or decoded in found:
                continue
            if len(found) >= MAX_VIEWS or characters + len(decoded) > MAX_CHARACTERS:
                return Views(tuple(found), whole=False)
            found[decoded] = level + 1
            characters += len(decoded)
            queue.append(decoded)
    return Views(tuple(found), whole)


def unwrapped(text: str) -> str:
    """A text with its escapes taken out in place: enough for what is compared with texts whose views were all taken."""
    if "\\" in text:
        text = unescaped(text)
    if "&" in text:
        text = html.unescape(text)
    return unquote_plus(text) if "%" in text else text


def runs(text: str, shortest: int) -> Iterator[str]:
    """What the long runs of a text decode to.  They are looked for by their least length alone, which costs a tenth of
    taking the text apart."""
    data = text.encode("utf-8", "surrogatepass")
    shape, least = data.translate(_RUN_OR_NOT), b"r" * (shortest - _MOST_PADDING)
    start = shape.find(least)
    for _ in range(MAX_RUNS):
        if start < 0:
            return
        end = shape.find(b" ", start)
        end = len(data) if end < 0 else end
        padding = data[end : end + _MOST_PADDING]
        run = data[start : min(end, start + MAX_RUN)] + padding[: len(padding) - len(padding.lstrip(b"="))]
        if len(run) >= shortest:
            yield from (decoded for decoded, _ in _unwrapped(run.decode("ascii")))
        start = shape.find(least, end)


def _decodings(text: str) -> Iterator[tuple[str, bool]]:
    if "\\" in text:
        yield unescaped(text), False
    if "&" in text:
        yield html.unescape(text), False
    if "%" in text:
        yield unquote_plus(text), False
    decoded: list[str] = []
    cut = False
    for number, match in enumerate(_RUN.finditer(text)):
        if number == MAX_RUNS:
            cut = True
            break
        for found, cut_off in _unwrapped(match.group()):
            decoded.append(found)
            cut = cut or cut_off
    yield "\n".join(decoded), cut  # one view: however many runs there are, they are few views
    compact = "".join(text.split())
    if len(compact) < len(text) and _RUN.fullmatch(compact):  # broken into lines, or spaced out
        yield from _unwrapped(compact)


def unescaped(text: str) -> str:
    """A text without the escapes of JSON and its relatives: fast, and the same for all who compare, not exact."""
    for escape, letter in _ESCAPES:
        text = text.replace(escape, letter)
    return _CODE.sub(lambda match: chr(int(match.group(1) or match.group(2), 16)), text) if "\\" in text else text


def _unwrapped(run: str) -> Iterator[tuple[str, bool]]:
    """What a run of letters and digits may stand for.  Most runs are words and stand for nothing."""
    body = run.rstrip("=")
    if _HEX.fullmatch(body):
        yield from _text_of(lambda: bytes.fromhex(body[: len(body) & ~1]))
    if _BASE32.fullmatch(body):
        yield from _text_of(lambda: base64.b32decode(body.upper() + "=" * (-len(body) % 8)))
    plain = body.replace("-", "+").replace("_", "/")
    for start in range(4):  # a path or a name before it shifts where the groups of four begin
        part = plain[start:]
        part = part if len(part) % 4 != 1 else part[:-1]
        got = list(_text_of(lambda part=part: binascii.a2b_base64(part + "=" * (-len(part) % 4))))  # type: ignore[misc]
        yield from got
        if got and start == 0:
            return


def _text_of(decode: Callable[[], bytes]) -> Iterator[tuple[str, bool]]:
    try:
        data = decode()
    except ValueError:
        return
    cut = False
    if data.startswith(_GZIP) or (data and data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0):
        inflater = zlib.decompressobj(wbits=47)  # either header
        try:
            inflated = inflater.decompress(data, MAX_INFLATED)
        except zlib.error:
            inflated = b""
        if inflated:
            data, cut = inflated, bool(inflater.unconsumed_tail)
    text = data.decode("utf-8", "replace")
    if text and len(_STRANGE.findall(text)) <= _MOST_STRANGE * len(text):
        yield text, cut
