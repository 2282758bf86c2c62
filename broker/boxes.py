"""The `[sandbox]` part of a server's document: how much it may use, what it keeps, whether it is boxed in at all."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.errors import SandboxError
from broker.model import Grants, Limits, ServerName, State
from broker.sandbox.hosts import PROXY_PORT
from broker.sandbox.limits import changed, differing

MAX_PORTS: Final = 8
LOWEST_PORT: Final = 1024  # those below are the system's
HIGHEST_PORT: Final = 65_535


class SandboxTable(BaseModel):
    """As a person reads and writes it; what is not there is our own choice."""

    model_config = ConfigDict(extra="forbid")
    mode: Literal["on", "off"] = "on"
    state: State = "none"
    unix_sockets: bool = False
    listen: Annotated[list[int], Field(max_length=MAX_PORTS)] = []
    limits: Annotated[dict[str, str], Field(max_length=32)] = {}


def box_table(grants: Grants) -> dict[str, Any]:
    """What a document says of `grants`: nothing where all of it is our own choice."""
    table: dict[str, Any] = {}
    if not grants.boxed:
        table["mode"] = "off"
    if grants.state != "none":
        table["state"] = grants.state
    if grants.unix_sockets:
        table["unix_sockets"] = True
    if grants.listen:
        table["listen"] = list(grants.listen)
    if limits := differing(grants.limits):
        table["limits"] = limits
    return {"sandbox": table} if table else {}


def with_box(grants: Grants, table: SandboxTable) -> Grants:
    """`grants` with what the document says of the sandbox.

    Raises:
        ConfigError: a limit is unknown, or makes no sense.
    """
    return replace(
        grants,
        limits=changed(Limits(), table.limits),
        state=table.state,
        boxed=table.mode == "on",
        unix_sockets=table.unix_sockets,
        listen=check_listen(ServerName("a server"), table.listen),
    )


def check_listen(server: ServerName, ports: Sequence[int]) -> tuple[int, ...]:
    """Ports as a person named them, each once.

    Raises:
        SandboxError: one of them no server can have.
    """
    for port in ports:
        if not LOWEST_PORT <= port <= HIGHEST_PORT or port == PROXY_PORT:
            raise SandboxError(
                f"{server} cannot listen at port {port}",
                hint=f"grant one between {LOWEST_PORT} and {HIGHEST_PORT}, but not {PROXY_PORT}",
            )
    if len(set(ports)) > MAX_PORTS:
        raise SandboxError(f"{server} cannot listen at more than {MAX_PORTS} ports", hint="grant those it really needs")
    return tuple(dict.fromkeys(ports))


def check_elsewhere(server: ServerName, grants: Grants) -> None:
    """Refuse what means nothing for a server that runs elsewhere, and would only look like a wall.

    Raises:
        SandboxError: what of it was asked for.
    """
    asked = [str(path) for path in (*grants.read, *grants.write)] + list(grants.hosts)
    asked += ["an inspection"] if grants.inspection is not None else []
    asked += ["a kept state"] if grants.state != "none" else []
    asked += [f"port {port}" for port in grants.listen]
    if asked:
        raise SandboxError(
            f"{server} runs elsewhere, where nothing of this machine can be shown to it or kept from it: {asked[0]}",
            hint=f"leave it out; what {server} is told is what your policy lets through: bulkhead policy",
        )


def carried_over(grants: Grants, known: Grants) -> Grants:
    """`grants` of a server that is pinned anew, with what was chosen for its name before: its sandbox, its network."""
    sockets = known.unix_sockets or grants.unix_sockets
    return replace(
        grants,
        limits=known.limits,
        state=known.state,
        boxed=known.boxed,
        inspection=known.inspection,
        unix_sockets=sockets,
        listen=known.listen,
    )


def rechosen(
    grants: Grants,
    limits: Mapping[str, str],
    state: State | None = None,
    boxed: bool | None = None,
    unix_sockets: bool | None = None,
) -> Grants:
    """`grants` with what a person just chose; the rest stays.  Raises ConfigError as `with_box` does."""
    return replace(
        grants,
        limits=changed(grants.limits, limits),
        state=grants.state if state is None else state,
        boxed=grants.boxed if boxed is None else boxed,
        unix_sockets=grants.unix_sockets if unix_sockets is None else unix_sockets,
    )
