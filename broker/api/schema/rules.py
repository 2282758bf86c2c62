"""Labels and policies."""

from typing import Final, Literal

from pydantic import Field

from broker.api.schema.words import Words

MAX_POLICY: Final = 1024 * 1024  # characters of a policy's document


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


class FleetSubscribe(Words):
    """Where an organisation publishes its policy bundle, and the root.json of whoever signs it."""

    source: str = Field(min_length=1, max_length=2048)
    root: str = Field(min_length=1, max_length=MAX_POLICY)


class FleetView(Words):
    """The bundle in force; no source where nothing is subscribed to."""

    source: str = ""
    version: int = 0
    rules: list[str] = []
    problem: str = ""


class PolicyChoice(Words):
    """A policy to look at: the one in force (no name), a shipped one (no text), or this text."""

    name: str = Field(default="", max_length=4096)
    text: str = Field(default="", max_length=MAX_POLICY)


class RuleView(Words):
    """One rule.  `about` says which calls it is about; `when` what must hold of their arguments and around them."""

    name: str
    effect: Literal["allow", "ask", "deny", "mask"]
    about: str
    when: list[str] = []
    reason: str


class PolicyView(Words):
    """A policy as it would hold.  `holds` false: nothing that was read elsewhere holds a call back."""

    name: str
    text: str
    description: str
    holds: bool
    rules: list[RuleView]
    shipped: list[str]


class PolicyExplain(Words):
    """Why a policy decides as it does about the call of the receipt with this number."""

    receipt: int = Field(ge=1)
    policy: PolicyChoice = PolicyChoice()


class Voice(Words):
    """One rule about the call; `unmet` is what keeps it from having a say."""

    rule: str
    effect: str
    reason: str
    fits: bool
    unmet: list[str] = []


class Ruled(Words):
    """A verdict, and whose it is."""

    verdict: Literal["allow", "ask", "deny"]
    rule: str
    reason: str = ""


class Explained(Words):
    """The policy's own word on a call, without what was read before; `about` names the call."""

    about: str
    ruled: Ruled
    masks: list[str] = []
    voices: list[Voice]


class PolicyReplay(Words):
    """A recorded session, judged again by the policy in force and by another one.  `session`: the whole id, or the
    beginning of a live one's."""

    session: str = Field(min_length=1, max_length=200)
    policy: PolicyChoice = PolicyChoice()


class ReplayedCall(Words):
    """One recorded call: what was done then, what the policy in force would do, and what the other one would."""

    receipt: int
    server: str
    tool: str
    then: str
    now: Ruled
    other: Ruled


class Replayed(Words):
    """`left_out` calls are beyond what one look can hold."""

    now: str
    other: str
    calls: list[ReplayedCall]
    left_out: int = 0


class PolicyLearn(Words):
    """Learn from what was let through: since then, in one session, or all there is."""

    session: str = Field(default="", max_length=200)
    since: float | None = None


class LearnedRule(Words):
    """A rule nobody has agreed to, and what was seen that speaks for it."""

    name: str
    client: str
    server: str
    method: str
    target: str
    evidence: str


class PolicyLearned(Words):
    """A proposal: a whole policy, beside the rules of `base`.  Without rules there was nothing to learn from."""

    name: str
    text: str
    base: str
    seen: int
    rules: list[LearnedRule]
    left_out: list[str] = []
