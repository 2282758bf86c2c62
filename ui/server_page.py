"""What is shown of one server: our facts about it, and apart from them its own words."""

from collections.abc import Sequence
from datetime import tzinfo
from types import MappingProxyType
from typing import Final

from textual.content import Content

from broker.api import schema
from ui.present import BLOCK, clock_time, count, untrusted, untrusted_block

KEEPS: Final = MappingProxyType({
    "none": "nothing from run to run",
    "session": "files of its own, for each session apart",
    "server": "files of its own, the same for every session",
})  # fmt: skip


def facts(server: schema.ServerView, tier: str, zone: tzinfo | None) -> Content:
    """What we know of it.  `tier` is the one in force on this machine."""
    pairs = (
        ("State", Content(f"{server.state}{'' if server.enabled else ', disabled'}")),
        ("Command", untrusted(" ".join(server.argv), BLOCK)),
        ("Artifact", Content.assemble(untrusted(server.kind), " ", untrusted(server.artifact))),
        ("Version", untrusted(server.version or "-")),
        ("Tree", untrusted(server.tree or "-")),
        ("Packages", Content(str(server.packages))),
        ("Runs with", untrusted(server.interpreter or "-")),
        *([("Trust", untrusted(server.development))] if server.development else []),
        ("Catalog", untrusted(server.catalog or "-")),
        ("Pinned", untrusted(server.pinned or "-")),
        ("May read", untrusted(", ".join(server.read) or "nothing of yours", BLOCK)),
        ("May write", untrusted(", ".join(server.write) or "nothing of yours", BLOCK)),
        ("May reach", untrusted(", ".join(server.hosts) or "no network", BLOCK)),
        (
            "Blocked",
            _lines([_of(one.target, one.times, one.last, zone) for one in server.blocked]) or Content("nothing"),
        ),
        ("Looked in", untrusted("; ".join(server.network) or "no: its encrypted connections stay closed", BLOCK)),
        ("Variables", untrusted(", ".join(server.env) + "  (names only)" if server.env else "none", BLOCK)),
        ("Sandbox", untrusted(f"tier {tier or '-'}" if server.boxed else "OFF: it runs outside of every sandbox")),
        ("Limits", untrusted(", ".join(f"{name} {value}" for name, value in server.limits.items()) or "as shipped")),
        ("Keeps", Content(KEEPS[server.keeps])),
        (
            "Happened",
            _lines([_of(one.text, one.times, one.last, zone) for one in server.happened]) or Content("nothing"),
        ),
        ("Findings", untrusted("; ".join(server.findings) or "none", BLOCK)),
    )
    return Content("\n").join([Content.assemble(f"{name:10}", said) for name, said in pairs])


def people_facts(
    server: schema.ServerView,
    tokens: Sequence[schema.TokenView],
    secrets: Sequence[schema.SecretView],
    zone: tzinfo | None,
) -> Content:
    """Who signed in there, and which secrets it is given: names only, never a value."""
    signed = [_signed(token, zone) for token in tokens if token.server == server.name]
    held = [
        Content.assemble(untrusted(secret.name), "" if secret.kept else "  (missing: bulkhead secret set)")
        for secret in secrets
        if server.name in secret.servers
    ]
    pairs = (
        ("Sign-in", _lines(signed) or Content("nobody signed in, or none is asked for")),
        ("Secrets", _lines(held) or Content("none")),
        ("Tools off", untrusted(", ".join(server.disabled_tools) or "none", BLOCK)),
    )
    return Content("\n").join([Content.assemble(f"{name:10}", said) for name, said in pairs])


def _signed(token: schema.TokenView, zone: tzinfo | None) -> Content:
    until = f" until {clock_time(token.expires, zone)}" if token.expires else ""
    renews = ", renewed by itself" if token.renews else ""
    return Content.assemble(
        untrusted(token.client), ": ", token.state, until, renews, "  at ", untrusted(token.issuer or token.url)
    )


BASES: Final = MappingProxyType({
    "accepted": "you accepted these labels",
    "shipped": "Bulkhead's own label of this package counts",
    "worst": "nobody vouches for it: every call counts as the worst case and is asked about after a read elsewhere",
})  # fmt: skip

MEANS: Final = MappingProxyType({
    "P": "answers what is private",
    "U": "answers what strangers wrote",
    "E": "tells others",
    "M": "changes something",
})  # fmt: skip


def label_head(view: schema.LabelsView) -> Content:
    """Whose word counts now, and what a yes would mean."""
    words = [Content.assemble(untrusted(view.name).stylize("bold"), ": ", BASES[view.basis])]
    if view.lapsed:
        words.append(untrusted(view.lapsed))
    if view.basis != "accepted":
        words.append(Content("A yes is for these definitions of this publisher only, and can be taken back."))
    return Content("\n").join(words)


def label_lines(view: schema.LabelsView) -> Content:
    """Each tool with what could be said of it, and what in its definition speaks for that."""
    lines = []
    for tool in view.tools:
        shown = tool.now if view.basis == "accepted" else tool.proposed
        does = ", ".join(MEANS[flag] for flag in shown.labels) or "keeps to itself"
        held = "asked about after a read elsewhere" if shown.level == "H" else "not asked about for that alone"
        why = "; ".join(f"{what}: {reason}" for what, reason in tool.because)
        name = untrusted(shown.name).stylize("bold")
        lines.append(Content.assemble(name, f": {does}; {held}  ", untrusted(why, BLOCK).stylize("dim")))
    return Content("\n").join(lines)


def words(server: schema.ServerView) -> Content:
    """What it advertises, in its own words."""
    parts: list[Content] = []
    for tool in server.tools:
        mark = "" if tool.state == "agreed" else f"  ({tool.state})"
        parts.append(Content.assemble("tool ", untrusted(tool.name).stylize("bold"), mark, "  ", untrusted(tool.title)))
        if tool.description:
            parts.append(untrusted_block(tool.description))
    parts.extend(Content.assemble("prompt ", untrusted(name)) for name in server.prompts)
    parts.extend(Content.assemble("resource ", untrusted(name)) for name in server.resources)
    return Content("\n").join(parts) if parts else Content("nothing")


def _of(text: str, times: int, last: float, zone: tzinfo | None) -> Content:
    return Content.assemble(untrusted(text, BLOCK), f"  ({count(times, 'time')}, last at {clock_time(last, zone)})")


def _lines(lines: Sequence[Content]) -> Content:
    return Content("\n          ").join(lines)
