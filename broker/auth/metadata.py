"""What a server says of its sign-in (RFC 9728), and an authorization server of itself (RFC 8414, OpenID).  Pure.

Where to look is derived, never guessed; an issuer is the one that was named, letter by letter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.auth.places import Near, Place, covers, place_of
from broker.auth.problems import AuthError
from broker.auth.scopes import Scopes, scopes_of

MAX_ISSUERS: Final = 10
_RESOURCE: Final = "/.well-known/oauth-protected-resource"
_SERVER: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """`resource` is sent back byte for byte; `issuers` in the server's order, at least one."""

    resource: str
    issuers: tuple[str, ...]
    scopes: Scopes


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """An authorization server: where to do what, and what it announced."""

    issuer: str
    authorization: Place
    token: Place
    registration: Place | None = None
    revocation: Place | None = None
    device: Place | None = None
    says_issuer: bool = False
    takes_documents: bool = False
    scopes: Scopes = ()
    token_methods: tuple[str, ...] = ()


def resource_addresses(server: Place, named: str) -> tuple[Place, ...]:
    """Where a server describes its sign-in: where it says, else beside its path, else at its root.

    Raises:
        AuthError: it says somewhere else than within itself.
    """
    if named:
        place = place_of(named, Near.THIS_MACHINE, "resource metadata")
        if place.origin != server.origin:
            raise AuthError("elsewhere", "resource metadata")
        return (place,)
    paths = [f"{_RESOURCE}{server.path}"] if server.path not in ("", "/") else []
    return tuple(
        place_of(f"{server.origin}{path}", Near.THIS_MACHINE, "resource metadata") for path in (*paths, _RESOURCE)
    )


def read_resource(said: Mapping[str, Any], server: Place, allowed: Near) -> ResourceMetadata:
    """The metadata of a resource.

    Raises:
        AuthError: it is about another one, or names nobody to sign in at.
    """
    resource, issuers = said.get("resource"), said.get("authorization_servers")
    if not isinstance(resource, str):
        raise AuthError("resource_metadata")
    try:
        is_ours = covers(place_of(resource, Near.THIS_MACHINE, "resource"), server)
    except AuthError as cause:
        raise AuthError("other_resource") from cause
    if not is_ours:
        raise AuthError("other_resource")
    if not isinstance(issuers, list) or not 0 < len(issuers) <= MAX_ISSUERS:
        raise AuthError("resource_metadata")
    for issuer in issuers:
        _issuer(issuer, allowed)
    return ResourceMetadata(resource, tuple(issuers), scopes_of(said.get("scopes_supported") or ""))


def server_addresses(issuer: str, allowed: Near) -> tuple[Place, ...]:
    """Where an authorization server may describe itself, in the order in which they are asked.

    Raises:
        AuthError: it is no issuer.
    """
    place = _issuer(issuer, allowed)
    path = place.path.rstrip("/")
    places = (f"{_SERVER}{path}", f"{_OPENID}{path}", f"{path}{_OPENID}") if path else (_SERVER, _OPENID)
    return tuple(place_of(place.origin + where, allowed, "authorization server metadata") for where in places)


def read_server(said: Mapping[str, Any], issuer: str, allowed: Near) -> ServerMetadata:
    """The metadata of an authorization server.

    Raises:
        AuthError: it is another one, lacks what is needed, or leads to where nothing may be sent.
    """
    named = said.get("issuer")
    if not isinstance(named, str) or not _same(named, issuer, _issuer(issuer, allowed)):
        raise AuthError("other_issuer")
    methods = said.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise AuthError("no_pkce")
    kinds = said.get("response_types_supported", ["code"])
    if not isinstance(kinds, list) or "code" not in kinds:
        raise AuthError("server_metadata")

    def endpoint(name: str) -> Place | None:
        found = said.get(f"{name}_endpoint")
        return None if found is None else place_of(found, allowed, f"{name} endpoint")

    authorization, token = endpoint("authorization"), endpoint("token")
    if authorization is None or token is None:
        raise AuthError("server_metadata")
    token_methods = said.get("token_endpoint_auth_methods_supported")
    return ServerMetadata(
        issuer=named,
        authorization=authorization,
        token=token,
        registration=endpoint("registration"),
        revocation=endpoint("revocation"),
        device=endpoint("device_authorization"),
        says_issuer=said.get("authorization_response_iss_parameter_supported") is True,
        takes_documents=said.get("client_id_metadata_document_supported") is True,
        scopes=_known(said.get("scopes_supported")),
        token_methods=_known(token_methods),
    )


def _known(value: object) -> tuple[str, ...]:
    """A list of words that only helps to choose: what cannot be read is not there."""
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()


def _issuer(issuer: object, allowed: Near) -> Place:
    place = place_of(issuer, allowed, "issuer")
    if "?" in place.url or ".." in place.path:
        raise AuthError("address", "issuer")
    return place


def _same(named: str, issuer: str, place: Place) -> bool:
    """Exactly; only the root of a host may be written with its slash or without, which is one address (RFC 3986)."""
    return named == issuer or (place.path in ("", "/") and named.removesuffix("/") == issuer.removesuffix("/"))
