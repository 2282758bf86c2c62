"""Scopes: what they may look like, and which are asked for.  Pure.

A server may ask for anything; nothing is hidden from the person, so what cannot be shown cannot be a scope.
"""

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from broker.auth.problems import AuthError

Scopes: TypeAlias = tuple[str, ...]

MAX_SCOPES: Final = 64
OFFLINE: Final = "offline_access"
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")


def scopes_of(value: object) -> Scopes:
    """Scopes as a text with spaces, or as a list; each once, in their order.

    Raises:
        AuthError: one of them cannot be a scope, or there are too many to be read by anybody.
    """
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list):
        raise AuthError("scope")
    found: dict[str, None] = {}
    for word in words:
        if not isinstance(word, str) or (word and _SCOPE.fullmatch(word) is None) or len(found) > MAX_SCOPES:
            raise AuthError("scope")
        if word:
            found[word] = None
    return tuple(found)


def wanted(challenged: Scopes, of_resource: Scopes, of_server: Scopes, held: Iterable[str] = ()) -> Scopes:
    """What to ask for: what the server just asked for, else all it knows; what is held already stays with it.

    `offline_access` is asked for only where the authorization server knows it: it makes refresh tokens.
    """
    asked = dict.fromkeys((*held, *(challenged or of_resource)))
    if OFFLINE in of_server:
        asked[OFFLINE] = None
    if len(asked) > MAX_SCOPES + 1:
        raise AuthError("scope")
    return tuple(asked)
