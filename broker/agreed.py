"""Documents that count only as a person last agreed to them.

Policy, pins, servers and grants are readable files that anybody who can write to the home can edit.  An edit takes
effect only after a yes: until then the last agreed copy is used and the difference is shown as drift.  What was agreed
to is a table of digests under a MAC whose key the file system alone does not give away.
"""

import difflib
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import ConfigError
from broker.files import private_folder, read_bounded, sha256_hex, write_private
from broker.rollback import HeadFile, Mark

TABLE = "agreed.json"
MAX_DIFF_LINES = 200  # a person reads no more; the file itself is there
MAX_COMPARED = 500  # lines from the first difference on; comparing 20,000 was seen to take half a minute
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Drifted:
    """A document that differs from what was agreed to.

    `digest` is empty if the file is gone, and `UNREADABLE`, which nobody can agree to, if it cannot be read.
    """

    path: Path
    digest: str
    diff: tuple[str, ...]


class Agreed:
    """The agreed documents under one folder.  Names are paths relative to it."""

    def __init__(self, root: Path, copies: Path, key: bytes, head: HeadFile | None = None) -> None:
        self._root = root
        self._copies = copies
        self._key = key
        self._head = head
        self._last = Mark()
        self.problem = ""
        """Why nothing counts as agreed: the table of digests was changed by somebody else, or put back from before."""
        self._digests = self._read_table()

    @property
    def distrusted(self) -> bool:
        return bool(self.problem)

    @property
    def seq(self) -> int:
        """The number of the last table."""
        return self._last.seq

    def load(self, name: str) -> bytes | None:
        """The agreed text of `name`: the file if it is as agreed, else the last agreed copy; None if never agreed."""
        digest = self._digests.get(name)
        if digest is None:
            return None
        for path in (self._root / name, self._copy(digest)):
            try:
                data = read_bounded(path)
            except (FileNotFoundError, ConfigError):
                continue
            if sha256_hex(data) == digest:
                return data
        raise ConfigError(
            f"{self._root / name} was changed and the copy that was agreed to is gone",
            hint="look at the file, then agree to it with: bulkhead review",
        )

    def names(self, folder: str) -> list[str]:
        """The agreed documents directly in `folder`, sorted."""
        prefix = f"{folder}/"
        return sorted(name for name in self._digests if name.startswith(prefix) and "/" not in name[len(prefix) :])

    def write(self, name: str, data: bytes) -> None:
        """Write a document that a person agreed to.  Disk first: the copy, the file, then the table."""
        digest = sha256_hex(data)
        write_private(self._copy(digest), data)
        write_private(self._root / name, data)
        self._set(name, digest)

    def remove(self, name: str) -> None:
        """Forget a document and delete its file."""
        if name in self._digests:
            self._set(name, None)
        (self._root / name).unlink(missing_ok=True)

    def accept(self, name: str, digest: str) -> bytes | None:
        """Agree to the file as it is now, provided it is still the one that was shown.

        Returns the accepted bytes, or None when a missing file was agreed to.

        Raises:
            ConfigError: the file is no longer the one with this digest.
        """
        data = self._current(name)
        if (sha256_hex(data) if data is not None else "") != digest:
            raise ConfigError(f"{self._root / name} changed while you looked at it", hint="look again: bulkhead review")
        if data is None:
            self._set(name, None)
            return None
        write_private(self._copy(digest), data)
        self._set(name, digest)
        return data

    def drifted(self) -> list[Drifted]:
        """Documents that were edited, added or removed without a yes."""
        found = []
        for name in sorted(self._present() | set(self._digests)):
            try:
                data = self._current(name)
            except ConfigError as problem:
                found.append(Drifted(Path(name), UNREADABLE, (str(problem),)))
                continue
            digest = sha256_hex(data) if data is not None else ""
            if digest != self._digests.get(name, ""):
                found.append(Drifted(Path(name), digest, self._diff(name, data)))
        return found

    def _present(self) -> set[str]:
        names = {
            str(path.relative_to(self._root))
            for pattern in ("servers/*.toml", "pins/*.toml", "pins/*.json", "clients/*.toml", "labels/*.toml")
            for path in self._root.glob(pattern)
        }
        single = (
            "policy.toml", "grants.toml", "manners.toml", "alerts.toml", "retention.toml", "advisories.toml",
            "trust_root.toml", "proxy.toml",
        )  # fmt: skip
        return names | {name for name in single if (self._root / name).exists()}

    def _current(self, name: str) -> bytes | None:
        try:
            return read_bounded(self._root / name)
        except FileNotFoundError:
            return None

    def _diff(self, name: str, data: bytes | None) -> tuple[str, ...]:
        try:
            before = (self.load(name) or b"").decode("utf-8", "replace").split("\n")
        except ConfigError:
            before = ["(the copy that was agreed to is gone)"]
        after = (data or b"").decode("utf-8", "replace").split("\n")
        pairs = enumerate(zip(before, after, strict=False))
        same = next((at for at, (old, new) in pairs if old != new), min(len(before), len(after)))
        part = slice(max(0, same - 1), same + MAX_COMPARED)
        lines = list(difflib.unified_diff(before[part], after[part], "agreed", "now", lineterm="", n=1))
        if len(lines) > MAX_DIFF_LINES or max(len(before), len(after)) > part.stop:
            lines = [*lines[:MAX_DIFF_LINES], "(there may be more: look at the file itself)"]
        return tuple(lines or ["(they differ only in bytes that cannot be shown)"])

    def _copy(self, digest: str) -> Path:
        return self._copies / digest

    def _set(self, name: str, digest: str | None) -> None:
        digests = {key: value for key, value in self._digests.items() if key != name}
        if digest is not None:
            digests[name] = digest
        seq = self._head.next_seq(self._last.seq) if self._head is not None else self._last.seq + 1
        body = {"agreed": digests, "seq": seq, "prev": self._last.digest}
        table = json.dumps({**body, "mac": self._mac(body)}, indent=1, sort_keys=True).encode()
        write_private(private_folder(self._copies) / TABLE, table)
        self._digests, self._last = digests, Mark(seq, sha256_hex(table))
        if self._head is not None:
            self._head.write(self._last)

    def _read_table(self) -> dict[str, str]:
        prev = ""
        digests: dict[str, str] = {}
        try:
            text = read_bounded(self._copies / TABLE)
            table = json.loads(text)
            digests = {str(name): str(digest) for name, digest in table["agreed"].items()}
            body = {"agreed": digests, "seq": table.get("seq", 0), "prev": str(table.get("prev", ""))}
            if not isinstance(body["seq"], int) or not hmac.compare_digest(str(table["mac"]), self._mac(body)):
                raise ValueError("the key does not vouch for it")
            self._last, prev = Mark(body["seq"], sha256_hex(text)), body["prev"]
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError, ConfigError):
            self.problem = "the table of agreed documents was changed by somebody else"
            return {}
        if self._head is not None:
            self.problem = self._head.problem(self._last, prev)
        return {} if self.problem else digests

    def _mac(self, body: Mapping[str, Any]) -> str:
        """Over all of the table; over the digests alone where it was written before tables had numbers."""
        covered = body if body["seq"] else body["agreed"]
        text = json.dumps(covered, sort_keys=True)
        return hmac.new(self._key, b"agreed-documents\n" + text.encode(), hashlib.sha256).hexdigest()
