"""What is shown of policies: rules, why a call is decided so, and a session under two policies side by side.

A policy is written by its user, and still passes `present`: a rule may have been learned from a server's words.
"""

from typing import Final

from textual.content import Content

from broker.api import schema
from ui.listings import Row
from ui.present import BLOCK, columns, count, untrusted

RULE_WIDTHS: Final = (5, 22, 34)
SIDE_WIDTHS: Final = (7, 26, 24)
RULE_HEADING: Final = Row("", tuple(map(Content, ("", "Rule", "About", "Why"))), RULE_WIDTHS)


def rule_row(rule: schema.RuleView) -> Row:
    when = f" if {'; '.join(rule.when)}" if rule.when else ""
    cells = (
        Content(rule.effect).stylize("bold"),
        untrusted(rule.name),
        untrusted(rule.about),
        untrusted(rule.reason + when),
    )
    return Row(rule.name, cells, RULE_WIDTHS)


def rule_words(rule: schema.RuleView) -> Content:
    pairs = (
        ("Effect", Content(rule.effect)),
        ("About", untrusted(rule.about, BLOCK)),
        *(("If", untrusted(each, BLOCK)) for each in rule.when),
        ("Why", untrusted(rule.reason, BLOCK)),
    )
    return Content("\n").join([Content.assemble(f"{name:8}", words) for name, words in pairs])


def head(view: schema.PolicyView, in_force: str) -> Content:
    """Which policy is shown, and whether it holds."""
    mark = "IN FORCE" if view.name == in_force else "not in force: u uses it, c compares"
    holds = "" if view.holds else "  HOLDS NOTHING of what was read elsewhere"
    return Content.assemble(
        untrusted(view.name).stylize("bold"), f"  {mark}  {count(len(view.rules), 'rule')}{holds}  ",
        untrusted(view.description),
    )  # fmt: skip


def use_words(view: schema.PolicyView, in_force: str) -> Content:
    return Content.assemble(
        "Use ", untrusted(view.name).stylize("bold"), " in place of ", untrusted(in_force), "?\n\n",
        untrusted(view.description, BLOCK), "\n", count(len(view.rules), "rule"), ".  What no rule allows is denied.",
        "" if view.holds else "\n\nIt HOLDS NOTHING: a call is not asked about after a read elsewhere.",
    )  # fmt: skip


def explained(said: schema.Explained, policy: str) -> Content:
    """The policy's own word, and every rule that speaks of the call."""
    lines = [
        Content.assemble("Call     ", untrusted(said.about, BLOCK)),
        Content.assemble("Policy   ", untrusted(policy)),
        Content.assemble("Answer   ", _ruled(said.ruled), ": ", untrusted(said.ruled.reason, BLOCK)),
        Content("         what the session had read before may hold it besides (R3, R4)"),
    ]
    if said.masks:
        lines.append(Content.assemble("Masks    ", untrusted(", ".join(said.masks), BLOCK)))
    lines.append(Content("\nRules that speak of it:"))
    for voice in said.voices:
        lacks = f"  does not hold for {', '.join(voice.unmet)}" if voice.unmet else ""
        say = "" if voice.fits else "  (not this call)"
        lines.append(
            Content.assemble(f"  {voice.effect:5}  ", untrusted(voice.rule), say, untrusted(lacks), "\n         ",
                             untrusted(voice.reason, BLOCK).stylize("dim"))
        )  # fmt: skip
    return Content("\n").join(lines)


def compared(found: schema.Replayed, width: int) -> Content:
    """Each call under both policies; those that differ are marked."""
    differ = sum(_differs(one) for one in found.calls)
    more = f"; {found.left_out} more calls were left out" if found.left_out else ""
    heads = (
        Content("Receipt"), Content("Call"), Content.assemble("Now: ", untrusted(found.now)),
        Content.assemble("Other: ", untrusted(found.other)),
    )  # fmt: skip
    lines = [
        Content(
            f"{count(len(found.calls), 'call')}, {differ} judged otherwise (≠){more}; held calls count as allowed\n"
        ),
        Content.assemble("  ", columns(heads, SIDE_WIDTHS, width - 2).stylize("underline")),
    ]
    for one in found.calls:
        cells = (
            Content(f"{one.receipt:>7}"), untrusted(f"{one.server} {one.tool}"), _ruled(one.now), _ruled(one.other),
        )  # fmt: skip
        lines.append(Content.assemble("≠ " if _differs(one) else "  ", columns(cells, SIDE_WIDTHS, width - 2)))
    return Content("\n").join(lines)


def learned(found: schema.PolicyLearned) -> Content:
    lines = [
        f"{count(len(found.rules), 'rule')} for what was seen in {count(found.seen, 'call')}, beside {found.base}.",
        "Nobody has agreed to it: it is shown as a policy now; u uses it, c compares it with a recorded session.",
        "",
    ]
    said = [Content(line) for line in lines]
    for rule in found.rules:
        who = untrusted(f"{rule.client} → {rule.server}: {rule.target}", BLOCK)
        said.append(Content.assemble(who, "\n    ", untrusted(rule.evidence, BLOCK).stylize("dim")))
    said += [Content.assemble("not among them: ", untrusted(line, BLOCK)) for line in found.left_out]
    return Content("\n").join(said)


def _ruled(ruled: schema.Ruled) -> Content:
    return Content.assemble(Content(ruled.verdict).stylize("bold"), " ", untrusted(ruled.rule))


def _differs(one: schema.ReplayedCall) -> bool:
    return one.now.verdict != one.other.verdict
