"""How Bulkhead becomes known to an authorization server, in the order of the specification.  Pure.

Registered by hand, else a client id metadata document, else dynamic registration (RFC 7591), else a person is asked.
What one authorization server gave is never shown to another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from broker.auth.metadata import ServerMetadata
from broker.auth.problems import AuthError
from broker.model import JsonObject

Method: TypeAlias = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]
How: TypeAlias = Literal["by hand", "document", "dynamic"]

DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
METHODS: Final[tuple[Method, ...]] = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
WORD: Final = re.compile(r"[\x21-\x7e]{1,2048}")
MAX_AGE: Final = 100 * 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Registration:
    """What Bulkhead is to one issuer, for one client of the user.  `expires` is 0 for never."""

    issuer: str
    client_id: str
    how: How
    method: Method = "none"
    secret: str = field(default="", repr=False)
    redirect: str = ""
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class ByHand:
    """A registration a person made.  `issuer` empty: it counts for the one that is found first, and then is kept."""

    client_id: str
    secret: str = field(default="", repr=False)
    issuer: str = ""
    method: Method | None = None


def known(
    metadata: ServerMetadata,
    kept: Registration | None,
    by_hand: ByHand | None,
    document: str,
    redirect: str,
    now: float,
) -> Registration | None:
    """What can be used without asking the authorization server; None where it has to be asked.

    Raises:
        AuthError: what was given belongs to another one, or there is no way to become known.
    """
    if by_hand is not None:
        if by_hand.issuer and by_hand.issuer != metadata.issuer:
            raise AuthError("foreign_client_id")
        method = by_hand.method or _method_for(metadata, by_hand.secret)
        return Registration(metadata.issuer, by_hand.client_id, "by hand", method, by_hand.secret, redirect)
    if document and metadata.takes_documents:
        return Registration(metadata.issuer, document, "document", redirect=redirect)
    is_ours = kept is not None and kept.how == "dynamic" and (kept.issuer, kept.redirect) == (metadata.issuer, redirect)
    if kept is not None and is_ours and not 0 < kept.expires <= now:
        return kept
    if metadata.registration is None:
        raise AuthError("needs_client_id", f"register Bulkhead there with the redirect {redirect}")
    return None


def request(client: str, redirect: str, metadata: ServerMetadata, *, device: bool = False) -> JsonObject:
    """What is asked for.  Without a scope: one that was registered would cap what can be asked for later."""
    offered = [method for method in METHODS[:3] if method in metadata.token_methods]
    return {
        "client_name": f"Bulkhead for {client}",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token", *([DEVICE] if device else [])],
        "response_types": ["code"],
        "token_endpoint_auth_method": offered[0] if offered else "none",
        "application_type": "native",
    }


def read(status: int, said: Mapping[str, Any] | None, issuer: str, redirect: str, now: float) -> Registration:
    """What came of it.

    Raises:
        AuthError: nothing that can be used.
    """
    if status not in (200, 201):
        raise AuthError("registration")
    said = said or {}
    client_id, secret = said.get("client_id"), said.get("client_secret") or ""
    if not isinstance(client_id, str) or WORD.fullmatch(client_id) is None:
        raise AuthError("registration_answer")
    if not isinstance(secret, str) or (secret and WORD.fullmatch(secret) is None):
        raise AuthError("registration_answer")
    method = said.get("token_endpoint_auth_method") or ("client_secret_basic" if secret else "none")
    if method not in METHODS[:3] or (method != "none" and not secret):
        raise AuthError("registration_answer")
    redirects = said.get("redirect_uris")
    if redirects is not None and (not isinstance(redirects, list) or redirect not in redirects):
        raise AuthError("registration_answer")
    expires = said.get("client_secret_expires_at") or 0
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not 0 <= expires < now + MAX_AGE:
        expires = 0
    return Registration(issuer, client_id, "dynamic", method, secret, redirect, float(expires) if secret else 0.0)


def _method_for(metadata: ServerMetadata, secret: str) -> Method:
    """How a registration by hand proves itself: as the server prefers, where that is said."""
    if not secret:
        return "none"
    said = metadata.token_methods
    return "client_secret_post" if "client_secret_post" in said and "client_secret_basic" not in said else (
        "client_secret_basic"
    )  # fmt: skip
