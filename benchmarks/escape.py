"""What gets out of which sandbox: every attempt of the escape probe without one, in ours, and in `srt` beside it.

`python -m benchmarks.escape [--all]`, as an ordinary user of this machine.  `srt` (the npm package
`@anthropic-ai/sandbox-runtime`, with its defaults and the same two grants) is installed by npm into a folder that is
removed again; without npm, node or what it needs, its column is left out and the reason is said.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from typing import Any

from tests.sandbox.catalogue import LISTED
from tests.sandbox.conftest import Yard, make_yard
from tests.sandbox.test_escape import set_up

PACKAGE = "@anthropic-ai/sandbox-runtime"
INSTALL_LIMIT = 300
MODULE = "tests.sandbox.probe"

Found = dict[str, tuple[bool, str]]


def attempts(result: dict[str, Any]) -> Found:
    try:
        found: Found = json.loads(result["out"])["attempts"]
    except (KeyError, ValueError):
        raise RuntimeError(f"the probe did not run: {json.dumps(result)[:2000]}") from None
    return found


def in_ours(yard: Yard) -> Found:
    return attempts(yard.ask({"jobs": [set_up(yard)], "surroundings": str(yard.path)})["results"][0])


def in_nothing(yard: Yard, *around: str) -> Found:
    set_up(yard)
    wish = {"jobs": [{}], "bare": MODULE, "around": around, "surroundings": str(yard.path)}
    return attempts(yard.ask(wish)["results"][0])


def in_srt(yard: Yard) -> Found:
    missing = [name for name in ("npm", "node", "socat", "rg", "bwrap") if shutil.which(name) is None]
    if missing:
        raise RuntimeError(f"srt needs {', '.join(missing)}")
    tools = yard.path / "tools"
    tools.mkdir()
    command = ["npm", "install", "--silent", "--no-fund", "--ignore-scripts", "--prefix", str(tools), PACKAGE]
    subprocess.run(command, check=True, timeout=INSTALL_LIMIT, stdin=subprocess.DEVNULL)
    package = tools / "node_modules" / PACKAGE
    version = json.loads((package / "package.json").read_text())["version"]
    sys.stdout.write(f"srt {version}\n")
    settings = yard.path / "srt.json"
    text = {
        "network": {"allowedDomains": [], "deniedDomains": []},
        "filesystem": {
            "denyRead": [str(yard.home / ".ssh"), str(yard.home / ".aws")],
            "allowWrite": [str(yard.work / "write")],
            "denyWrite": [],
        },
    }
    settings.write_text(json.dumps(text))
    node = shutil.which("node")
    assert node is not None
    script = str(package / "dist/cli.js")
    return in_nothing(yard, node, script, "--settings", str(settings), "-c", f"{yard.python} -m {MODULE}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.escape", description="what gets out of which sandbox")
    parser.add_argument("--all", action="store_true", help="show also what nothing lets through")
    everything = parser.parse_args().all
    columns: dict[str, Found] = {}
    for name, run in (("no sandbox", in_nothing), ("ours", in_ours), ("srt", in_srt)):
        yard = make_yard("user")
        try:
            columns[name] = run(yard)
        except (RuntimeError, AssertionError, subprocess.SubprocessError) as cause:
            sys.stdout.write(f"{name} is left out: {cause}\n")
        finally:
            shutil.rmtree(yard.path)
    sys.stdout.write(table(columns, everything))
    ours = {what for what, (through, _) in columns.get("ours", {}).items() if through}
    return 0 if ours == set(LISTED) else 1


def table(columns: dict[str, Found], everything: bool) -> str:
    lines = [f"| attempt | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for what in next(iter(columns.values()), {}):
        through = [found.get(what, (False, ""))[0] for found in columns.values()]
        if everything or any(through):
            lines.append(f"| {what} | {' | '.join('gets through' if one else 'held' for one in through)} |")
    total = len(next(iter(columns.values()), {}))
    counts = [f"{sum(through for through, _ in found.values())} with {name}" for name, found in columns.items()]
    lines += ["", f"{total} attempts; through: {', '.join(counts)}; load {os.getloadavg()[0]:.1f}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
