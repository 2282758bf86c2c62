"""What the card says about a question, and what each answer to it means.

Facts we know come first; what a server wrote comes last and apart.  Every string goes through `present`.
"""

from datetime import tzinfo
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from textual.content import Content

from broker.api import schema
from broker.model import Lifetime
from ui.present import BLOCK, clock_time, count, left, untrusted, untrusted_block

Kind: TypeAlias = Literal[
    "connection", "call", "launch", "drift", "review", "advisory", "egress", "open", "sign-in", "entry"
]

SUBJECTS: Final = MappingProxyType({
    "connection": "A client wants to connect to a server",
    "call": "A call is held until you say yes",
    "launch": "A program wants to start that you have not agreed to",
    "drift": "A server is no longer what you agreed to",
    "review": "Something of Bulkhead's own was changed",
    "advisory": "Something became known about a package that a server runs",
    "egress": "A server wants to send something out by itself",
    "open": "A server wants to open a page in your browser",
    "sign-in": "A client wants to sign in, as you, at a server elsewhere",
    "entry": "An application wants in; the page it opened in your browser shows a number",
})  # fmt: skip

# What each yes means.  A kind that stands for one exact thing has no yes for later.
MEANINGS: Final = MappingProxyType({
    "connection": MappingProxyType({
        "once": "this connection",
        "session": "every connection of this client to this server until the session ends",
        "always": (
            "From now on this client may connect to this server without being asked for, in every session. "
            "What it then does there is still judged call by call."
        ),
    }),
    "call": MappingProxyType({
        "once": "this one call, with exactly these arguments",
        "session": "the same question about this tool until the session ends",
        "always": (
            "From now on this question is answered yes for this client, this server and this tool, in every session, "
            "as far as said above. A rule that denies still denies, and a changed server is held as before. "
            "A question about where data came from (R3, R4) is answered for this session only."
        ),
    }),
    "launch": MappingProxyType({"once": "exactly the command shown"}),
    "drift": MappingProxyType({"once": "exactly the changes shown"}),
    "review": MappingProxyType({"once": "exactly the changes shown"}),
    "advisory": MappingProxyType({"once": "exactly the advisories shown; a no switches the server off"}),
    "egress": MappingProxyType({
        "once": "this one request, exactly as it is",
        "session": "whatever this server sends to this host of what was read until now, until the link ends",
    }),
    "open": MappingProxyType({"once": "exactly this address, once"}),
    "sign-in": MappingProxyType({"once": "this client, at this host, for the rights shown; your browser opens then"}),
    "entry": MappingProxyType({"once": "whoever shows that number, at this server, until you revoke it"}),
})  # fmt: skip

WHAT: Final = 400  # on the card; the full detail shows more
WHY: Final = 400
EVIDENCE: Final = 300
MAX_EVIDENCE: Final = 8
CARD_DETAIL: Final = 4_000
SHORT_ID: Final = 12  # as the list of sessions shows it


def question_subject(question: schema.QuestionView) -> Content:
    return Content(SUBJECTS[question.kind]).stylize("bold")


def countdown(question: schema.QuestionView, now: float) -> Content:
    if question.deadline <= now:
        return Content("time is up: the answer was no").stylize("bold")
    return Content(f"no by itself in {left(question.deadline, now)}").stylize("bold")


def question_facts(question: schema.QuestionView) -> tuple[tuple[str, Content], ...]:
    """What we know ourselves, in the order a person needs it."""
    return (
        ("What", untrusted(question.what, BLOCK if question.kind == "launch" else WHAT)),
        (
            "Client",
            Content.assemble(untrusted(question.client), "   session ", untrusted(question.session[:SHORT_ID] or "-")),
        ),
        ("Server", untrusted(question.server)),
        ("Why", untrusted(question.why, WHY)),
    )


def question_evidence(question: schema.QuestionView) -> Content:
    """The words of others, for the card.  A launch shows its exact command; the rest is cut short here."""
    parts = [untrusted(text, EVIDENCE) for text in question.evidence[:MAX_EVIDENCE]]
    if len(question.evidence) > MAX_EVIDENCE:
        parts.append(Content(f"… and {count(len(question.evidence) - MAX_EVIDENCE, 'more line')}"))
    if question.detail:
        parts.append(untrusted_block(question.detail, BLOCK if question.kind == "launch" else CARD_DETAIL))
    return Content("\n").join(parts)


def question_everything(question: schema.QuestionView, zone: tzinfo | None) -> Content:
    """Our facts about a question in full; the words of others are shown apart (`question_words`)."""
    lines = [
        Content.assemble(f"{name:9}", words)
        for name, words in (
            ("What", untrusted(question.what, BLOCK)),
            ("Why", untrusted(question.why, BLOCK)),
            ("Client", untrusted(question.client)),
            ("Server", untrusted(question.server)),
            ("Session", untrusted(question.session)),
            ("Asked", Content(clock_time(question.asked, zone))),
            ("Until", Content(f"{clock_time(question.deadline, zone)}, then the answer is no")),
            ("Id", untrusted(question.id)),
            ("Digest", untrusted(question.digest)),
        )
    ]
    return Content("\n").join(lines)


def question_words(question: schema.QuestionView) -> Content:
    parts = [untrusted_block(text) for text in question.evidence[:1000]]
    if question.detail:
        parts.append(untrusted_block(question.detail))
    return Content("\n").join(parts)


def lifetimes(kind: Kind) -> tuple[Lifetime, ...]:
    return tuple(lifetime for lifetime in ("once", "session", "always") if lifetime in MEANINGS[kind])


def always_words(question: schema.QuestionView) -> Content:
    """What is about to last, said before it does."""
    pairs: tuple[tuple[str, Content], ...] = (
        ("Client", untrusted(question.client)),
        ("Server", untrusted(question.server)),
        ("Asked", untrusted(question.what, WHAT)),
    )
    if question.reach:
        pairs += (("Only", untrusted(question.reach, WHAT)),)
    named = [Content.assemble(f"{name:8}", words) for name, words in pairs]
    lasts = Content(MEANINGS[question.kind].get("always", ""))
    undo = Content("Take it back at any time: bulkhead grants, bulkhead revoke ID")
    return Content("\n").join([*named, Content(""), lasts, Content(""), undo])


def answered(question: schema.QuestionView, lifetime: Lifetime | None) -> str:
    """What is said when the daemon took the answer."""
    subject = f"{untrusted(question.client).plain} on {untrusted(question.server).plain}"
    if lifetime is None:
        return f"denied: {subject}"
    return f"allowed {MEANINGS[question.kind][lifetime] if lifetime != 'always' else 'with a lasting yes'}: {subject}"
