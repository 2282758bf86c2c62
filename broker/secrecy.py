"""Which values are secrets, by what they are called and what they look like.

A guess that errs towards yes: a value taken for a secret is kept sealed and stays usable, one that is not taken for one
lies in a file.  A place of a file, a switch and a number are none, whatever they are called.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_NAME: Final = re.compile(
    r".*(?:token|secret|password|passwd|apikey)|key|passphrase|pwd|pass|pat|credentials?|auth|authorization|bearer|cookie"
    r"|dsn|jwt",
    re.IGNORECASE,
)
_PAIRS: Final = frozenset({("public", "key"), ("key", "id"), ("key", "name"), ("key", "path"), ("key", "file")})
"""Words that belong together and say where a secret is, or that it is none."""
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PLAIN: Final = re.compile(
    r"|@[A-Za-z0-9_.-]+@|true|false|yes|no|on|off|none|null|-?[0-9]{1,6}|(?:[A-Za-z]:\\|~?/|\./)[^+=]*|https?://[^@?]*",
    re.IGNORECASE,
)
_LOOKS: Final = re.compile(
    r"gh[opusr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk[-_][\w-]{16,}|[rs]k_(?:live|test)_\w{10,}|xox[a-z]-[\w-]{10,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w.-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|npm_\w{30,}|pypi-[\w-]{30,}"
    r"|hf_\w{20,}|(?:Bearer|Basic|token) +\S{8,}|-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*"
    r"|[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@.*|https?://\S*[?&](?:api_?key|access_?token|token|key|secret|sig)=\S+",
    re.DOTALL,
)
_PAIR: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:=|: ?)(.+)", re.DOTALL)
_FLAG: Final = re.compile(r"--?([A-Za-z0-9_-]+)(?:=(.*))?", re.DOTALL)


def looks_secret(name: str, value: str) -> bool:
    """Whether the value of a variable, header or flag of this name should be kept sealed."""
    if _LOOKS.fullmatch(value.strip()):
        return True
    if _PLAIN.fullmatch(value):
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    innocent = {at for at, pair in enumerate(pairwise(words)) if pair in _PAIRS}
    hits = {at for at, word in enumerate(words) if _NAME.fullmatch(word)}
    return bool(hits - innocent - {at + 1 for at in innocent})


def secret_arguments(argv: Sequence[str]) -> dict[int, tuple[str, str]]:
    """Words of a launch line that hold a secret, by their place: what it is called, and its value in that word.

    `--api-key VALUE`, `--api-key=VALUE`, `NAME=VALUE`, `Header: VALUE`, and what looks like one by itself.  The program
    itself is no secret, and neither is a word that only names a flag.
    """
    found: dict[int, tuple[str, str]] = {}
    flag = ""
    for place, word in enumerate(argv):
        match = _FLAG.fullmatch(word)
        name, value = (match[1], match[2] or "") if match else (flag or "argument", word)
        if not looks_secret(name, value) and (pair := _PAIR.fullmatch(word)) is not None:
            name, value = pair[1], pair[2]
        flag = match[1] if match and match[2] is None else ""
        if place and value and looks_secret(name, value):
            found[place] = (name, value)
    return found
