"""What a browser brings back: is it the answer to a sign-in that waits, and from whom?  Pure.

An answer that belongs to none neither ends one nor goes on with one: any page could send it.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from broker.auth.problems import AuthError

MAX_QUERY: Final = 8192
MAX_CODE: Final = 4096
_SAID: Final = frozenset({"invalid_scope", "invalid_target"})
"""Errors that tell what to do about them; for every other one the sign-in was denied."""
_ONCE: Final = ("code", "state", "iss", "error")


@dataclass(frozen=True, slots=True)
class Expected:
    """One sign-in that waits for its answer."""

    state: str = field(repr=False)
    path: str
    issuer: str
    says_issuer: bool
    deadline: float


@dataclass(frozen=True, slots=True)
class Brought:
    """An answer that belongs to `expected`: a code, or why there is none."""

    expected: Expected
    code: str = field(default="", repr=False)
    problem: AuthError | None = None


def judged(path: str, query: str, waiting: tuple[Expected, ...], now: float) -> Brought | None:
    """Whose answer it is and what it says; None when it is nobody's."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=32, encoding="ascii",
                          errors="strict")  # fmt: skip
    except (ValueError, UnicodeError):
        return None
    said = dict(pairs)
    if len(query) > MAX_QUERY or any(sum(name == once for name, _ in pairs) > 1 for once in _ONCE):
        return None
    if not said.get("state", "").isascii():
        return None
    expected = next((one for one in waiting if hmac.compare_digest(one.state, said.get("state", ""))), None)
    if expected is None or path != expected.path or now > expected.deadline:
        return None
    issuer = said.get("iss")
    if issuer != expected.issuer and (issuer is not None or expected.says_issuer):
        return Brought(expected, problem=AuthError("callback_issuer"))
    code = said.get("code", "")
    if "error" in said:
        return Brought(expected, problem=AuthError(said["error"] if said["error"] in _SAID else "access_denied"))
    if not 0 < len(code) <= MAX_CODE or not all("!" <= character <= "~" or character == " " for character in code):
        return Brought(expected, problem=AuthError("callback"))
    return Brought(expected, code)
