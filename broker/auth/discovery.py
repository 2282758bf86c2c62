"""From a server's challenge to the authorization server a person would sign in at: asked, never guessed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.auth import metadata
from broker.auth.challenge import Bearer
from broker.auth.metadata import ResourceMetadata, ServerMetadata
from broker.auth.places import Near, Place, near, registered
from broker.auth.problems import AuthError
from broker.auth.requests import FIXED
from broker.auth.wire import Said, Wire

_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Found:
    """Where to sign in for a server."""

    server: Place
    allowed: Near
    resource: ResourceMetadata
    metadata: ServerMetadata


async def discover(wire: Wire, url: str, challenge: Bearer, mode: str, issuer: str = "") -> Found:
    """Ask the server, and then the authorization server it names; `issuer` was signed in at before, and
    is chosen as long as the server names it; whoever asks the person says if it is another one now.

    Raises:
        AuthError: why nobody can sign in there.
    """
    server = registered(url)
    allowed = near(server.host)
    said = await _first(wire, metadata.resource_addresses(server, challenge.resource_metadata), "no_resource_metadata")
    if mode.startswith(FIXED):  # a person said which resource it is
        said = {**said, "resource": server.url}
    resource = metadata.read_resource(said, server, allowed)
    chosen = next((one for one in resource.issuers if one.removesuffix("/") == issuer.removesuffix("/")), "")
    chosen = chosen or resource.issuers[0]
    described = await _first(wire, metadata.server_addresses(chosen, allowed), "no_server_metadata")
    return Found(server, allowed, resource, metadata.read_server(described, chosen, allowed))


async def _first(wire: Wire, places: Iterable[Place], code: str) -> dict[str, object]:
    """The first of the places that answers.  One that cannot answer now is no reason to look in another."""
    for place in places:
        said: Said = await wire.get(place)
        if said.status >= 500 or said.status in _LATER:
            raise AuthError("unavailable", place.host)
        if said.status == 200:
            if said.value is None:
                raise AuthError(code)
            return said.value
    raise AuthError(code)
