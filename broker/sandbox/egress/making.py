"""From a SandboxSpec to its network: the way out under its rules and limits, looked into where the spec says so."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.model import Fact, SandboxSpec
from broker.sandbox.egress.authority import Authority
from broker.sandbox.egress.inspector import Inspector
from broker.sandbox.egress.leaving import Bodies
from broker.sandbox.egress.service import Egress
from broker.sandbox.egress.way import Outside, Way
from broker.sandbox.hosts import HostRules
from broker.sandbox.inspection import Inspected

MAX_TRUST: Final = 4 << 20  # the authorities of a system are some 200 KiB


def make_egress(
    spec: SandboxSpec,
    rules: HostRules,
    outside: Outside,
    record: Callable[[Fact], None],
    bodies: Bodies | None = None,
) -> Egress:
    """Everything that will serve the network of `spec`; nothing is open yet.  `bodies` judges what leaves."""
    if spec.inspection is None:
        return Egress(Way(spec.server, rules, outside, record, tool=spec.tool, limits=spec.limits, bodies=bodies))
    authority = Authority()
    inspected = Inspected.of(spec.server, spec.inspection, rules, spec.secrets)
    inspector = Inspector(inspected, authority, outside.trust, bodies)
    way = Way(
        spec.server, rules, outside, record, tool=spec.tool, limits=spec.limits, inspector=inspector, bodies=bodies
    )
    return Egress(way, authority.certificate + _of_the_system())


def _of_the_system() -> bytes:
    """The authorities this machine trusts: connections by address are not looked into, and end with them."""
    path = Path(ssl.get_default_verify_paths().cafile or "/none")
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        data = file.read(MAX_TRUST + 1)
    return data if len(data) <= MAX_TRUST else b""
