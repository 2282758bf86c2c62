"""What an authorization server answers, and what follows from it.  Pure.

An error is one of a fixed list or unknown; its words go nowhere.  Only an error that says so ends a grant: whatever
else goes wrong may go right a moment later.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.auth.places import Near, Place, place_of
from broker.auth.problems import PROBLEMS, AuthError
from broker.auth.scopes import Scopes, scopes_of

MAX_LIFE: Final = 10 * 366 * 86400.0
UNKNOWN_LIFE: Final = 0.0
DEVICE_SECONDS: Final = 5.0
SLOWER_SECONDS: Final = 5.0
MAX_DEVICE_SECONDS: Final = 60.0
MAX_DEVICE_LIFE: Final = 1800.0
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_USER_CODE: Final = re.compile(r"[A-Za-z0-9 \-]{1,32}")
_LATER: Final = frozenset({408, 425, 429})
_ALIASES: Final = {
    "unauthorized_client": "invalid_client",
    "bad_refresh_token": "invalid_grant",
    "bad_verification_code": "invalid_grant",
    "expired_token": "timed_out",
    "access_denied": "access_denied",
}
"""Names that some give to errors of RFC 6749, and those of RFC 8628."""
_ENDS: Final = frozenset({"invalid_grant", "invalid_client", "invalid_target", "invalid_scope", *_ALIASES})
WAITS: Final = frozenset({"authorization_pending", "slow_down"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave.  `expires` is 0 where it was not said."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    expires: float = 0.0
    lifetime: float = 0.0
    scopes: Scopes | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What RFC 8628 shows to a person, and what is asked with meanwhile."""

    code: str = field(repr=False)
    user_code: str
    place: Place
    expires: float
    seconds: float


def error_of(said: Mapping[str, Any] | None) -> str:
    """The error of an answer, if it is one that is known."""
    found = (said or {}).get("error")
    return found if isinstance(found, str) and (found in _ENDS or found in WAITS) else ""


def problem_of(status: int, said: Mapping[str, Any] | None) -> AuthError:
    """What an answer without a token means."""
    error = error_of(said)
    if error in _ENDS:
        code = _ALIASES.get(error, error)
        return AuthError(code if code in PROBLEMS else "token_refused")
    if status >= 500 or status in _LATER or 300 <= status < 400 or (said is None and status == 200):
        return AuthError("unavailable")  # a page of somebody in between is no answer of the one that was asked
    return AuthError("token_refused")


def tokens(status: int, said: Mapping[str, Any] | None, now: float) -> Tokens:
    """The tokens of an answer.

    Raises:
        AuthError: there are none that can be used, and why.
    """
    if status != 200 or said is None or "error" in said:
        raise problem_of(status, said)
    access, refresh, kind = said.get("access_token"), said.get("refresh_token"), said.get("token_type")
    if not isinstance(access, str) or _TOKEN.fullmatch(access) is None:
        raise AuthError("token_answer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise AuthError("token_answer", "it is no bearer token")
    if refresh is not None and (not isinstance(refresh, str) or _TOKEN.fullmatch(refresh) is None):
        raise AuthError("token_answer")
    life = _life(said.get("expires_in"))
    granted = said.get("scope")
    return Tokens(
        access,
        refresh or "",
        now + life if life is not None else 0.0,
        life or 0.0,
        scopes_of(granted.replace(",", " ")) if isinstance(granted, str) else None,  # some write them with commas
    )


def device(status: int, said: Mapping[str, Any] | None, allowed: Near, now: float) -> DeviceCode:
    """What a person is shown to sign in on another machine.

    Raises:
        AuthError: nothing that can be shown or used.
    """
    if status != 200 or said is None:
        raise problem_of(status, said)
    code, user_code = said.get("device_code"), said.get("user_code")
    if not isinstance(code, str) or _TOKEN.fullmatch(code) is None:
        raise AuthError("token_answer")
    if not isinstance(user_code, str) or _USER_CODE.fullmatch(user_code) is None:
        raise AuthError("token_answer")
    place = place_of(said.get("verification_uri"), allowed, "verification address")
    life, seconds = _life(said.get("expires_in")), _life(said.get("interval"))
    return DeviceCode(
        code,
        user_code,
        place,
        now + min(life or MAX_DEVICE_LIFE, MAX_DEVICE_LIFE),
        min(max(seconds or DEVICE_SECONDS, 1.0), MAX_DEVICE_SECONDS),
    )


def _life(value: object) -> float | None:
    """Seconds, where they are a number or digits; None where nobody can tell."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return MAX_LIFE
    return None if math.isnan(seconds) else max(0.0, min(seconds, MAX_LIFE))
