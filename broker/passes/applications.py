"""Applications that registered themselves (RFC 7591): where their answers may go, written into their own id.

Nothing of a registration is kept here: the id holds it, and a code only Bulkhead can make says that it is true.  So no
flood of registrations fills anything, and an id is good at the one address it was made for.  Pure.
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from broker.model import JsonObject
from broker.protocol.frames import strict_json

MAX_REDIRECTS: Final = 8
MAX_NAME: Final = 80
MAX_ID: Final = 4096  # characters; eight redirects of the longest kind
MAX_REDIRECT: Final = 256
APPLICATIONS: Final = ("cursor", "vscode", "vscode-insiders", "windsurf", "zed")
"""Schemes that the systems hand to one application each; any other one may be anybody's."""
_LOOPBACK: Final = re.compile(
    r"http://(127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?"
)
_SCHEME: Final = re.compile(rf"(?:{'|'.join(APPLICATIONS)})://[A-Za-z0-9._~/-]+")


class Unregistrable(Exception):
    """A registration that is refused.  `code` is the one of RFC 7591."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Application:
    """What an application said of itself; nobody vouches for the name."""

    id: str
    name: str
    redirects: tuple[str, ...]

    def takes(self, redirect: str) -> bool:
        """Whether an answer may go there: exactly as registered, but for the port on this machine (RFC 8252, 7.3)."""
        return is_redirect(redirect) and _without_port(redirect) in map(_without_port, self.redirects)


def registered(body: bytes, key: bytes) -> tuple[Application, JsonObject]:
    """Register what a body asks for; returns the answer, too.

    Raises:
        Unregistrable: it is no registration, or nothing it names may be sent an answer.
    """
    try:
        asked = strict_json(body)
    except (ValueError, RecursionError) as cause:
        raise Unregistrable("invalid_client_metadata") from cause
    wanted = asked.get("redirect_uris") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(wanted, list):
        raise Unregistrable("invalid_redirect_uri")
    redirects = tuple(dict.fromkeys(one for one in wanted if isinstance(one, str) and is_redirect(one)))
    if not redirects or len(wanted) > MAX_REDIRECTS:
        raise Unregistrable("invalid_redirect_uri")
    name = _name(asked.get("client_name"))
    said = json.dumps([name, *redirects], ensure_ascii=True, separators=(",", ":")).encode()
    application = Application(f"{_text(said)}.{_text(_seal(said, key))}", name, redirects)
    return application, {
        "client_id": application.id,
        "client_name": name,
        "redirect_uris": list(redirects),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


def known(id: str, key: bytes) -> Application | None:
    """The application with this id; None if it was not made here."""
    said, _, seal = id.partition(".")
    if not id.isascii() or len(id) > MAX_ID:
        return None
    try:
        text = _bytes(said)
        right = hmac.compare_digest(_bytes(seal), _seal(text, key))
    except ValueError:
        return None
    if not right or f"{_text(text)}.{_text(_seal(text, key))}" != id:  # one id, one spelling
        return None
    name, *redirects = json.loads(text)
    return Application(id, name, tuple(redirects))


def is_redirect(uri: str) -> bool:
    """Whether answers may go to such an address at all: this machine, or an application's own scheme."""
    return len(uri) <= MAX_REDIRECT and (_LOOPBACK.fullmatch(uri) or _SCHEME.fullmatch(uri)) is not None


def _without_port(uri: str) -> tuple[str, str]:
    found = _LOOPBACK.fullmatch(uri)
    return (found[1], found[2] or "") if found else ("", uri)


def _name(said: Any) -> str:
    text = said if isinstance(said, str) else ""
    return "".join(letter for letter in text[:MAX_NAME] if letter.isprintable())


def _seal(said: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"application 1\0" + said, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
