"""Which command starts a server: the one of the tier in force, or none at all around it where a person chose so."""

from pathlib import Path

from broker.model import SandboxSpec
from broker.sandbox import bubblewrap
from broker.sandbox.commands import Command, Ends, Identity
from broker.sandbox.tiers import Tier
from broker.sandbox.unboxed import behind_landlock, with_nothing_around


def compose(
    spec: SandboxSpec,
    tier: Tier,
    identity: Identity,
    ends: Ends,
    trust: bytes,
    box: Path | None,
    pages: Path | None,
    watched: bool,
) -> Command:
    """The command of this tier; takes `ends` over, also when it fails.

    `box` is the home behind Landlock, `pages` where it drops what it asks to have opened, `watched` whether what its
    filter refuses is told.

    Raises:
        MachineError, SandboxError: what this tier cannot give it.
    """
    if not spec.boxed:
        return with_nothing_around(spec, ends, Path.home())
    if box is not None:
        return behind_landlock(spec, ends, box)
    return bubblewrap.command(spec, tier.bwrap, identity, ends, trust, tier.listener, pages, watched=watched)
