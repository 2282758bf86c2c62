"""The root of trust in force: the one this program came with, or a newer one that was fetched since.

A fetched root is an agreed document: held to its digest and MAC, with the day it was fetched on and its number in the
source's own count, which never goes back.  No network, or a source that lies: what was before stays in force.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import tomli_w

from broker.agreed import Agreed
from broker.errors import ConfigError, TrustError
from broker.signed_source import Document, fetch
from broker.trust.run import Run, run_command
from broker.trust.trust_root import MAX_ROOT, Roots, packaged

DOCUMENT: Final = "trust_root.toml"
_HINT: Final = "the root of trust of before stays in use"
_WANTED: Final = Document("trusted_root.json", "the root of trust", MAX_ROOT)


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
        before = self.fetched()
        try:
            data, version = await fetch(source, _WANTED, self._folder, environment, bootstrap, run)
            found = Fetched(source, datetime.now(UTC).date(), version, data.decode())
        except UnicodeDecodeError as cause:
            raise TrustError("the root of trust that was fetched cannot be read", hint=_HINT) from cause
        if before is not None and before.source == source and found.version < before.version:
            raise TrustError("the source of the root of trust went back to an older one", hint=_HINT)
        self._agreed.write(DOCUMENT, tomli_w.dumps({
            "source": source, "taken": found.taken.isoformat(), "version": found.version, "root": found.root,
        }).encode())  # fmt: skip
        return found
