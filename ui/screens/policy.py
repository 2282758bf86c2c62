"""The policy: its rules, why a call is decided so, a recorded session under another policy, and what could be learned.

Another policy is only looked at until a person uses it, after a second yes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from broker.api import schema
from ui import policy_page
from ui.known import Known
from ui.listings import ReceiptRow, Row
from ui.present import untrusted, untrusted_block
from ui.screens.base import Place
from ui.screens.choose import ChooseScreen, WriteScreen
from ui.screens.pages import Page
from ui.widgets.rows import Rows

SHIPPED: Final = ("balanced", "strict", "observe")
MAX_FILE: Final = 1024 * 1024
MAX_CHOICES: Final = 200
FILE: Final = "a file …"


class PolicyScreen(Place):
    NAME = "policy"
    AUTO_FOCUS = "#rules"
    HELP_TEXT = """\
Enter    the whole rule
p        look at another policy: one that is shipped, a learned one, a file
x        explain a recorded call by the policy that is shown
c        a recorded session, under the policy in force and the one shown
l        learn a policy from what was let through (a proposal)
u        use the policy that is shown; asks again
v        its whole text"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("p", "choose", "Policies"),
        Binding("x", "explain", "Explain"),
        Binding("c", "compare", "Compare"),
        Binding("l", "learn", "Learn"),
        Binding("u", "use", "Use"),
        Binding("v", "text", "Text", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._choice = schema.PolicyChoice()
        self._view: schema.PolicyView | None = None
        self._learned: schema.PolicyLearned | None = None
        self._in_force = ""

    def body(self) -> Iterable[Widget]:
        yield Static(Content(""), id="policy", markup=False)
        yield Static(Content(""), id="heading", markup=False)
        yield Rows(id="rules")
        yield Static(Content("Asking the daemon …"), id="nothing", markup=False)

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._ask()

    def refresh_body(self) -> None:
        view, status = self._view, self.desk.known.status
        if status is not None and status.policy != self._in_force:
            self._in_force = status.policy
            self._ask()
        line = self.query_one("#policy", Static)
        line.update(policy_page.head(view, self._in_force) if view is not None else Content(""))
        heading = self.query_one("#heading", Static)
        heading.update(Content.assemble("  ", policy_page.RULE_HEADING.draw(max(1, self.size.width - 4))))
        rows = self.query_one("#rules", Rows)
        rows.show([policy_page.rule_row(rule) for rule in view.rules] if view is not None else [])
        for widget in (line, heading, rows):
            widget.display = view is not None
        self.query_one("#nothing").display = view is None

    def on_resize(self) -> None:
        self.redraw()

    # --- what the desk answers ---

    def answered(self, answer: schema.Words) -> None:
        if isinstance(answer, schema.PolicyView):
            self._view = answer
            self.redraw()
        elif isinstance(answer, schema.Explained):
            name = self._view.name if self._view is not None else ""
            self.app.push_screen(Page("Why", policy_page.explained(answer, name)))
        elif isinstance(answer, schema.Replayed):
            width = max(40, min(106, self.size.width - 4))
            self.app.push_screen(Page("A recorded session, side by side", policy_page.compared(answer, width)))
        elif isinstance(answer, schema.PolicyLearned):
            self._show_learned(answer)

    def _show_learned(self, found: schema.PolicyLearned) -> None:
        if not found.rules:
            self.desk.say("nothing was let through that rules could be learned from; use your servers for a while")
            return
        self._learned = found
        self._choice = schema.PolicyChoice(name=found.name, text=found.text)
        self._ask()
        self.app.push_screen(Page("A proposal", policy_page.learned(found)))

    def _ask(self) -> None:
        if self.desk.known.connected:
            self.desk.ask_desk(f"policy {self._choice.name}", schema.POLICY_SHOW, self._choice, "")

    # --- what a person does ---

    def action_open(self) -> None:
        key = self.query_one("#rules", Rows).cursor_key
        rule = next((rule for rule in self._view.rules if rule.name == key), None) if self._view is not None else None
        if rule is not None:
            self.app.push_screen(Page(f"Rule {untrusted(rule.name).plain}", policy_page.rule_words(rule)))

    def action_text(self) -> None:
        if (view := self._view) is not None:
            self.app.push_screen(
                Page(untrusted(view.name).plain, Content(""), untrusted_block(view.text), "the document")
            )

    def action_choose(self) -> None:
        names = ["in force", *SHIPPED, *(["learned"] if self._learned is not None else []), FILE]
        rows = [Row(name, (Content(name),)) for name in names]
        self.app.push_screen(ChooseScreen("Which policy to look at", rows), self._chosen)

    def _chosen(self, name: str | None) -> None:
        if name == FILE:
            window = WriteScreen(
                "A policy file", "Only looked at; nothing changes until you use it.", "/path/to/policy.toml"
            )
            self.app.push_screen(window, self._from_file)
        elif name is not None:
            text = self._learned.text if name == "learned" and self._learned is not None else ""
            self._choice = schema.PolicyChoice(name="" if name == "in force" else name, text=text)
            self._ask()

    def _from_file(self, path: str | None) -> None:
        if path is None:
            return
        try:
            with Path(path).expanduser().open("rb") as file:
                data = file.read(MAX_FILE + 1)
            text = data.decode()
        except (OSError, ValueError) as cause:
            why = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8 text"
            self.desk.say(Content.assemble("NOT DONE: ", untrusted(path), f" cannot be read: {why}"))
            return
        if len(data) > MAX_FILE:
            self.desk.say(f"NOT DONE: it is longer than {MAX_FILE >> 20} MiB")
            return
        self._choice = schema.PolicyChoice(name=Path(path).name, text=text)
        self._ask()

    def action_explain(self) -> None:
        calls = [line for line in self.desk.known.receipts if line.is_call][-MAX_CHOICES:]
        if not calls:
            self.desk.say("no call is on record lately; older ones: bulkhead policy explain CALL.json")
            return
        rows = [ReceiptRow(line, line.column("seq")) for line in reversed(calls)]

        def chosen(number: str | None) -> None:
            if number is not None:
                params = schema.PolicyExplain(receipt=int(number), policy=self._choice)
                self.desk.ask_desk(f"explain {number}", schema.POLICY_EXPLAIN, params, "")

        self.app.push_screen(ChooseScreen("Which call", rows), chosen)

    def action_compare(self) -> None:
        if not self._choice.name:
            self.desk.say("this is the policy in force; choose another one first: p, or learn one: l")
            return
        sessions: dict[str, list[str]] = {}
        for line in self.desk.known.receipts:
            if line.is_call and (session := line.column("session")):
                sessions.setdefault(session, []).append(line.column("client"))
        if not sessions:
            self.desk.say("no session with a call is on record lately; recorded files: bulkhead replay TRACES")
            return
        rows = [
            Row(session, (untrusted(clients[0]), untrusted(session[:12]), Content(f"{len(clients)} decisions lately")),
                (18, 14))
            for session, clients in reversed(sessions.items())
        ]  # fmt: skip

        def chosen(session: str | None) -> None:
            if session is not None:
                params = schema.PolicyReplay(session=session, policy=self._choice)
                self.desk.ask_desk(f"replay {session}", schema.POLICY_REPLAY, params, "")

        self.app.push_screen(ChooseScreen("Which recorded session", rows), chosen)

    def action_learn(self) -> None:
        self.desk.ask_desk("learn", schema.POLICY_LEARN, schema.PolicyLearn(), "")

    def action_use(self) -> None:
        view = self._view
        if view is None or view.name == self._in_force:
            self.desk.say("this policy is in force")
            return
        chosen, before = view, self._in_force

        def unchanged(known: Known) -> bool:
            return known.connected and known.status is not None and known.status.policy == before

        def use() -> None:
            params = schema.PolicyUse(name=chosen.name, text=chosen.text)
            said = f"the policy is {untrusted(chosen.name).plain} from now on"
            self.desk.ask_desk(f"use {chosen.name}", schema.POLICY_USE, params, said)

        words = policy_page.use_words(chosen, before)
        self.confirm("Use this policy?", words, unchanged, "Use it", use, no="Leave it as it is")
