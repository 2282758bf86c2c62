"""Toy MCP servers, a raw client and throw-away homes for tests.

Every server here is one file that needs the standard library only, because a script is pinned by the hash of one
file and runs as `python3 -I /abs/server.py`; they share no code on purpose.  The hostile ones behave for `initialize`
and `tools/list`, so that they can be pinned like any other, unless `--at` says otherwise.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent


def script(name: str) -> Path:
    """The absolute path of a toy server: `script("honest")`."""
    path = FOLDER / f"{name}.py"
    if not path.is_file():
        raise LookupError(f"there is no toy server named {name}")
    return path
