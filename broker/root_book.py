"""The root of trust in force: the one this program came with, or a newer one that was fetched since.

A fetched root is an agreed document: held to its digest and MAC, with the day it was fetched on and its number in the
source's own count, which never goes back.  No network, or a source that lies: what was before stays in force.
"""

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import anyio.to_thread
import tomli_w

from broker.agreed import Agreed
from broker.errors import ConfigError, TrustError
from broker.files import private_folder, read_bounded
from broker.trust.run import Command, Run, run_command, tool_environment
from broker.trust.tree import remove_tree
from broker.trust.trust_root import MAX_ROOT, Roots, packaged

DOCUMENT: Final = "trust_root.toml"
REFRESHING: Final = 90.0  # seconds; the fetching process gives up before
_HINT: Final = "the root of trust of before stays in use"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A root, where it came from (empty: where the installed sigstore gets its own), and when."""

    source: str
    taken: date
    version: int
    root: str


class RootBook:
    """The roots of one home.  Nothing is fetched until a person asked for it once."""

    def __init__(self, agreed: Agreed, folder: Path, *, own: Roots | None = None) -> None:
        self._agreed = agreed
        self._folder = folder
        self._own = own

    def fetched(self) -> Fetched | None:
        """What was fetched last.

        Raises:
            ConfigError: the document cannot be read.
        """
        data = self._agreed.load(DOCUMENT)
        if data is None:
            return None
        try:
            said = tomllib.loads(data.decode())
            found = Fetched(str(said["source"]), date.fromisoformat(said["taken"]), int(said["version"]), said["root"])
            json.loads(found.root)
        except (ValueError, KeyError, TypeError, RecursionError) as cause:
            raise ConfigError(f"{DOCUMENT} is no root of trust", hint="bulkhead verify --roots") from cause
        return found

    def current(self) -> Roots:
        """The newest roots there are.  What cannot be read is as if it had never been fetched.

        Raises:
            TrustError: the packaged ones are not those this program came with.
        """
        own = self._own or packaged()
        try:
            found = self.fetched()
        except ConfigError:
            found = None
        if found is None or found.taken < own.taken:
            return own
        return replace(own, sigstore=found.root.encode(), taken=found.taken)

    async def refresh(
        self, source: str, environment: Mapping[str, str], *, bootstrap: Path | None = None, run: Run = run_command
    ) -> Fetched:
        """Fetch the newest root; from now on it is in force.

        Raises:
            TrustError: it cannot be had or is not vouched for, or is older than the one we have.
            ConfigError: what was fetched before cannot be read.
        """
        before, metadata, work = self.fetched(), self._folder / "metadata", self._folder / "work"
        for folder in (self._folder, metadata):
            private_folder(folder)
        await anyio.to_thread.run_sync(remove_tree, work)
        private_folder(work)
        try:
            root = work / "root.json"
            argv = (sys.executable, "-I", "-m", "broker.trust.root_intake", "--source", source, "--metadata",
                    str(metadata), "--root", str(root), "--bootstrap", str(bootstrap or ""))  # fmt: skip
            env = tool_environment(environment, work)
            finished = await run(Command(argv, work, work, env, timeout=REFRESHING))
            said = _said(finished.stdout)
            if finished.code != 0 or not isinstance(said.get("version"), int):
                problem = str(said.get("problem", "the root of trust could not be fetched"))
                raise TrustError(problem[:400], hint=str(said.get("hint", _HINT))[:200])
            found = Fetched(source, datetime.now(UTC).date(), int(str(said["version"])),
                            read_bounded(root, MAX_ROOT).decode())  # fmt: skip
        except (OSError, UnicodeDecodeError) as cause:
            raise TrustError("the root of trust that was fetched cannot be read", hint=_HINT) from cause
        finally:
            await anyio.to_thread.run_sync(remove_tree, work)
        if before is not None and before.source == source and found.version < before.version:
            raise TrustError("the source of the root of trust went back to an older one", hint=_HINT)
        self._agreed.write(DOCUMENT, tomli_w.dumps({
            "source": source, "taken": found.taken.isoformat(), "version": found.version, "root": found.root,
        }).encode())  # fmt: skip
        return found


def _said(output: bytes) -> dict[str, object]:
    try:
        said = json.loads(output)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
