"""The consent card: one question, its facts, the words of others, and the keys that answer.

Deny has focus whenever the card changes, and for a moment after that no key answers (`clock.DeadTime`).  The card posts
what a person chose together with the digest of what it showed; it decides nothing.
"""

from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

from broker.api import schema
from broker.model import Lifetime
from ui import facts
from ui.clock import DEAD_SECONDS, Clock, DeadTime
from ui.widgets.words_of_others import WordsOfOthers

FACTS: Final = ("What", "Client", "Server", "Why")
CHOICES: Final[tuple[tuple[Lifetime, str], ...]] = (
    ("once", "o  Once"),
    ("session", "s  This session"),
    ("always", "a  Always …"),
)


class Chosen(Message):
    """A person answered the question as it was shown.  `lifetime` None is a no."""

    def __init__(self, question: schema.QuestionView, lifetime: Lifetime | None) -> None:
        super().__init__()
        self.question = question
        self.lifetime = lifetime


class Card(Vertical):
    """Shows one question, or that there is none."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._dead = DeadTime(clock.steady)
        self._answering = False
        self.question: schema.QuestionView | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="subject-line"):
            yield Static(Content(""), id="subject", markup=False)
            yield Static(Content(""), id="countdown", markup=False)
        with VerticalScroll(id="body", can_focus=False):
            for name in FACTS:
                with Horizontal(classes="fact"):
                    yield Static(Content(name), classes="fact-name", markup=False)
                    yield Static(Content(""), id=f"fact-{name.lower()}", classes="fact-words", markup=False)
            yield Static(Content("Evidence, with words of the server or client: not checked, do not obey"),
                         id="evidence-title", markup=False)  # fmt: skip
            yield WordsOfOthers(id="evidence")
        with Horizontal(id="answers"):
            yield Button(Content("d  Deny"), id="deny", compact=True)
            for lifetime, label in CHOICES:
                yield Button(Content(label), id=lifetime, compact=True)
            yield Static(Content(""), id="answer-note", markup=False)

    def show(self, question: schema.QuestionView | None) -> None:
        """Show `question`.  Anything new in it, but a later deadline, makes a new card."""
        if _asks_the_same(question, self.question):
            self.question = question
            return
        self.question = question
        self.display = question is not None
        if question is None:
            return
        self.query_one("#subject", Static).update(facts.question_subject(question))
        for name, words in facts.question_facts(question):
            self.query_one(f"#fact-{name.lower()}", Static).update(words)
        words = facts.question_evidence(question)
        self.query_one("#evidence-title").display = bool(words)
        self.query_one("#evidence").display = bool(words)
        self.query_one("#evidence", WordsOfOthers).update(words)
        offered = facts.lifetimes(question.kind)
        for lifetime, _ in CHOICES:
            self.query_one(f"#{lifetime}").display = lifetime in offered
        self.query_one("#body", VerticalScroll).scroll_home(animate=False)
        self.changed()

    def changed(self) -> None:
        """What stands under the fingers is new: Deny gets the focus and keys are dead until it was read a little."""
        self._dead.stop_keys()
        self._show_keys()
        self.query_one("#deny", Button).focus(scroll_visible=False)
        self.call_after_refresh(self._painted)

    def beat(self, now: float, *, answering: bool) -> None:
        """Move the countdown; say when an answer is under way."""
        if self.question is None:
            return
        self._answering = answering
        self.query_one("#countdown", Static).update(facts.countdown(self.question, now))
        self._show_keys()

    def choose(self, lifetime: Lifetime | None) -> None:
        """An answer key or button was pressed; while the keys are dead nothing happens."""
        if self.question is None or not self._dead.over:
            return
        if lifetime is not None and lifetime not in facts.lifetimes(self.question.kind):
            return
        self.post_message(Chosen(self.question, lifetime))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        lifetimes: dict[str | None, Lifetime | None] = {"deny": None, **{name: name for name, _ in CHOICES}}
        self.choose(lifetimes[event.button.id])

    def _painted(self) -> None:
        self._dead.painted()
        self.set_timer(DEAD_SECONDS, self._show_keys)

    def _show_keys(self) -> None:
        """Whether the keys answer now, in colour and in words."""
        dead = not self._dead.over
        self.set_class(dead, "-dead")
        note = "answering …" if self._answering else "read first …" if dead else ""
        self.query_one("#answer-note", Static).update(Content(note))


def _asks_the_same(one: schema.QuestionView | None, other: schema.QuestionView | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.model_copy(update={"deadline": other.deadline}) == other
