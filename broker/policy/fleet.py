"""The policy of an organisation beside that of its user: what it may say, and how both hold at once.

It can only tighten.  Its rules that ask, deny or mask stand beside the user's, of which the strictest counts as ever;
what it would allow counts for nothing.
"""

import tomllib
from dataclasses import dataclass, replace
from typing import Final

from broker.errors import PolicyError
from broker.model import Verdict
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy

FLEET: Final = "fleet.toml"
BUNDLE: Final = "policy.toml"  # its name at the source
PREFIX: Final = "fleet."
_HINT: Final = "subscribe anew: bulkhead policy subscribe URL --root FILE"


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where a bundle comes from, who was trusted at first to sign it, and the last good one.

    `version` is its number at the source, which never goes back.
    """

    source: str
    root: str
    version: int
    text: str

    @property
    def policy(self) -> Policy:
        """Raises PolicyError: it is not acceptable."""
        return parse_policy(self.text.encode(), f"the bundle of {self.source}")


def read_subscription(data: bytes) -> Subscription:
    """Read the document that keeps one.

    Raises:
        PolicyError: it is not acceptable.
    """
    try:
        said = tomllib.loads(data.decode("utf-8"))
        found = Subscription(said["source"], said["root"], said["version"], said["text"])
    except (ValueError, KeyError) as cause:
        raise PolicyError(f"{FLEET} is no subscription", hint=_HINT) from cause
    texts = (found.source, found.root, found.text)
    if not all(isinstance(text, str) for text in texts) or type(found.version) is not int:
        raise PolicyError(f"{FLEET} is no subscription", hint=_HINT)
    return found


def tightened(own: Policy, bundle: Policy) -> Policy:
    """The user's policy with everything of `bundle` that is stricter."""
    added = tuple(
        replace(rule, name=f"{PREFIX}{rule.name}")
        for rule in bundle.rules
        if rule.mask is not None or rule.verdict is not Verdict.ALLOW
    )
    return replace(own, rules=(*own.rules, *added), holds=own.holds or bundle.holds)
