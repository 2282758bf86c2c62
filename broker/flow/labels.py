"""What a call does with data: does its result hold something private, or something strangers wrote; does it let data
leave; does it change anything.

What a server says about itself only ever adds to its risk.  What neither a label file nor a person covers is the worst
case in everything; a label file is bound to the published package whose code was read, not to a name the user typed.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.model import Call, JsonObject, State

Flag: TypeAlias = Literal["P", "U", "E", "M"]
"""P: the result is private.  U: strangers may have written the result.  E: what is sent leaves to others.
M: it changes something."""

Need: TypeAlias = Literal["unix-sockets"]
"""What a sandbox gives nobody by itself."""

Level: TypeAlias = Literal["H", "L"]
"""H: held after reading elsewhere.  L: not held by that alone."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one call, and why it has them."""

    flags: frozenset[Flag]
    level: Level
    reason: str = ""
    scope: tuple[str, ...] = ()
    """The arguments whose values say which part of the server it is about; without them, all of it."""
    vouched: bool = True
    """False where nobody speaks for them: then they are the worst that could be."""


EVERY_HOST: Final = "public:*"
"""As it stands among a server's hosts."""

WORST: Final = Labels(
    frozenset({"P", "U", "E", "M"}), "H", "nobody vouched for it, so the worst is assumed", vouched=False
)


@dataclass(frozen=True, slots=True)
class ServerLabels:
    """What is known of one package.  `source` says where that comes from, `publishers` whose package it is.

    `added` holds for every call, whatever a label file says: it comes from what the server was granted.  `needs` is
    what it cannot work without in its sandbox; a person sees it before the yes that gives it, and so with the `state`
    it is of no use without: `keeps` says why.  `stateless`: it holds nothing in memory between two calls.
    """

    ecosystem: str = ""
    package: str = ""
    source: str = ""
    publishers: tuple[str, ...] = ()
    tools: Mapping[str, Labels] = field(default_factory=lambda: MappingProxyType({}))
    added: frozenset[Flag] = frozenset()
    needs: frozenset[Need] = frozenset()
    state: State = "none"
    keeps: str = ""
    stateless: bool = False

    def of(self, method: str, target: str) -> Labels:
        """The labels of a call: those of its tool, or the worst case for whatever is not listed."""
        labels = self.tools.get(target, WORST) if method == "tools/call" else WORST
        if self.added <= labels.flags:
            return labels
        flags = labels.flags | self.added
        # An address carries anything to anybody where every host is granted; to granted hosts R4 follows the values.
        level: Level = "H" if "M" in flags or "U" in self.added else labels.level
        return replace(labels, flags=flags, level=level, reason=f"{labels.reason}; and what it is told may leave")

    def of_call(self, call: Call) -> Labels:
        return self.of(call.method, call.target)

    def reaching(self, hosts: Collection[str], *, elsewhere: bool = False, keeps: bool = False) -> "ServerLabels":
        """The same for a server that reaches hosts, runs elsewhere, or keeps something from run to run.

        What it is told may leave by that; and on the whole network strangers wrote the rest.
        """
        more: frozenset[Flag] = frozenset({"E", "U"}) if EVERY_HOST in hosts else frozenset({"E"})
        return replace(self, added=self.added | more) if hosts or elsewhere or keeps else self

    def hinted(self, tools: Iterable[JsonObject]) -> "ServerLabels":
        """The same with what the definitions of its tools say against them."""
        said = {str(tool.get("name", "")): tool for tool in tools}
        known = {name: hinted(labels, said[name]) if name in said else labels for name, labels in self.tools.items()}
        return replace(self, tools=MappingProxyType(known))


def hinted(labels: Labels, tool: JsonObject) -> Labels:
    """`labels` with what the annotations of the tool add: a server is believed only where it speaks against itself."""
    notes = tool.get("annotations")
    if not isinstance(notes, dict):
        return labels
    more: set[Flag] = set()
    destroys = notes.get("destructiveHint") is True and notes.get("readOnlyHint") is not True
    if destroys or notes.get("readOnlyHint") is False:
        more.add("M")
    if notes.get("openWorldHint") is True:
        more.add("U")
    flags = labels.flags | more
    level: Level = "H" if destroys or {"E", "M"} <= flags else labels.level
    if (flags, level) == (labels.flags, labels.level):
        return labels
    return replace(labels, flags=flags, level=level, reason=f"{labels.reason}; and its own annotations say more")


UNLABELLED: Final = ServerLabels()
"""A server about which nothing is known: the worst case in everything."""


def package_key(ecosystem: str, package: str) -> tuple[str, str]:
    """What label files are found by.  PyPI treats `a_b`, `A.b` and `a-b` as one name; npm does not."""
    return ecosystem, re.sub(r"[-_.]+", "-", package).lower() if ecosystem == "pypi" else package
