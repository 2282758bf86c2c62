"""Secrets out, before anything is written.

A known secret is taken out by its value, in every string and key, as it is, JSON-escaped, URL-encoded, in hexadecimal
or in base64 (also inside a longer encoded text).  Beside the known ones a few unmistakable shapes go: bearer tokens,
PEM private keys, tokens with a well-known prefix, the password in a URL.  A value shorter than eight characters is not
looked for: it would blot out ordinary text and protect nothing.  Everything here takes time linear in the text.
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

from broker.errors import AuditError
from broker.model import JsonObject

MIN_SECRET: Final = 8
MAX_SECRET: Final = 64 * 1024
MAX_SECRETS: Final = 1000  # every one costs a search per entry
MAX_NAMES: Final = 4096  # links have a handful each
MAX_DEPTH: Final = 128  # deeper than any message we accept

# Why the look-behind: a match may only start where a run of token characters starts, so no run is scanned twice.
_START = r"(?<![A-Za-z0-9_-])"
_SHAPES: Final = (
    ("bearer", re.compile(r"(?i:(?<![A-Za-z0-9])(bearer)\s+)[A-Za-z0-9._~+/-]{8,}=*"), "earer", "EARER"),
    ("token", re.compile(_START + r"sk-[A-Za-z0-9_-]{20,}"), "sk-"),
    ("token", re.compile(_START + r"gh[opsur]_[A-Za-z0-9]{30,}"), "gho_", "ghp_", "ghs_", "ghu_", "ghr_"),
    ("token", re.compile(_START + r"github_pat_[A-Za-z0-9_]{22,}"), "github_pat_"),
    ("token", re.compile(_START + r"glpat-[A-Za-z0-9_-]{20,}"), "glpat-"),
    ("token", re.compile(_START + r"xox[abeprs]-[A-Za-z0-9-]{10,}"), "xox"),
    ("token", re.compile(_START + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])"), "AKIA", "ASIA"),
    ("token", re.compile(_START + r"AIza[A-Za-z0-9_-]{35}"), "AIza"),
    ("token", re.compile(_START + r"npm_[A-Za-z0-9]{36}"), "npm_"),
    ("token", re.compile(_START + r"pypi-[A-Za-z0-9_-]{50,}"), "pypi-"),
    ("token", re.compile(_START + r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"), "eyJ"),
)  # name, shape, and texts of which one stands in every match
_MARKS: Final = tuple(mark for name, _, *marks in _SHAPES for mark in marks if name == "token")
_LOOSE: Final = ("PRIVATE KEY", *(mark for name, _, *marks in _SHAPES for mark in marks if name != "token"))
_URL_PASSWORD: Final = re.compile(r"""(://[^\s/:@"'\\]{0,256}:)[^\s/@"'\\]{1,256}(?=@)""")
_PEM_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY-----")
_PEM_END = "PRIVATE KEY-----"

_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{13,}")
"""Every token has such a run, and most secrets are within one, encoded or not; few ordinary words are so long."""

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Redactor:
    """Knows the secret values of this daemon.  Its `repr` shows none."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._forms: tuple[tuple[str, str], ...] = ()
        self._traces: tuple[str, ...] = ()
        self._long: tuple[str, ...] = ()
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._all_plain = True

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._values)} secrets>"

    def add(self, name: str, value: str) -> None:
        """Take `value` out of everything from now on; `name` stands in its place.

        Raises:
            AuditError: there are too many secrets to look for, or this one is too long.
        """
        if len(value) < MIN_SECRET:
            return
        if len(value) > MAX_SECRET or (value not in self._values and len(self._values) >= MAX_SECRETS):
            raise AuditError(
                f"the secret {_plain(name)} cannot be kept out of the audit log: there are too many, "
                f"or it is longer than {MAX_SECRET} characters",
                hint="store it as a file reference",
            )
        self._values[value] = _plain(name)
        self._look_for()

    def drop(self, value: str) -> None:
        """Look for `value` no more: it was a short-lived one, and is over."""
        if self._values.pop(value, None) is not None:
            self._look_for()

    def _look_for(self) -> None:
        self._all_plain = all(_encode(value) == f'"{value}"' for value in self._values)
        forms = {form: name for value, name in self._values.items() for form in _forms_of(value)}
        # The longest first: a secret that contains another one goes as a whole.
        self._forms = tuple(sorted(forms.items(), key=lambda item: (-len(item[0]), item[0])))
        traces = {_encode(form)[1:-1] for form, _ in self._forms}
        # Of two texts, one within the other, finding the shorter is enough to look closer.
        shortest = [t for t in traces if not any(other != t and other in t for other in traces)]
        self._long = tuple(trace for trace in shortest if _RUN.fullmatch(trace))
        self._traces = tuple(trace for trace in shortest if not _RUN.fullmatch(trace))
        self._names.clear()

    def json(self, value: JsonObject | None) -> str:
        """`value` as compact ASCII JSON without secrets."""
        text = _encode(value)
        return _encode(self._clean(value, 0)) if self.suspects(text) else text

    def names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Each as JSON without secrets.  Remembered: the same come with every receipt of a link."""
        known = self._names.get(names)
        if known is None:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            known = self._names[names] = tuple(_encode(self.text(name)) for name in names)
        return known

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for form, name in self._forms:
            if form in text:
                text = text.replace(form, f"[redacted:{name}]")
        for view in _views(text) if self._values else ():
            for value, name in self._values.items():
                if value in view:  # encoded in part: nothing of such a text is worth keeping
                    return f"[redacted:{name}]"
        return _without_shapes(text)

    def suspects(self, text: str) -> bool:
        """Whether there may be something to take out of JSON text; most holds nothing of the kind, and stays."""
        for trace in self._traces:  # loops, as this is on the way of every message and `any` takes twice as long
            if trace in text:
                return True
        if _RUN.search(text) is not None:
            for trace in self._long:
                if trace in text:
                    return True
            for mark in _MARKS:
                if mark in text:
                    return True
        for mark in _LOOSE:
            if mark in text:
                return True
        if "://" in text and _URL_PASSWORD.search(text) is not None:
            return True
        return bool(self._values) and self._hides(text)

    def _hides(self, text: str) -> bool:
        """Whether JSON text may hold a known value in an encoding of its own.

        A backslash of the value's own is two in JSON; one alone only writes a line end, a quote or a letter.
        """
        if "\\\\" in text:
            return True
        if "%" not in text and "+" not in text:
            return False
        if not self._all_plain:  # JSON writes such a value in another way than it is
            return True
        views = {urllib.parse.unquote(text), urllib.parse.unquote_plus(text)}
        return any(value in view for view in views for value in self._values)

    def _clean(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return "[too deep]"
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return self._clean_keys({key: self._clean(item, depth + 1) for key, item in value.items()})
        if isinstance(value, list | tuple):
            return [self._clean(item, depth + 1) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = _encode(value)
            cleaned = self.text(shown)
            return value if cleaned == shown else cleaned
        return value

    def _clean_keys(self, table: JsonObject) -> JsonObject:
        cleaned: JsonObject = {}
        for key, item in table.items():
            name = self.text(key)
            while name in cleaned:  # two keys may become one text; neither value is dropped
                name += "'"
            cleaned[name] = item
        return cleaned


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:64] or "secret"


def _forms_of(value: str) -> set[str]:
    """Every way `value` is looked for."""
    raw = value.encode("utf-8", "surrogatepass")
    forms = {value, raw.hex(), raw.hex().upper()}
    for text in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        forms |= {text, text.replace("/", "\\/"), json.dumps(text)[1:-1]}
    for safe in ("", "/", "!'()*~"):
        for quoted in (urllib.parse.quote(raw, safe=safe), urllib.parse.quote_plus(raw, safe=safe)):
            forms |= {quoted, re.sub("%..", lambda found: found.group().lower(), quoted)}
    for shift in range(3):  # where the value starts within a group of three bytes decides how it looks in base64
        encoded = base64.b64encode(b"\0" * shift + raw)
        # The first characters hold bits of what stands before, the last ones bits of what comes after.
        core = encoded.rstrip(b"=")[(0, 2, 3)[shift] : (shift + len(raw)) // 3 * 4 or None].decode("ascii")
        forms |= {core, core.translate(_URL_ALPHABET)}
    whole = base64.b64encode(raw).decode("ascii")
    for text in (whole, whole.rstrip("=")):
        forms |= {text, text.translate(_URL_ALPHABET)}
    return {form for form in forms if len(form) >= MIN_SECRET}


_URL_ALPHABET: Final = str.maketrans("+/", "-_")


def _views(text: str) -> Iterator[str]:
    """What `text` says to somebody who decodes it once: URL encoding, and JSON escapes."""
    if "%" in text or "+" in text:
        yield urllib.parse.unquote(text)
        yield urllib.parse.unquote_plus(text)
    if "\\" in text:
        yield _ESCAPE.sub(_unescaped, text)
        yield _UNICODE.sub(_unescaped, text)  # a backslash before the first escape shifts what the line above sees


_ESCAPE = re.compile(r'\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]')
_UNICODE = re.compile(r"\\u[0-9a-fA-F]{4}")
_SHORT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescaped(escape: re.Match[str]) -> str:
    found = escape.group()
    return chr(int(found[2:], 16)) if found[1] == "u" else _SHORT.get(found[1], found[1])


def _without_shapes(text: str) -> str:
    if "PRIVATE KEY" in text:
        text = _without_private_keys(text)
    for name, shape, *marks in _SHAPES:
        if any(mark in text for mark in marks):
            kept = r"\1 " if name == "bearer" else ""
            text = shape.sub(f"{kept}[redacted:{name}]", text)
    return _URL_PASSWORD.sub(r"\1[redacted:password]", text) if "://" in text else text


def _without_private_keys(text: str) -> str:
    """A key whose end is missing goes with everything after it."""
    kept, position = [], 0
    while (begin := _PEM_BEGIN.search(text, position)) is not None:
        kept += [text[position : begin.start()], "[redacted:private-key]"]
        end = text.find(_PEM_END, begin.end())
        position = len(text) if end < 0 else end + len(_PEM_END)
    return "".join(kept) + text[position:]
