"""Packages that only carry messages to another server: mcp-remote, supergateway, mcp-proxy, @smithery/cli.

Pinning one would pin nothing: what answers is elsewhere.  mcp-remote stands for the server it leads to; the others are
refused, and the sentence says where they lead.
"""

from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers import npx, uvx
from broker.trust.launchers.git import is_git
from broker.trust.launchers.remote import CARRIER
from broker.trust.launchers.words import origin

CARRIERS: Final = frozenset({"mcp-remote", "supergateway", "mcp-proxy", "@smithery/cli"})


def leads_elsewhere(request: LaunchRequest) -> bool:
    """Whether the line is mcp-remote's, which is understood: it stands for the server behind it."""
    return _package(request) == CARRIER


def refuse_carriers(request: LaunchRequest) -> None:
    """Refuse a package whose job is to reach another server.

    Raises:
        LaunchLineError: it is one; the message names the origin of the server behind it.
    """
    name = _package(request)
    if name not in CARRIERS:
        return
    if name == "@smithery/cli":
        hint = "add the server it would fetch by its own package"
        raise LaunchLineError(f"{name} fetches another server at the start, which nobody pinned", hint=hint)
    urls = [word for arg in request.args for word in (arg, arg.partition("=")[2]) if origin(word)]
    if not urls:
        hint = "add that server by its own command"
        raise LaunchLineError(f"{name} runs another server, which would not be pinned", hint=hint)
    there = origin(urls[0])
    raise LaunchLineError(
        f"{name} only carries messages to the remote server {there}", hint="bulkhead add NAME -- ADDRESS"
    )


def _package(request: LaunchRequest) -> str:
    if is_git(request.requirement):
        repository = request.requirement.partition("#")[0].partition("@")[0].rpartition("/")[2]
        return request.bin or repository.removesuffix(".git")
    match request.kind:
        case "npm":
            return request.bin if request.bin in CARRIERS else npx.requirement(request.requirement)[0]
        case "pypi":
            return request.bin if request.bin in CARRIERS else uvx.requirement(request.requirement)[0]
        case "binary":
            return request.requirement.rpartition("/")[2]
        case _:
            return ""
