"""A guess at a server's labels from its own definitions, for a person to accept or not.

A definition is a server's claim about itself, so a guess that nobody accepted takes no risk away: the worst case stays.
The words below are those of tools in general; no server and no tool is named.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from broker.flow.labels import WORST, Flag, Labels, Level, ServerLabels, hinted
from broker.model import JsonObject

MAX_DESCRIPTION: Final = 4096  # characters that are looked at
MAX_SENTENCE: Final = 400  # characters of it in which a verb is looked for


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


READS: Final = _set(
    "get list read search find fetch query view show check describe lookup look load count compare analyze analyse "
    "analysis explore browse navigate visit retrieve recommend suggest summarize summarise extract validate verify "
    "calculate compute convert translate geocode sample status log diff info details stats tree whois open scan "
    "preview inspect export print explain detect watch trending total login authenticate select "
    "pull clone snapshot screenshot scrape crawl price rate forecast history transcript switch "
    "resolve expand research ask answer monitor track measure estimate parse decode encode identify"
)
CHANGES: Final = _set(
    "create add update delete remove write edit insert move copy set append replace rename save clear change modify "
    "put patch import merge restore reset enable disable start stop configure register install uninstall upsert "
    "assign mark archive apply generate draw fill download manage make mkdir touch cancel reschedule close reopen "
    "commit checkout branch tag stage drop truncate purge wipe erase destroy terminate kill run exec execute eval "
    "interact type click press submit input upload sync lock unlock revoke rotate grant transfer"
)
SENDS: Final = _set(
    "send post publish share invite email mail message comment reply tweet push forward notify submit upload "
    "broadcast dm sms call star follow like vote issue pay transfer purchase buy order checkout refund reserve book "
    "donate subscribe announce react request ping trigger webhook deploy release schedule rsvp"
)
GRAVE: Final = _set(
    "delete remove drop truncate purge wipe erase destroy kill terminate password passwd ssh credential credentials "
    "secret token transfer ownership owner permission permissions role grant revoke run exec execute eval command "
    "shell terminal script sql push install uninstall deploy clear process"
)
"""What cannot be taken back, changes who may do what, or runs code."""

ADDRESSEES: Final = _set(
    "recipient recipients cc bcc participants participant attendees attendee email emails mail channel phone "
    "invitee invitees collaborator collaborators guest guests assignee assignees audience"
)
ADDRESSED: Final = _set("to user users owner receiver receivers member members")
"""Words that name an addressee only where they are the whole name of a parameter, or an address or id of one."""

OF_ONE: Final = _set("id ids name address email username new")
WEB: Final = _set("url urls uri link href website web webpage webpages internet online")
CLOCK: Final = _set("day date time timezone now today clock uuid random")
MINE: Final = _set(
    "limit page pages per offset count cursor size max sort start end date from until since format username password "
    "otp code token pin order orders invoice cart account id ids number"
)
"""Parameters by which nobody else's things are looked up."""

STRANGERS: Final = _set(
    "email emails mail inbox message messages chat chats event events appointments file files document documents note "
    "notes transaction transactions page webpage website web url review reviews rating ratings comment comments issue "
    "issues ticket tickets news article articles post posts feed search product products listing repository "
    "repositories repo log commit commits content contents transcript notification notifications mention mentions "
    "invitation invitations requests timeline thread threads conversation conversations form forms submission "
    "submissions survey response responses feedback activity alerts lead leads answers question questions"
)
"""Text of these was written by whoever."""

VERBS: Final = READS | CHANGES | SENDS
_ENDINGS: Final = (("ies", "y"), ("s", ""), ("es", ""), ("ing", ""), ("ing", "e"), ("ed", ""), ("d", ""))

RETURNS: Final = _set("download clone pull run execute input")
"""Changes that answer with something, too."""

SCOPES: Final = (
    ("owner", "repo"), ("repo_owner", "repo_name"), ("project_id",), ("project",), ("repository",), ("repo",),
    ("repo_name",), ("account_id",), ("account",), ("workspace",), ("workspace_id",), ("organization",), ("org",),
    ("team",), ("team_id",), ("database",), ("database_id",), ("bucket",), ("tenant",), ("site",), ("vault",),
    ("repo_path",),
)  # fmt: skip
"""Arguments that say which part of a server is meant, the most telling first."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALSO_SENDS = re.compile(
    r"\b(?:(?:sends?|notif(?:y|ies)|invites?|publish(?:es)?|submits?) (?:an?|the|it|this|them|new|all|out|to)|"
    r"(?:will|also) (?:send|e-?mail|notify|invite|post|publish|submit))\b",
    re.IGNORECASE,
)

_YOURS = re.compile(
    r"\b(?:your|my|(?:current(?:ly)?|authenticated|logged[ -]in)(?: \w+)? "
    r"(?:account|user|cart|subscription|profile))\b",
    re.IGNORECASE,
)  # fmt: skip
"""What a person wrote or owns: strangers do not choose its text, unless the tool can be told to look elsewhere."""


def words(text: str) -> tuple[str, ...]:
    """The words of a name in any of the usual spellings."""
    return tuple(word.lower() for word in _WORD.findall(text))


@dataclass(frozen=True, slots=True)
class Guess:
    """Proposed labels, and for each of them (and for the class) what in the definition speaks for it."""

    labels: Labels
    because: tuple[tuple[str, str], ...] = ()

    def hinted(self, tool: JsonObject) -> "Guess":
        """With what the tool's own annotations add."""
        more = hinted(self.labels, tool)
        if more == self.labels:
            return self
        said = tuple((flag, "its own annotation says so") for flag in sorted(more.flags - self.labels.flags))
        level = (("H", "its own annotation says so"),) if more.level != self.labels.level else ()
        return Guess(more, (*self.because, *said, *level))

    def joined(self, other: "Guess") -> "Guess":
        """For a tool that is defined twice: the risks of both."""
        one, two = self.labels, other.labels
        level: Level = "H" if "H" in (one.level, two.level) else "L"
        scope = one.scope if one.scope == two.scope else ()
        labels = replace(
            one, flags=one.flags | two.flags, level=level, scope=scope, vouched=one.vouched and two.vouched
        )
        return Guess(labels, tuple(dict.fromkeys((*self.because, *other.because))))


