"""Advice on tool definitions: invisible text, references out of the document, other servers' tools, directives.

It is never the gate: a definition counts once a person has seen it and it is pinned, and what it says then can no
longer change.  `reject` is kept for what no honest definition holds, so that it can be acted on without reading.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from broker.model import JsonObject
from broker.trust.directives import CALLED, FOREIGN, LIGHT, SIGNS, SUSPECT, plain

Verdict: TypeAlias = Literal["clean", "suspect", "reject"]

MAX_TEXT: Final = 65_536  # characters of one definition that are read; a longer one is pointed out for its length
MAX_LEAVES: Final = 20_000
MAX_DEPTH: Final = 64
_AROUND: Final = 40  # characters of evidence either side
_COMPOUND: Final = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)+")

INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Control, bidirectional, zero-width, and tag characters: a person sees nothing where the model reads something."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason.  `where` is a path into the definition, `evidence` a few words of it in which nothing is hidden."""

    check: str
    where: str
    evidence: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What is to be said of one definition; `weight` is the sum of its signs."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    weight: int = 0


def scan(tool: JsonObject, own: Collection[str] = (), others: Mapping[str, str] | None = None) -> Advice:
    """Read every string of a tool's definition.

    `own` are the names of all tools of its server; `others` the tools of the servers beside it, each with its server.
    """
    leaves = _leaves(tool)
    text = "\n".join(text for _, text in leaves)
    rejected = (*_hidden(text, leaves), *_away(leaves))
    if rejected:
        return Advice("reject", rejected)
    page = plain(text[:MAX_TEXT])
    findings = list(_signs(page, leaves))
    named = _called(page) if findings or others else set()
    if named:
        named -= _known(leaves, own)
    if named and findings:
        findings.append((FOREIGN, Finding("foreign-tool", "/description", min(named), "calls what is not its own")))
    beside = {plain(name): server for name, server in (others or {}).items()}
    for name in sorted(named & set(beside)):
        findings.append((SUSPECT, Finding("shadowing", "/description", name, f"speaks of a tool of {beside[name]}")))
    if len(text) > MAX_TEXT:
        findings.append(
            (SUSPECT, Finding("length", "/", "", f"is longer than the {MAX_TEXT} characters that are read"))
        )
    weight = sum(weight for weight, _ in findings)
    findings.sort(key=lambda pair: -pair[0])
    return Advice("suspect" if weight >= SUSPECT else "clean", tuple(finding for _, finding in findings), weight)


def _hidden(text: str, leaves: list[tuple[str, str]]) -> Iterator[Finding]:
    if INVISIBLE.search(text):
        for where, leaf in leaves:
            found = INVISIBLE.search(leaf)
            if found:
                shown = _visible(leaf, found.start(), found.end())
                yield Finding("invisible-text", where, shown, "holds characters nobody can see")


def _away(leaves: list[tuple[str, str]]) -> Iterator[Finding]:
    for where, text in leaves:
        if where.endswith("/$ref") and not text.startswith("#"):
            yield Finding(
                "outside-reference", where, _visible(text, 0, 80), "takes a part of its schema from elsewhere"
            )


def _signs(page: str, leaves: list[tuple[str, str]]) -> Iterator[tuple[int, Finding]]:
    """Every sign that the text shows, the heaviest first."""
    seen = False
    for sign in SIGNS:
        if sign.weight <= LIGHT and not seen:
            return
        for stem in sign.stems:  # spelled out: this is most of what a scan costs
            if stem in page:
                break
        else:
            if sign.stems:
                continue
        found = sign.pattern.search(page)
        if found:
            seen = True
            words = found.group().strip()
            shown = _visible(page, found.start(), found.end())
            yield sign.weight, Finding(sign.name, _where(words, leaves), shown, sign.meaning)


def _where(words: str, leaves: list[tuple[str, str]]) -> str:
    """The place of the first string that holds the words, or the whole definition where they span several."""
    return next((where for where, text in leaves if words in plain(text)), "/")


def _called(page: str) -> set[str]:
    """What the text names as something to call."""
    found = {match.group(1) for match in CALLED.finditer(page)}
    return {name.strip("'") for name in found if name.startswith("'") or _COMPOUND.fullmatch(name)}


def _known(leaves: list[tuple[str, str]], own: Collection[str]) -> set[str]:
    """Every name that is the definition's own: its tools, its parameters and whatever values they may have."""
    words = {plain(name) for name in own}
    for where, text in leaves:
        words.add(plain(where.rpartition("/")[2]))
        if len(text) <= 100:
            words.add(plain(text))
    return words


def _leaves(tool: JsonObject) -> list[tuple[str, str]]:
    """Every string with its path, the keys of objects among them; what lies too deep is left out of a sign's reach."""
    found: list[tuple[str, str]] = []
    rest: list[tuple[str, object, int]] = [("", tool, 0)]
    while rest and len(found) < MAX_LEAVES:
        where, value, depth = rest.pop()
        if isinstance(value, str):
            found.append((where or "/", value))
        elif depth >= MAX_DEPTH:
            continue
        elif isinstance(value, Mapping):
            for key in reversed(value):
                rest.append((f"{where}/{key}", value[key], depth + 1))
        elif isinstance(value, list | tuple):
            rest.extend((f"{where}/{place}", item, depth + 1) for place, item in reversed(list(enumerate(value))))
    return found


def _visible(text: str, start: int, end: int) -> str:
    piece = text[max(0, start - _AROUND) : min(end, start + 120) + _AROUND]
    return INVISIBLE.sub(lambda found: f"\\u{{{ord(found.group()):x}}}", piece.replace("\n", " ")).strip()
