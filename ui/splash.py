"""One line on the terminal while the screen is still being loaded, so that a person sees at once that something comes.

Standard library only.  The line is wiped before anything else is written: an error, or the screen itself.
"""

import sys
from typing import Final

LINE: Final = "\r\x1b[1m Bulkhead \x1b[0m opening …"
WIPE: Final = "\r\x1b[2K"


def paint() -> bool:
    """Whether there is a terminal to paint on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    sys.stdout.write(LINE)
    sys.stdout.flush()
    return True


def wipe() -> None:
    sys.stdout.write(WIPE)
    sys.stdout.flush()