def stem(word: str) -> str:
    """The verb that `word` is a form of, if it is one that is known."""
    if word in VERBS:
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and word.removesuffix(ending) + instead in VERBS:
            return word.removesuffix(ending) + instead
    if word.startswith("un") and word[2:] in CHANGES | SENDS:  # what can be done to others can be undone to them
        return word[2:]
    return word


def propose(tool: JsonObject) -> Labels:
    """What this tool seems to do."""
    return guess(tool).labels


def guess(tool: JsonObject) -> Guess:
    """What this tool seems to do, by its name, its description, its parameters, and what its annotations add."""
    name = words(str(tool.get("name", "")))
    description = str(tool.get("description") or "")[:MAX_DESCRIPTION]
    schema = tool.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    names = tuple(map(str, properties)) if isinstance(properties, dict) else ()
    parameters = frozenset(word for one in names for word in words(one))
    addressed = frozenset(part[0] for one in names if (part := _addressed(words(one))))
    told = [stem(word) for word in words(description[:MAX_SENTENCE])]
    sure = [stem(word) for word in name if stem(word) in VERBS]
    if not description or not (sure or VERBS & set(told)):
        return Guess(replace(WORST, reason="its definition does not say what it does"),
                     (("all", "its definition does not say what it does"),))  # fmt: skip
    because: dict[Flag, str] = {}
    verb = sure[0] if sure else next(word for word in told if word in VERBS)
    other = (frozenset(name) & (CHANGES - READS)) if {"or", "and"} & set(name) else frozenset()
    changes = verb not in READS or bool(other)
    if changes:
        because["M"] = f"its name or description says {_one(other) if verb in READS else verb!r}"
    if leaving := _leaves(frozenset(map(stem, name)), parameters, addressed, description, verb, changes):
        because["E"] = leaving
    if not changes or frozenset(name) & RETURNS or (told and told[0] in READS):
        because |= _result(frozenset(name), parameters, _YOURS.search(description[:MAX_SENTENCE]) is not None)
    flags = frozenset(because)
    grave = frozenset(name) & GRAVE if changes else frozenset()
    high = {"E", "M"} <= flags or bool(grave)
    why = [("H", f"it says {_one(grave)}" if grave else "it changes something that others get")] if high else []
    scope = scope_arguments(names)
    if scope:
        why.append(("scope", f"its argument {' and '.join(scope)} says which part is meant"))
    said = "its name and parameters say so; nobody has read its code"
    return Guess(Labels(flags, "H" if high else "L", said, scope), (*because.items(), *why)).hinted(tool)


def _one(words: Iterable[str]) -> str:
    return repr(min(words))


def _addressed(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a parameter's name that say whom it is for."""
    whom = tuple(part for part in parts if part in ADDRESSED)
    return whom if whom and all(part in ADDRESSED | OF_ONE for part in parts) else ()


def _leaves(
    name: frozenset[str],
    parameters: frozenset[str],
    addressed: frozenset[str],
    description: str,
    verb: str,
    changes: bool,
) -> str:
    """Why what it is told would leave; empty if nothing says so."""
    address = parameters & {"url", "urls", "uri"}
    if changes:
        if name & SENDS - READS:
            return f"its name says {_one(name & SENDS - READS)}"
        if whom := (parameters & ADDRESSEES) | addressed:
            return f"it takes an addressee: {_one(whom)}"
        if parameters & {"webhook"}:
            return "it takes an address: 'webhook'"
        if found := _ALSO_SENDS.search(description):
            return f"its description says {found.group()[:40]!r}"
    if address:
        return f"it takes an address: {_one(address)}"
    return f"it reads from {_one(name & WEB)}" if verb in READS and name & WEB else ""


def _result(name: frozenset[str], parameters: frozenset[str], own: bool) -> dict[Flag, str]:
    """What its result may hold, and why.  `own`: its description says that it is about the user's own."""
    if name & CLOCK and not parameters:
        return {}
    because: dict[Flag, str] = {}
    if not name & WEB and not parameters & {"url", "urls"}:
        because["P"] = "nothing says that anybody may read what it answers"
    if not own or name & STRANGERS or parameters - MINE:
        about = name & STRANGERS
        because["U"] = f"others may write {_one(about)}" if about else "nothing says that only you write its answer"
    return because


def scope_arguments(names: Iterable[str]) -> tuple[str, ...]:
    """Which of these parameters say what part of the server is meant."""
    spelled = {"_".join(words(name)): name for name in names}
    for scope in SCOPES:
        if all(part in spelled for part in scope):
            return tuple(spelled[part] for part in scope)
    return ()


def proposal(tools: Iterable[JsonObject]) -> ServerLabels:
    """The proposed labels of a server with these tools, as if a person had accepted them."""
    found: dict[str, Guess] = {}
    for tool in tools:
        name, made = str(tool.get("name", "")), guess(tool)
        found[name] = found[name].joined(made) if name in found else made
    tools_of = MappingProxyType({name: made.labels for name, made in found.items()})
    return ServerLabels(source="proposed from its definitions", tools=tools_of)
