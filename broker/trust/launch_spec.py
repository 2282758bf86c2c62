"""What a launch line really means: argv -> LaunchRequest.

Never guess: a word the grammar does not know refuses the whole line, because a flag that takes a value read as one
that does not would pin another package than the one that runs.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from broker.errors import LaunchLineError
from broker.pin import LaunchRequest
from broker.trust.launchers import bun, bundles, containers, deno, npx, pipx, program, remote, runtimes, uv, uvx
from broker.trust.launchers.carriers import leads_elsewhere, refuse_carriers
from broker.trust.launchers.words import Line, program_name
from broker.trust.launchers.wrappers import unwrap

MAX_WORDS = 512  # the longest launch line seen in the field has under 60 words
MAX_LINE = 128 * 1024  # bytes; the kernel's own limit for one argument on Linux
LAUNCHERS: Final[Mapping[str, Callable[[Line], LaunchRequest]]] = MappingProxyType(
    {
        **npx.LAUNCHERS,
        **uvx.LAUNCHERS,
        **uv.LAUNCHERS,
        **pipx.LAUNCHERS,
        **bun.LAUNCHERS,
        **deno.LAUNCHERS,
        **containers.LAUNCHERS,
        **runtimes.LAUNCHERS,
        **bundles.LAUNCHERS,
    }
)
_JOINERS = "\u200c\u200d"  # needed to write Persian and Indic names; they reorder nothing


def parse(argv: Sequence[str], *, exists: Callable[[str], bool]) -> LaunchRequest:
    """What `argv` would run.  `exists` says whether an absolute path is there.

    Raises:
        LaunchLineError: a word is not understood, or is understood and refused; the message names it.
    """
    _readable(argv)
    variables, words = unwrap(tuple(argv), exists)
    line = Line(tuple(argv), words, variables, exists)
    if remote.is_address(words[0]):
        return remote.parse(line)
    request = LAUNCHERS.get(program_name(words[0]), program.parse)(line)
    if leads_elsewhere(request):
        return remote.behind(request)
    refuse_carriers(request)
    return request


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
