"""What can go wrong with a sign-in: fixed codes, each with our own sentence and what to do now.

A server's words are neither shown nor kept: they reach people and models, and are written by strangers.
"""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from broker.errors import BulkheadError


class Kind(Enum):
    """What follows from it: it is over, it may work in a while, or a person has to sign in."""

    REFUSED = "refused"
    LATER = "later"
    SIGN_IN = "sign in"


@dataclass(frozen=True, slots=True)
class _Problem:
    kind: Kind
    sentence: str
    hint: str = ""


_LOGIN: Final = "sign in again: bulkhead login NAME --client CLIENT"
_OPERATOR: Final = "tell whoever runs the server; nothing was sent to it that matters"
_BY_HAND: Final = "register Bulkhead there by hand, then: bulkhead login NAME --client-id ID"
_LATER: Final = "try again in a while; what was agreed to is kept"

PROBLEMS: Final = MappingProxyType(
    {
        "challenge": _Problem(Kind.REFUSED, "the server asks for a sign-in in a way that cannot be read", _OPERATOR),
        "address": _Problem(Kind.REFUSED, "an address that the server named may not be asked", _OPERATOR),
        "elsewhere": _Problem(Kind.REFUSED, "the server points elsewhere for what it must say itself", _OPERATOR),
        "no_resource_metadata": _Problem(
            Kind.REFUSED,
            "the server needs a sign-in, and does not say where (RFC 9728)",
            "give it a fixed header: --env HEADER=VALUE",
        ),
        "resource_metadata": _Problem(Kind.REFUSED, "what the server says of signing in cannot be used", _OPERATOR),
        "other_resource": _Problem(
            Kind.REFUSED,
            "what the server says of signing in is about another resource",
            "if you know why this is right: bulkhead login NAME --resource fixed:URI",
        ),
        "no_server_metadata": _Problem(
            Kind.REFUSED, "the authorization server does not describe itself (RFC 8414)", _OPERATOR
        ),
        "server_metadata": _Problem(
            Kind.REFUSED, "what the authorization server says of itself cannot be used", _OPERATOR
        ),
        "other_issuer": _Problem(Kind.REFUSED, "the authorization server says that it is another one", _OPERATOR),
        "no_pkce": _Problem(
            Kind.REFUSED, "the authorization server does not announce PKCE with S256, without which none is used",
            _OPERATOR,
        ),
        "needs_client_id": _Problem(Kind.SIGN_IN, "this authorization server registers nobody by itself", _BY_HAND),
        "foreign_client_id": _Problem(
            Kind.REFUSED, "the client id that was given belongs to another authorization server", _BY_HAND
        ),
        "registration": _Problem(Kind.REFUSED, "the authorization server refused to register Bulkhead", _BY_HAND),
        "registration_answer": _Problem(Kind.REFUSED, "the registration came back in a form that cannot be used",
                                        _BY_HAND),
        "scope": _Problem(Kind.REFUSED, "the server asks for scopes that cannot be scopes", _OPERATOR),
        "refused_by_person": _Problem(Kind.SIGN_IN, "nobody agreed to this sign-in", _LOGIN),
        "sign_in_needed": _Problem(Kind.SIGN_IN, "it needs a sign-in", _LOGIN),
        "sign_in_pending": _Problem(
            Kind.SIGN_IN, "a sign-in waits for a person", "finish it in the browser (bulkhead tokens), then call again"
        ),
        "too_many": _Problem(
            Kind.REFUSED, "the server asked for too many sign-ins in a short time", "wait ten minutes, then sign in"
        ),
        "timed_out": _Problem(Kind.SIGN_IN, "nobody finished the sign-in in time", _LOGIN),
        "callback": _Problem(Kind.REFUSED, "what came back from the browser does not belong to this sign-in", _LOGIN),
        "callback_issuer": _Problem(
            Kind.REFUSED, "the answer to the sign-in came from another authorization server", _OPERATOR
        ),
        "access_denied": _Problem(Kind.SIGN_IN, "the sign-in was denied", _LOGIN),
        "no_device_flow": _Problem(
            Kind.REFUSED, "this authorization server has no sign-in for devices", "bulkhead login NAME --paste"
        ),
        "no_client_credentials": _Problem(
            Kind.REFUSED, "a sign-in without a person needs a client id and a key",
            "bulkhead login NAME --client-id ID --client-key FILE",
        ),
        "token_answer": _Problem(Kind.REFUSED, "the authorization server gave no token that can be used", _OPERATOR),
        "token_refused": _Problem(Kind.REFUSED, "the authorization server gave no token", _LOGIN),
        "invalid_grant": _Problem(Kind.SIGN_IN, "the sign-in is not valid any more", _LOGIN),
        "invalid_client": _Problem(Kind.SIGN_IN, "the authorization server has forgotten Bulkhead", _LOGIN),
        "invalid_target": _Problem(
            Kind.REFUSED,
            "the authorization server does not know this resource",
            "some take none: bulkhead login NAME --resource omit",
        ),
        "invalid_scope": _Problem(Kind.REFUSED, "the authorization server does not give these scopes", _OPERATOR),
        "unavailable": _Problem(Kind.LATER, "the authorization server could not be asked", _LATER),
        "proxy": _Problem(
            Kind.LATER, "the way to the authorization server goes through a proxy, which is not open",
            "look at proxy.toml, then: bulkhead review",
        ),
        "too_large": _Problem(Kind.REFUSED, "an answer about signing in was too large or packed", _OPERATOR),
        "insufficient_scope": _Problem(
            Kind.REFUSED, "the server wants more than it was given, and asked for it again after it was", _OPERATOR
        ),
        "rejected": _Problem(Kind.SIGN_IN, "the server does not take the token it was given", _LOGIN),
    }
)  # fmt: skip


class AuthError(BulkheadError):
    """A sign-in that cannot go on.  `about` is words of ours: which endpoint, which host."""

    def __init__(self, code: str, about: str = "") -> None:
        problem = PROBLEMS[code]
        super().__init__(f"{problem.sentence}{f' ({about})' if about else ''}", hint=problem.hint)
        self.code = code
        self.kind = problem.kind

    def named(self, client: str, server: str) -> "AuthError":
        """The same, with what to do now spelled out for one client and server."""
        self.hint = self.hint.replace("NAME", server).replace("CLIENT", client)
        return self
