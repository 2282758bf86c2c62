"""Home: the open questions, and the card that answers the chosen one.

The card never changes by itself while its question is open: a new question only joins the list.  The answer goes out
with the digest of what was shown; whether it counts is the desk's to say.
"""

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from broker.model import Lifetime
from ui import facts, listings
from ui.known import Known
from ui.screens.base import Place
from ui.screens.confirm import ConfirmScreen
from ui.screens.number import NumberScreen
from ui.screens.pages import Page
from ui.widgets.card import Card, Chosen
from ui.widgets.rows import Rows

AWAY = "The daemon is away: nothing can be asked or answered now.  Questions that were open count as no."
NOTHING_OPEN = (
    "No open questions.\n\n"
    "When a client wants something the policy does not allow by itself, it is asked here, and waits. "
    "Nobody answering is a no."
)


class QuestionsScreen(Place):
    NAME = "questions"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "deny", "Deny"),
        Binding("escape", "deny", "Deny", show=False),
        Binding("o", "allow('once')", "Once"),
        Binding("s", "allow('session')", "This session"),
        Binding("a", "allow('always')", "Always"),
        Binding("v", "everything", "Everything"),
        Binding("up,k", "choose(-1)", "Up", show=False),
        Binding("down,j", "choose(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
    ]

    HELP_TEXT = """\
every question has a deadline; nobody answering is a no
d Enter Esc  deny: Deny has focus, whatever else you do
o            yes, this once
s            yes, until the session ends
a            yes, always: shows what that means and asks again
v            everything about the question, uncut
             answer keys do nothing for 0.7 s after a card changed"""

    def body(self) -> Iterable[Widget]:
        rows = Rows(id="open")
        rows.can_focus = False  # focus stays on the answers, so that Enter can only ever press the button it shows
        yield rows
        yield Card(self.desk.clock)
        yield Static(Content(NOTHING_OPEN), id="nothing", markup=False)

    def refresh_body(self) -> None:
        questions = self.desk.known.questions
        now = self.desk.clock.wall()
        rows = self.query_one("#open", Rows)
        rows.show([listings.question_row(question, now) for question in questions])
        rows.display = bool(questions)
        nothing = self.query_one("#nothing", Static)
        nothing.display = not questions
        nothing.update(Content(NOTHING_OPEN if self.desk.known.connected else AWAY))
        self._show_card()

    def beat(self) -> None:
        now = self.desk.clock.wall()
        rows = self.query_one("#open", Rows)
        rows.show([listings.question_row(question, now) for question in self.desk.known.questions])
        self._beat_card()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.query_one(Card).changed()  # it was covered: what it shows may be other than what was seen last

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action not in ("deny", "allow", "everything"):
            return True
        question = self._question
        if question is None:
            return False
        return action != "allow" or parameters[0] in facts.lifetimes(question.kind)

    def action_choose(self, by: int) -> None:
        self.query_one("#open", Rows).action_move(by)

    @on(Rows.Moved)
    def _moved(self) -> None:
        self._show_card()

    def action_page(self, by: int) -> None:
        body = self.query_one("#body", VerticalScroll)
        body.scroll_relative(y=by * max(1, body.size.height - 1), animate=False)

    def action_everything(self) -> None:
        if (question := self._question) is not None:
            zone = self.desk.clock.zone
            page = Page(
                "Everything about this question",
                facts.question_everything(question, zone),
                facts.question_words(question),
                whose="Evidence, with words of the server or client: not checked, do not obey",
            )
            self.app.push_screen(page)

    def action_deny(self) -> None:
        self.query_one(Card).choose(None)

    def action_allow(self, lifetime: Lifetime) -> None:
        self.query_one(Card).choose(lifetime)

    @on(Chosen)
    def _chosen(self, chosen: Chosen) -> None:
        question, lifetime = chosen.question, chosen.lifetime

        def still_asked(known: Known) -> bool:
            now = known.question(question.id)
            return now is not None and now.digest == question.digest

        if lifetime is not None and question.numbered:

            def numbered(number: str | None) -> None:
                if number:
                    self._answer(question, lifetime, number)

            self.app.push_screen(NumberScreen(still_asked), numbered)
            return
        if lifetime != "always":
            self._answer(question, lifetime)
            return

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._answer(question, "always")
            elif not still_asked(self.desk.known):
                self.desk.say("the question is gone or was replaced; nothing was answered")

        words = facts.always_words(question)
        window = ConfirmScreen(
            "Always?", words, clock=self.desk.clock, still=still_asked, yes="Yes, always", no="No, back to the question"
        )
        self.app.push_screen(window, confirmed)

    def _answer(self, question: schema.QuestionView, lifetime: Lifetime | None, number: str = "") -> None:
        params = schema.Answered(
            id=question.id, digest=question.digest, allow=lifetime is not None, lifetime=lifetime or "once",
            number=number,
        )  # fmt: skip
        route = schema.DENY if lifetime is None else schema.APPROVE
        self.desk.ask_desk(_ticket(question), route, params, facts.answered(question, lifetime))
        self._beat_card()

    @property
    def _question(self) -> schema.QuestionView | None:
        return self.query_one(Card).question if self.is_mounted else None

    def _show_card(self) -> None:
        key = self.query_one("#open", Rows).cursor_key
        kind = self._question.kind if self._question else None
        self.query_one(Card).show(self.desk.known.question(key))
        self._beat_card()
        if kind != (self._question.kind if self._question else None):
            self.refresh_bindings()

    def _beat_card(self) -> None:
        question = self._question
        answering = question is not None and _ticket(question) in self.desk.known.in_flight
        self.query_one(Card).beat(self.desk.clock.wall(), answering=answering)


def _ticket(question: schema.QuestionView) -> str:
    """One answer to one question at a time."""
    return f"answer {question.id} {question.digest}"
