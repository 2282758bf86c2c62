"""All measurements, one after another, and their tables in the README.

    python -m benchmarks [--write] [NAME ...]

Each runs in a process of its own, as by hand.  `--write` puts what it printed between its two marks in the README:
`<!-- measured: NAME -->` and `<!-- /measured -->`.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

README: Final = Path(__file__).parents[1] / "README.md"
ALL: Final = ("calls", "startup", "launch", "sessions", "audit", "sandbox")


def run(name: str) -> str:
    """What one of them printed, which is seen meanwhile as well; empty when it failed."""
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(f"\n## {name}\n\n{done.stdout}")
    return done.stdout.strip() if done.returncode == 0 else ""


def written(readme: str, name: str, text: str) -> str:
    """The README with `text` between the marks of `name`; as it is where it has none."""
    place = re.compile(rf"(<!-- measured: {re.escape(name)} -->\n).*?(\n<!-- /measured -->)", re.DOTALL)
    return place.sub(lambda marks: f"{marks.group(1)}{text}{marks.group(2)}", readme)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description="all measurements of the README")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; default: all")
    parser.add_argument("--write", action="store_true", help="put the tables into the README")
    wanted = parser.parse_args()
    failed = []
    for name in wanted.names or ALL:
        text = run(name)
        if not text:
            failed.append(name)
        elif wanted.write:
            README.write_text(written(README.read_text(), name, text))
    if failed:
        sys.stderr.write(f"not measured: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
