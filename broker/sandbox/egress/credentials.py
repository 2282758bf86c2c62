"""Whose credentials a request carries: those a person declared for it, and none of the server's own.

A server that could bring a key of its own to the host a secret belongs to could carry what it reads into somebody
else's account there.  Pure.
"""

import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_plus, urljoin, urlsplit

from broker.sandbox.egress.head import Head
from broker.sandbox.inspection import Inspected, Request, Secret

CREDENTIAL_FIELD: Final = re.compile(
    r"cookie2?|(?:proxy-)?authorization|(?:.*-)?(?:api-?)?key|(?:.*-)?(?:access-?)?token"
    r"|(?:.*-)?(?:secret|password|auth|signature|credentials?|session(?:-?id)?)"
)
NO_CREDENTIAL: Final = frozenset({"idempotency-key", "sec-websocket-key"})
CREDENTIAL_PARAMETER: Final = re.compile(
    r"(?:.*[_-])?(?:api_?-?key|access_?token|auth_?token|private_?token|oauth_?token|client_?secret|password|signature)"
    r"|key|token|auth|secret|sig"
)
SCHEME: Final = rb"(?:[A-Za-z][A-Za-z0-9_-]{0,31} )?"
NOT_SEARCHABLE: Final = frozenset({"accept-encoding", "range", "if-range", "sec-websocket-extensions"})
"""They would have an answer come packed or in pieces, and a value in it could not be found."""
MAX_REDIRECTS: Final = 256


class Credentials:
    """What is put into the requests of one sandbox, and what is taken out of them."""

    def __init__(self, inspected: Inspected) -> None:
        self._secrets = inspected.secrets
        self._led_to: dict[tuple[str, str], None] = {}

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(secret.value for secret in self._secrets)

    def settle(self, head: Head, request: Request, *, secure: bool) -> tuple[Head, tuple[str, ...]]:
        """The head to send, and the names of the secrets that were put into it."""
        if not self._secrets:
            return head, ()
        due = [secret for secret in self._secrets if self._is_due(secret, request, secure)]
        guarded = any(secret.rule.host.names(request.host) for secret in self._secrets)
        put: dict[str, None] = {}
        fields: list[tuple[str, bytes]] = []
        for name, value in head.fields:
            if name in NOT_SEARCHABLE:
                continue
            for secret in due:
                if name == secret.header and (found := _held(secret, value)) is not None:
                    fields.append((name, found))
                    put[secret.name] = None
                    break
            else:
                if not (guarded and is_credential(name, self._secrets)):
                    fields.append((name, value))
        fields.append(("accept-encoding", b"identity"))
        target = _without_credentials(head.target) if guarded else head.target
        return replace(head, target=target, fields=tuple(fields)), tuple(put)

    def led(self, request: Request, location: bytes, *, secure: bool) -> None:
        """An answer sent the program elsewhere: what it asks for there gets no secret."""
        if not self._secrets:
            return
        here = f"{'https' if secure else 'http'}://{request.host}:{request.port}{request.target}"
        try:
            place = urlsplit(urljoin(here, location.decode("latin-1").strip()))
            host = (place.hostname or "").rstrip(".")
        except ValueError:
            return  # no program can follow it either
        self._led_to.pop((host, place.path or "/"), None)
        while len(self._led_to) >= MAX_REDIRECTS:
            del self._led_to[next(iter(self._led_to))]
        self._led_to[host, place.path or "/"] = None

    def _is_due(self, secret: Secret, request: Request, secure: bool) -> bool:
        led = (request.host, request.path) in self._led_to
        return secure and not led and not request.upgrade and secret.rule.covers(request)


def is_credential(name: str, secrets: tuple[Secret, ...]) -> bool:
    """Whether a field of this name may carry somebody's rights."""
    declared = any(name == secret.header for secret in secrets)
    return declared or (name not in NO_CREDENTIAL and CREDENTIAL_FIELD.fullmatch(name) is not None)


def _held(secret: Secret, value: bytes) -> bytes | None:
    """The field with the value in the place of the placeholder, if it holds that and no more than a scheme before."""
    found = re.fullmatch(b"(" + SCHEME + b")" + re.escape(secret.placeholder.encode()), value)
    return found[1] + secret.value.encode() if found else None


def _without_credentials(target: str) -> str:
    path, mark, query = target.partition("?")
    if not mark:
        return target
    kept = [
        part
        for part in query.split("&")
        if CREDENTIAL_PARAMETER.fullmatch(unquote_plus(part.partition("=")[0]).lower()) is None
    ]
    return f"{path}?{'&'.join(kept)}" if kept else path
