"""Labels and policies."""

from typing import Literal

from pydantic import Field

from broker.api.schema.words import Words


class ToolLabels(Words):
    """What a call of one tool does with data; `level` is its class, `scope` the arguments that say which part."""

    name: str
    labels: list[Literal["P", "U", "E", "M"]] = Field(max_length=4)
    level: Literal["H", "L"]
    reason: str = Field(min_length=1, max_length=500)
    scope: list[str] = Field(default=[], max_length=4)


class ProposedLabels(Words):
    """One tool: what counts now, what could be accepted, and what in its definition speaks for that."""

    now: ToolLabels
    proposed: ToolLabels
    because: list[tuple[str, str]]


class LabelsView(Words):
    """The labels of a server.  `basis` says whose word counts now; `lapsed` why what was accepted does not."""

    name: str
    basis: Literal["accepted", "shipped", "worst"]
    source: str
    lapsed: str = ""
    publisher: str
    catalog: str
    tools: list[ProposedLabels]


class LabelsAccept(Words):
    """A person's yes to labels, for the definitions with this digest.  A tool that is left out is the worst case."""

    name: str
    catalog: str
    tools: list[ToolLabels] = Field(min_length=1, max_length=1000)


class PolicyUse(Words):
    """`text` is the whole document; `name` is what status calls it."""

    name: str
    text: str
