"""What a launch line really means: argv -> LaunchRequest.

Never guess: a word the grammar does not know refuses the whole line, because a flag that takes a value read as one
that does not would pin another package than the one that runs.
"""

import unicodedata
from collections.abc import Callable, Sequence

from broker.errors import LaunchLineError
from broker.model import LaunchRequest
from broker.trust.launchers import npx, program, uvx
from broker.trust.launchers.words import Line, assignment, program_name
from broker.trust.variables import refusal

MAX_WORDS = 512  # the longest launch line seen in the field has under 60 words
MAX_LINE = 128 * 1024  # bytes; the kernel's own limit for one argument on Linux
_JOINERS = "\u200c\u200d"  # needed to write Persian and Indic names; they reorder nothing


def parse(argv: Sequence[str], *, exists: Callable[[str], bool]) -> LaunchRequest:
    """What `argv` would run.  `exists` says whether an absolute path is there.

    Raises:
        LaunchLineError: a word is not understood, or is understood and refused; the message names it.
    """
    _readable(argv)
    variables, words = _environment(tuple(argv))
    line = Line(tuple(argv), words, variables, exists)
    name = program_name(words[0])
    if name in npx.LAUNCHERS:
        return npx.LAUNCHERS[name](line)
    if name in uvx.LAUNCHERS:
        return uvx.LAUNCHERS[name](line)
    return program.parse(line)


def _readable(argv: Sequence[str]) -> None:
    """What is asked is shown to a person word by word, so every word must look like what it is."""
    if not argv or not argv[0]:
        raise LaunchLineError("the launch line is empty", hint="give the command and its arguments after --")
    if len(argv) > MAX_WORDS or sum(len(word) for word in argv) > MAX_LINE:
        raise LaunchLineError(f"the launch line has more than {MAX_WORDS} words or {MAX_LINE} characters")
    for word in argv:
        for character in word:
            category = unicodedata.category(character)
            if category in {"Cc", "Cs", "Zl", "Zp"} or (category == "Cf" and character not in _JOINERS):
                raise LaunchLineError(
                    f"the word {ascii(word)[:80]} holds an invisible or control character",
                    hint="type the word again by hand; a copied line may carry characters that hide what runs",
                )
    if len(argv) == 1 and any(character.isspace() for character in argv[0]):
        raise LaunchLineError(
            f"{argv[0][:80]!r} is a whole command in one word", hint="give every word on its own, without quotes"
        )


def _environment(argv: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Read an `env K=V ... command` prefix."""
    if program_name(argv[0]) != "env":
        return (), argv
    variables: dict[str, str] = {}
    for index, word in enumerate(argv[1:], start=1):
        if (pair := assignment(word)) is None:
            if word.startswith("-"):
                raise LaunchLineError(f"env with {word!r} is not supported", hint="only `env NAME=VALUE ... command`")
            return tuple(variables.items()), argv[index:]
        name, value = pair
        if reason := refusal(name):
            raise LaunchLineError(f"the variable {name} is refused: {reason}", hint="leave it out of the launch line")
        if name in variables:
            raise LaunchLineError(f"the variable {name} is set twice")
        variables[name] = value
    raise LaunchLineError("env is given no command", hint="add the command after the variables")
