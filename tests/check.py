"""The one check: style, types, rooms and tests, the same on a desk and in CI.

Every step runs, whatever the others said, and the exit code is that of the first step that failed.  It needs nothing
but the standard library to start; the tools are those beside the interpreter that runs it.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = Path(sys.executable).parent
FAST: Final = ("-m", "not sandbox and not registry", "--ignore", "tests/e2e")


@dataclass(frozen=True, slots=True)
class Step:
    """One tool with its arguments.  A quiet step shows its output only when it fails."""

    name: str
    argv: tuple[str, ...]
    quiet: bool = True


def steps(fast: bool, more: Sequence[str]) -> tuple[Step, ...]:
    """What is checked, cheapest first.  `more` goes to pytest."""
    return (
        Step("style", ("ruff", "check", ".")),
        Step("format", ("ruff", "format", "--check", ".")),
        Step("types", ("mypy",)),
        Step("rooms", ("lint-imports",)),
        Step("tests", ("pytest", *(FAST if fast else ()), *more), quiet=False),
    )


def run(step: Step) -> int:
    """Run one step, print one line about it, and return its exit code."""
    started = time.monotonic()
    done = subprocess.run(
        [str(TOOLS / step.argv[0]), *step.argv[1:]],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if step.quiet else None,
        stderr=subprocess.STDOUT if step.quiet else None,
        check=False,
    )
    if done.returncode and done.stdout:
        sys.stdout.buffer.write(done.stdout)
    outcome = "ok" if done.returncode == 0 else f"FAILED ({done.returncode})"
    print(f"check: {step.name:<7} {outcome} in {time.monotonic() - started:.1f} s: {' '.join(step.argv)}", flush=True)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description="Check style, types, rooms and tests.")
    parser.add_argument("--fast", action="store_true", help="leave out tests that start sandboxes or need a registry")
    parser.add_argument("pytest", nargs="*", help="further arguments for pytest, after --")
    chosen = parser.parse_args()
    codes = [run(step) for step in steps(chosen.fast, chosen.pytest)]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
