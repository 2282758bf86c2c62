"""The command line, as the screen uses it: run quietly for what it prints, or in the terminal for what it asks.

What must work without a daemon (`doctor`, `audit verify`) and what asks its own questions (`import`, `add`) is there
already; the screen runs it and draws no second one.  No shell is involved, and nothing is read beyond its bound.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMMAND: Final = (sys.executable, "-P", "-c", "import sys; from broker.cli import main; sys.exit(main())")
WITHIN: Final = 300.0  # seconds; a check of everything on a slow disk
MAX_SAID: Final = 4 * 1024 * 1024
_BACK: Final = "\nEnter brings you back to the screen: "


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command printed, and its exit code; `problem` if it could not be run to its end."""

    code: int
    text: str
    problem: str = ""


class Shell:
    """Runs `bulkhead WORDS` as this user, with this environment."""

    async def printed(self, words: Sequence[str]) -> Printed:
        """Run quietly; nothing is asked, because there is nobody at its standard input."""
        with tempfile.TemporaryFile() as file:
            code, problem = await _run(words, file.fileno())
            file.seek(0)
            text = file.read(MAX_SAID + 1)
        if len(text) > MAX_SAID:
            return Printed(1, "", f"it printed more than {MAX_SAID >> 20} MiB")
        return Printed(code, text.decode("utf-8", "replace"), problem)

    async def kept(self, words: Sequence[str], file: Path) -> Printed:
        """Run quietly; what it prints goes into a new file of the user's own."""
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as cause:
            return Printed(1, "", f"{file} cannot be written: {cause.strerror}")
        try:
            code, problem = await _run(words, descriptor)
        finally:
            os.close(descriptor)
        return Printed(code, "", problem)

    def in_terminal(self, words: Sequence[str]) -> int:
        """Run where the person can see and answer it; the screen stands aside meanwhile."""
        code = subprocess.run([*COMMAND, *words], check=False).returncode
        input(_BACK)
        return code


async def _run(words: Sequence[str], output: int) -> tuple[int, str]:
    """The exit code, and why it came to no end."""
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*COMMAND, *words, stdin=nowhere, stdout=output, stderr=nowhere)
    try:
        async with asyncio.timeout(WITHIN):
            return await process.wait(), ""
    except TimeoutError:
        return 1, f"it came to no end within {WITHIN:.0f} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
