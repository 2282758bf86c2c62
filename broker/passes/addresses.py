"""The addresses at which an application signs in here, and the two documents that describe them.  Pure.

Each address of a client is an authorization server of its own: what was issued at one means nothing at another.
"""

import re
from typing import Final

from broker.model import JsonObject

DESK: Final = "@sign-in"
"""Stands where a server's name stands; none can be called so."""
OF_RESOURCE: Final = "/.well-known/oauth-protected-resource/"
OF_ISSUER: Final = "/.well-known/oauth-authorization-server/"
WELL_KNOWN: Final = "/.well-known/"
MAX_BODY: Final = 16 * 1024
_SERVER: Final = re.compile(r"@?[A-Za-z0-9_.-]{1,64}")


def issuer(host: str, path: str) -> str:
    return f"http://{host}/{path}"


def resource(host: str, path: str, server: str) -> str:
    return f"http://{host}/{path}/{server}"


def desk(path: str, what: str) -> str:
    """The path of one thing that can be done here."""
    return f"/{path}/{DESK}/{what}"


def challenge(host: str, path: str, server: str, *, refused: bool) -> str:
    """What an application without a good pass is told: where it can read how to get one."""
    if _SERVER.fullmatch(server) is None:
        return "Bearer"
    why = 'error="invalid_token", ' if refused else ""
    return f'Bearer {why}resource_metadata="http://{host}{OF_RESOURCE}{path}/{server}"'


def resource_document(host: str, path: str, server: str) -> JsonObject:
    """RFC 9728."""
    return {
        "resource": resource(host, path, server),
        "resource_name": f"{server} through Bulkhead",
        "authorization_servers": [issuer(host, path)],
        "bearer_methods_supported": ["header"],
    }


def issuer_document(host: str, path: str) -> JsonObject:
    """RFC 8414.  No secret of an application, no other way than a code with S256."""

    def at(what: str) -> str:
        return f"http://{host}{desk(path, what)}"

    return {
        "issuer": issuer(host, path),
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "registration_endpoint": at("register"),
        "revocation_endpoint": at("revoke"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
