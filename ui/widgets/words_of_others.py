"""A pane for text that somebody else wrote.

Its left border marks every line, also the wrapped ones, and its title says whose words they are: a server can write
what it likes and cannot make it look like ours.
"""

from textual.content import Content
from textual.widgets import Static


class WordsOfOthers(Static):
    """Text a server or client wrote, already cleaned by `present`."""

    DEFAULT_CSS = """
    WordsOfOthers { height: auto; padding: 0 1; border-left: outer $warning; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(Content(""), id=id, markup=False)
