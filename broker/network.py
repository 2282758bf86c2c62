"""What a server's document says of its network, beyond its hosts: the tables `[egress]` and `[secrets.NAME]`.

Both are read and written here, and checked against the hosts and variables they speak of before a person's yes counts.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from broker.errors import SandboxError
from broker.model import Grants, Injection, Inspection, ServerName
from broker.sandbox.hosts import HostRules
from broker.sandbox.inspection import request_rules


class EgressTable(BaseModel):
    """`inspect` opens encrypted connections; `rules` say which requests may be made (none: all but websockets)."""

    model_config = ConfigDict(extra="forbid")
    inspect: bool = False
    rules: list[str] = Field(default=[], max_length=64)


class SecretTable(BaseModel):
    """Where the value of the variable of this name is put in."""

    model_config = ConfigDict(extra="forbid")
    header: str
    host: str
    method: list[str]
    path: str = "/*"


def inspection_of(egress: EgressTable, secrets: Mapping[str, SecretTable]) -> Inspection | None:
    """What the two tables mean.

    Raises:
        SandboxError: secrets without inspection: nobody could put them in.
    """
    if not egress.inspect:
        if secrets or egress.rules:
            named = "egress.rules" if egress.rules else f"secrets.{next(iter(secrets))}"
            raise SandboxError(f"{named} needs connections that are looked into", hint="[egress] inspect = true")
        return None
    placed = (Injection(name, s.header, s.host, tuple(s.method), s.path) for name, s in sorted(secrets.items()))
    return Inspection(tuple(egress.rules), tuple(placed))


def tables(inspection: Inspection | None) -> dict[str, Any]:
    """The two tables as they are written."""
    if inspection is None:
        return {}
    secrets = {
        one.name: {"header": one.header, "host": one.host, "method": list(one.methods), "path": one.path}
        for one in inspection.secrets
    }
    return {"egress": {"inspect": True, "rules": list(inspection.rules)}, **({"secrets": secrets} if secrets else {})}


def check_network(server: ServerName, grants: Grants, variables: Collection[str]) -> None:
    """Refuse what may not stand together.

    Raises:
        SandboxError: what is wrong, by its key.
    """
    rules = HostRules.of(grants.hosts)
    rules.check_company(server, [str(path) for path in (*grants.read, *grants.write)], variables)
    if grants.inspection is None:
        return
    request_rules(server, grants.inspection, rules)
    for secret in grants.inspection.secrets:
        if secret.name not in variables:
            raise SandboxError(
                f"secrets.{secret.name} of {server} names no variable of its environment",
                hint=f"add the server again with: bulkhead add {server} --env {secret.name}=VALUE ...",
            )
