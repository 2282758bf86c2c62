"""Secrets among the words of a launch line.

Many servers take a key as an argument.  Which word is one, its flag says; the word itself looks like any other.  What
is found here is cut out of receipts by its value, like every known secret.
"""

import re
from collections.abc import Sequence
from typing import Final

_FLAG: Final = re.compile(
    r"--?[a-z0-9_-]*(?:token|key|secret|passw(?:or)?d|passphrase|pwd|credential|bearer|auth)[a-z0-9_-]*(?:=(.*))?",
    re.IGNORECASE | re.DOTALL,
)
_NAME: Final = re.compile(r"@[A-Za-z0-9_.-]+@")
"""What stands where a secret was taken out."""


def secret_words(argv: Sequence[str]) -> list[str]:
    """The values of flags that name a secret: `--api-key VALUE` and `--api-key=VALUE`."""
    found = []
    for place, word in enumerate(argv):
        match = _FLAG.fullmatch(word)
        if match is None:
            continue
        if match[1] is not None:
            found.append(match[1])
        elif place + 1 < len(argv) and not argv[place + 1].startswith("-"):
            found.append(argv[place + 1])
    return [value for value in found if value and _NAME.fullmatch(value) is None]
