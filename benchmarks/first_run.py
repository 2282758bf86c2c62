"""The first run as a new user has it, timed: from the install of the README to an allowed call of an imported server.

    python -m benchmarks.first_run [--both]

A fresh home with a Claude Desktop configuration of one server (`uvx mcp-server-time`), or of two (`--both`: the
filesystem server with one folder too).  Each step, its seconds and the keys that a person presses at it are printed;
the words of commands, which the README has to copy, are not counted.  Needs the registries the machine is configured
for, and a machine that can box servers in.
"""

import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.fakes.home import PROJECT
from tests.fakes.raw_client import RawClient

WITHIN: Final = 600.0
TIME: Final = {"command": "uvx", "args": ["mcp-server-time"]}
ANSWERS: Final = {b"move these into Bulkhead": "y", b"may it see": "r", b"run this as": "y"}
"""What a person is asked, and the letter that says yes."""


class Person:
    """Does one step after the other in a terminal, and counts."""

    def __init__(self, home: Path) -> None:
        kept = {
            name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "UV_", "NPM_", "npm_", "SSL_"))
        }
        self.environment = {**kept, "HOME": str(home), "PATH": f"{home}/venv/bin:{os.environ['PATH']}", "TERM": "xterm",
                            "XDG_RUNTIME_DIR": str(home / "run")}  # fmt: skip
        self.home = home
        self.steps: list[dict[str, Any]] = []

    def does(self, what: str, argv: Sequence[str], cwd: Path = PROJECT) -> None:
        """Run one command at a terminal of its own and answer what it asks."""
        begun = time.monotonic()
        keys = _at_a_terminal(argv, self.environment, cwd)
        self.steps.append({"step": what, "seconds": round(time.monotonic() - begun, 1), "keys": keys})

    def calls(self, what: str, argv: Sequence[str], tool: str, arguments: Mapping[str, Any]) -> None:
        """What the application does next time it starts: run its entry, and call a tool."""
        begun = time.monotonic()
        with RawClient(argv, env=self.environment) as client:
            client.open()
            answer = client.request("tools/call", {"name": tool, "arguments": dict(arguments)}, within=120.0)
        if "error" in answer or answer["result"].get("isError"):
            raise AssertionError(f"the call was not allowed: {answer}")
        self.steps.append({"step": what, "seconds": round(time.monotonic() - begun, 1), "keys": 0})


def _at_a_terminal(argv: Sequence[str], environment: Mapping[str, str], cwd: Path) -> int:
    """Run to its end; how many keys were pressed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), dict(environment))  # noqa: S606 - no shell is the point
    said, keys, seen = b"", 0, 0
    deadline = time.monotonic() + WITHIN
    try:
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                piece = os.read(terminal, 65_536)
            except OSError:  # it ended
                break
            said += piece
            if said.rstrip().endswith(b"]") and len(said) > seen:
                letter = next((letter for words, letter in ANSWERS.items() if words in said[seen:]), "")
                if letter:
                    os.write(terminal, f"{letter}\n".encode())
                    keys, seen = keys + 2, len(said)
    finally:
        os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise AssertionError(f"{argv} ended with {code}: {said[-2000:].decode('utf-8', 'replace')}")
    return keys


def main() -> int:
    both = "--both" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="bh-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        (home / "run").mkdir(mode=0o700)
        (home / "notes").mkdir()
        file = home / ".config/Claude/claude_desktop_config.json"
        file.parent.mkdir(parents=True)
        files = {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", str(home / "notes")]}
        servers = {"time": TIME, **({"files": files} if both else {})}
        file.write_text(json.dumps({"mcpServers": servers}, indent=2))
        person, pip = Person(home), [f"{home}/venv/bin/python", "-m", "pip", "install", "--quiet"]
        bulkhead = f"{home}/venv/bin/bulkhead"
        person.does("python3 -m venv", [sys.executable, "-m", "venv", f"{home}/venv"])
        person.does("pip install the lock", [*pip, "--require-hashes", "-r", "requirements/standalone.lock"])
        person.does("pip install Bulkhead", [*pip, "--no-deps", "--no-build-isolation", "."])
        try:
            person.does("bulkhead clients", [bulkhead, "clients"], home)
            person.does("bulkhead import", [bulkhead, "import", "claude-desktop"], home)
            entry = json.loads(file.read_text())["mcpServers"]["time"]
            argv = [entry["command"], *entry["args"]]
            person.calls("the first call", argv, "get_current_time", {"timezone": "Europe/Vienna"})
        finally:
            subprocess.run([bulkhead, "down"], env=person.environment, check=False, capture_output=True, timeout=60)
    print(json.dumps({
        "load": round(os.getloadavg()[0], 1), "servers": len(servers), "steps": person.steps,
        "seconds": round(sum(step["seconds"] for step in person.steps), 1),
        "seconds_after_install": round(sum(step["seconds"] for step in person.steps[3:]), 1),
        "keys": sum(step["keys"] for step in person.steps),
    }, indent=2))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
