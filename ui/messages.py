"""What workers post to the app.  Workers change nothing themselves."""

from collections.abc import Sequence

from textual.message import Message

from broker.api import schema
from ui.shell import Printed


class Seen(Message):
    """The daemon showed something."""

    def __init__(self, event: schema.WatchEvent) -> None:
        super().__init__()
        self.event = event


class Lost(Message):
    """The subscription ended; the next attempt comes in `again` seconds."""

    def __init__(self, what: str, hint: str, again: float) -> None:
        super().__init__()
        self.what = what
        self.hint = hint
        self.again = again


class Replied(Message):
    """The daemon did what was asked; `said` is what a person is told."""

    def __init__(self, ticket: str, said: str, answer: schema.Words) -> None:
        super().__init__()
        self.ticket = ticket
        self.said = said
        self.answer = answer


class Refused(Message):
    """The daemon did not do what was asked, or did not answer."""

    def __init__(self, ticket: str, what: str, hint: str) -> None:
        super().__init__()
        self.ticket = ticket
        self.what = what
        self.hint = hint


class Ran(Message):
    """A command of `bulkhead` came to its end."""

    def __init__(self, ticket: str, words: Sequence[str], printed: Printed) -> None:
        super().__init__()
        self.ticket = ticket
        self.words = words
        self.printed = printed
