"""What an application asks for when it opens a browser here, and whether it may be answered at all.  Pure.

Before an application and the place its answers go to are known to belong together, nothing is sent anywhere: the
person sees a page.  After that, what is wrong goes back to the application, with its own `state` and our `iss`.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode

from broker.passes.applications import Application

MAX_FIELDS: Final = 16
MAX_VALUE: Final = 4096
MAX_STATE: Final = 1024
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class NoAnswer(Exception):
    """Nobody may be told: whoever asks cannot be trusted with an answer.  The text is for a page."""


class Refused(Exception):
    """The application is told, at `back`, with a code of RFC 6749 or 8707."""

    def __init__(self, code: str, back: "Back") -> None:
        super().__init__(code)
        self.code = code
        self.back = back


@dataclass(frozen=True, slots=True)
class Back:
    """Where an answer goes, and what it repeats."""

    redirect: str
    state: str | None
    issuer: str

    def with_code(self, code: str) -> str:
        return self._address({"code": code})

    def with_error(self, error: str) -> str:
        return self._address({"error": error})

    def _address(self, said: Mapping[str, str]) -> str:
        state = {} if self.state is None else {"state": self.state}
        return f"{self.redirect}?{urlencode({**said, **state, 'iss': self.issuer})}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pass that is asked for."""

    application: Application
    server: str
    back: Back
    challenge: str = field(repr=False)


def fields_of(text: str) -> dict[str, str]:
    """The fields of a query or a form.

    Raises:
        ValueError: one stands there twice, or it is no such text.
    """
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_FIELDS, errors="strict")
    found = dict(pairs)
    if len(found) != len(pairs) or any(len(value) > MAX_VALUE for value in found.values()):
        raise ValueError("a field stands there twice, or is too long")
    return found


def wanted(
    query: str, issuer: str, application: Callable[[str], Application | None], server: Callable[[str], str | None]
) -> Wanted:
    """What a query asks for.  `application` knows ids, `server` the addresses that a pass can be for.

    Raises:
        NoAnswer: it must not be answered.
        Refused: it is answered with an error.
    """
    try:
        said = fields_of(query)
    except ValueError as cause:
        raise NoAnswer("This address cannot be read.") from cause
    asking = application(said.get("client_id", ""))
    if asking is None:
        raise NoAnswer("No application with this id registered here.")
    redirect = said.get("redirect_uri", "")
    if not asking.takes(redirect):
        raise NoAnswer("The application wants its answer sent to an address that it did not register.")
    state = said.get("state")
    if state is not None and not (len(state) <= MAX_STATE and state.isascii() and state.isprintable()):
        raise NoAnswer("What the application wants back cannot be sent back.")
    back = Back(redirect, state, issuer)
    if said.get("response_type") != "code":
        raise Refused("unsupported_response_type", back)
    if said.get("response_mode", "query") != "query" or "request" in said or "request_uri" in said:
        raise Refused("invalid_request", back)
    challenge = said.get("code_challenge", "")
    if said.get("code_challenge_method") != "S256" or _CHALLENGE.fullmatch(challenge) is None:
        raise Refused("invalid_request", back)  # `plain`, which is also meant where no method is named, is no proof
    name = server(said.get("resource", ""))
    if name is None:
        raise Refused("invalid_target", back)
    return Wanted(asking, name, back, challenge)


def proves(verifier: str, challenge: str) -> bool:
    """PKCE with S256 (RFC 7636)."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)
