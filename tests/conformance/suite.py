"""The suite: which scenarios a revision requires, and how each of them came out."""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.installed import SUITE, install, node
from tests.fakes.launchers import node_environment

REVISIONS: Final = ("2025-11-25", "2026-07-28")
RUN_WITHIN: Final = 900.0
SCENARIO_MILLISECONDS: Final = 90_000
_LISTED: Final = re.compile(r"^  - (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one scenario came out, and the checks of it that failed."""

    passed: bool
    checks: int = 0
    failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"passed ({self.checks})" if self.passed else f"FAILED: {'; '.join(self.failed) or 'it did not end'}"


class Suite:
    """The suite in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        install(folder, [SUITE])
        self._runs = 0

    def required(self, leg: str, revision: str) -> list[str]:
        """The names of the scenarios."""
        done = self._run("list", f"--{leg}", "--requirements", revision)
        part = done.stdout.partition(f"{leg.capitalize()} scenarios")[2].partition("\n\n")[0]
        return _LISTED.findall(part)

    def server(self, url: str, revision: str) -> dict[str, Outcome]:
        """Every scenario against the server at `url`."""
        results = self._results()
        self._run("server", "--url", url, "--requirements", revision, "-o", str(results))
        return {name: _outcome(results, f"server-{name}") for name in self.required("server", revision)}

    def client(self, command: str, revision: str, environment: Mapping[str, str] = {}) -> dict[str, Outcome]:
        """Every scenario against the client that `command` starts, one after the other."""
        found = {}
        for name in self.required("client", revision):
            results = self._results()
            options = ["--scenario", name, "--spec-version", revision, "--timeout", str(SCENARIO_MILLISECONDS)]
            done = self._run("client", "--command", command, *options, "-o", str(results), environment=environment)
            found[name] = _outcome(results, name)
            if not found[name].passed:
                (results.parent / f"{results.name}.log").write_text(done.stdout + done.stderr)
        return found

    def _results(self) -> Path:
        self._runs += 1
        return self._folder / f"run-{self._runs}"

    def _run(self, *words: str, environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*node(self._folder / "node_modules/.bin/conformance"), *words],
            env={**node_environment(), **environment},
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN,
            check=False,
        )


def _outcome(results: Path, name: str) -> Outcome:
    found = list(results.glob(f"{name}-2???-*/checks.json"))
    if len(found) != 1:
        return Outcome(False)
    checks = [check for check in json.loads(found[0].read_text()) if check["status"] in ("SUCCESS", "FAILURE")]
    failed = tuple(
        f"{check['id']}: {check.get('errorMessage', '')}" for check in checks if check["status"] == "FAILURE"
    )
    return Outcome(bool(checks) and not failed, len(checks), failed)
