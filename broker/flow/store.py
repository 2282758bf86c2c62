"""The ledgers of all sessions, kept where a restart of the daemon finds them again.

A read is on its way to the disk (the kernel has it) before `note` returns, so before its result is forwarded.  No text
is kept: keyed hashes, labels, and names of tools and prompts; a URI is kept as a hash too.  What cannot be understood
when it is read back counts as a read from an unknown server, which holds every effect.
"""

import hmac
import importlib.resources
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from broker.errors import ConfigError
from broker.files import private_folder, read_bounded, write_private
from broker.flow.declassify import NAMED, origin_target
from broker.flow.fingerprint import Marker, leaves
from broker.flow.heirs import KEPT_SECONDS, MAX_FILE, QUIET_SECONDS, format_heirs, inherited, parse_heirs
from broker.flow.label_file import parse_labels
from broker.flow.labels import UNLABELLED, WORST, Labels, ServerLabels, package_key
from broker.flow.ledger import EVERYTHING, INHERITED, Ledger, Read
from broker.flow.marks_file import records, written
from broker.flow.provenance import Origin, Provenance
from broker.model import JsonObject, ServerName, SessionId
from broker.spelling import spelled

UNKNOWN: Final = ServerName("?")
"""The source of a read that was written down and cannot be understood.  No server has this name."""

MAX_JOURNAL: Final = 8 * 1024 * 1024  # above MAX_READS entries of full length, each written once for every flag
MAX_NAME: Final = 256  # characters of a tool's name that are kept as they are
TOUCH_SECONDS: Final = 1.0  # how late the time of a session's last read may be on the disk; the quiet time is hours
MAX_LOADED: Final = 1024  # sessions in memory; others are read again from the disk
MAX_MARKS_FILE: Final = 16 * 1024 * 1024  # above every mark of a session, each written again for another origin
MAX_MARKED: Final = 8 * 1024 * 1024  # characters of one read; what could be part of a longer one is not looked up
MAX_LOADED_MARKS: Final = 1_000_000  # in memory, of all sessions: about 100 MB


def shipped_labels() -> Mapping[tuple[str, str], ServerLabels]:
    """The label files that come with Bulkhead, by `package_key`.

    Raises:
        PolicyError: one of them is not acceptable.
    """
    found: dict[tuple[str, str], ServerLabels] = {}
    for file in importlib.resources.files("policies").joinpath("labels").iterdir():
        if file.name.endswith(".toml"):
            labels = parse_labels(file.read_bytes(), f"labels/{file.name}")
            found[package_key(labels.ecosystem, labels.package)] = labels
    return found


class LabelBook:
    """Finds the labels of a server by what its pin says it is."""

    def __init__(self, known: Mapping[tuple[str, str], ServerLabels]) -> None:
        self._known = known

    def of(self, ecosystem: str, package: str, publisher: str = "") -> ServerLabels:
        """The labels of a pinned package; of anything else, the worst case.

        `publisher` is the repository that was verified to have published it, empty where nobody could say: then its
        name in the registry is what ties the labels to it.  Published by somebody else, it is another package.
        """
        found = self._known.get(package_key(ecosystem, package), UNLABELLED)
        return found if not publisher or publisher.lower() in map(str.lower, found.publishers) else UNLABELLED


class LedgerStore:
    """Every session's ledger."""

    def __init__(self, folder: Path, key: bytes, clock: Callable[[], float]) -> None:
        """`key` is an integrity key; `clock` gives seconds since the epoch."""
        self._folder = folder
        self._key = key
        self._clock = clock
        self._loaded: dict[SessionId, Ledger] = {}
        self._marker = Marker(self._digest(b"marks", b"")[:16])
        self._origins: dict[SessionId, Provenance] = {}
        self._touched: dict[SessionId, float] = {}

    def view(self, session: SessionId) -> Ledger:
        """What this session has read so far.

        Raises:
            ConfigError: its ledger is there and cannot be read: nobody knows what the session has read.
        """
        ledger = self._loaded.get(session)
        if ledger is None:
            ledger = self._load(session)
            self._remember(session, ledger)
        return ledger

    def provenance(self, session: SessionId) -> Provenance:
        """Where what this session has read came from.  It is the store's own: it grows with every read.

        Raises:
            ConfigError: its marks are there and cannot be read.
        """
        found = self._origins.pop(session, None)
        if found is None:
            found = self._load_marks(session)
            while self._origins and sum(map(len, self._origins.values())) + len(found) > MAX_LOADED_MARKS:
                self._origins.pop(next(iter(self._origins)))  # the one not looked at for longest
        self._origins[session] = found
        return found

    def begin(self, session: SessionId, client: str) -> None:
        """A client's new session: it begins with the labels of what the client's last ones read, not with their
        consents.  One that began before, and whose daemon was started again, goes on.

        Raises:
            ConfigError: what they read cannot be read or noted.
        """
        heirs, name, now = self._heirs(client), self._path(session).stem, self._clock()
        begun = parse_heirs(read_bounded(heirs, MAX_FILE)) if heirs.exists() else {}
        if name in begun:
            return
        last = {other: max(when, self._last_read(other)) for other, when in begun.items()}
        recent = [other for other in begun if now - self._last_read(other) <= QUIET_SECONDS]
        ledger = self.view(session)
        for read in inherited(read for other in recent for read in _reads(self._folder / f"{other}.jsonl")[0]):
            if not ledger.knows(read):
                self._append(session, ledger.kept_as(read))
                ledger = ledger.with_read(read)
        if ledger.reads:  # what was inherited is no newer than it was
            latest = max([self._last_read(other) for other in recent], default=now)
            os.utime(self._path(session), (latest, latest))
        self._remember(session, ledger)
        kept = {other: when for other, when in begun.items() if now - last[other] <= KEPT_SECONDS}
        private_folder(self._folder)
        write_private(heirs, format_heirs({**kept, name: now}))

    def forget_client(self, client: str) -> None:
        """The next session of this client begins with nothing: a person said so."""
        self._heirs(client).unlink(missing_ok=True)

    def _heirs(self, client: str) -> Path:
        return self._folder / f"{self._hash(b'client', client.encode())[:32]}.heirs"

    def _last_read(self, name: str) -> float:
        try:
            return (self._folder / f"{name}.jsonl").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def scope_mark(self, scope: str) -> str:
        """A scope as it is kept: it may itself be private."""
        return self._hash(b"scope", scope.encode("utf-8", "surrogatepass"))[:16] if scope else ""

    def note(
        self,
        session: SessionId,
        server: ServerName,
        method: str,
        target: str,
        labels: Labels,
        text: JsonObject,
        scope: str = "",
    ) -> Ledger:
        """Write down that the session is about to read `text`.  Call it before the text is forwarded.

        Raises:
            ConfigError: it could not be written down; the text must then not be forwarded.
        """
        ledger = self.view(session)
        named = method in NAMED and len(target) <= MAX_NAME
        shown = target if named else self._hash(b"target", target.encode("utf-8", "surrogatepass"))
        part = self.scope_mark(scope)
        read = Read(server, method, shown, labels.flags, self._hash(b"text", spelled(text)), self._clock(), scope=part)
        known = ledger.knows(read)
        self._note_marks(session, ledger, read, text, known)
        if not known:
            self._append(session, ledger.kept_as(read))
        if not 0 <= read.when - self._touched.get(session, 0.0) < TOUCH_SECONDS:
            os.utime(self._path(session), (read.when, read.when))  # the quiet time is counted from here
            self._touched[session] = read.when
        ledger = ledger.with_read(read)
        self._remember(session, ledger)
        return ledger

    def handle(self, session: SessionId, read: Read) -> str:
        """A name for exactly this read: what was read since, by the same call, has another one."""
        said = f"{session}\n{read.server}\n{read.scope}\n{read.method}\n{read.target}\n{read.digest}\n{read.count}"
        return self._hash(b"handle", said.encode("utf-8", "surrogatepass"))[:12]

    def declassify(self, session: SessionId, read: Read) -> None:
        """R6: what was read so until now holds nothing any more in this session.  On the disk before it counts; half
        of it on the disk holds rather too much.

        Raises:
            ConfigError: it could not be written down; then nothing changed.
        """
        cleaned, target = replace(read, clean=True, count=1), origin_target(read)
        provenance, ledger = self.provenance(session), self.view(session)
        origin = Origin(0, read.server, read.scope, target, frozenset())
        self._write(self._path(session, "marks"), written(origin, (), self._seal, clean=True))
        self._append(session, cleaned)
        provenance.declassify(read.server, read.scope, target)
        self._remember(session, ledger.declassified(read))

    def end_session(self, session: SessionId) -> None:
        """Forget a session for good: a person ended it."""
        for known in (self._loaded, self._origins, self._touched):
            known.pop(session, None)
        self._path(session).unlink(missing_ok=True)
        self._path(session, "marks").unlink(missing_ok=True)

    def prune(self, before: float) -> int:
        """Delete the ledgers in which nothing was noted since `before`; returns how many."""
        stale = [path for path in self._folder.glob("*.*") if path.stat().st_mtime < before]
        for path in stale:
            path.unlink(missing_ok=True)
        return sum(path.suffix == ".jsonl" for path in stale)

    def _load(self, session: SessionId) -> Ledger:
        path = self._path(session)
        reads, size, whole = _reads(path)
        if whole < size:  # the write did not return, so this result was never forwarded
            _cut(path, whole)
        ledger = Ledger()
        for read in reads:
            ledger = ledger.declassified(read) if read.clean else ledger.with_read(read)
        return ledger

    def _note_marks(self, session: SessionId, ledger: Ledger, read: Read, text: JsonObject, known: bool) -> None:
        provenance = self.provenance(session)
        number = sum(each.count for each in ledger.reads) + 1
        origin = Origin(number, read.server, read.scope, origin_target(read), read.flags)
        texts = list(leaves(text))
        if sum(map(len, texts)) > MAX_MARKED:
            kept, marks = provenance.read(replace(origin, blind=True), frozenset())
        else:
            kept, marks = provenance.read(origin, self._marker.of_read(texts))
        if marks or not known or (kept.blind and kept.number == number):
            self._write(self._path(session, "marks"), written(kept, marks, self._seal))

    def _load_marks(self, session: SessionId) -> Provenance:
        """The marks as they were written down; reads without any are origins that match everything."""
        provenance, path = Provenance(self._marker), self._path(session, "marks")
        try:
            data = read_bounded(path, MAX_MARKS_FILE)
        except FileNotFoundError:
            data = b""
        whole = 0
        for record in records(data, self._seal):
            origin = record.origin
            if record.clean:
                provenance.declassify(origin.server, origin.scope, origin.target)
            else:
                provenance.read(origin, record.marks)
            whole = record.end
        if whole < len(data):  # the write did not return, so this result was never forwarded
            _cut(path, whole)
        marked = {(origin.server, origin.scope) for origin in provenance.origins}
        for read in self.view(session).reads:
            known = (read.server, read.scope) in marked or read.scope == EVERYTHING or read.method == INHERITED
            if not known and not read.clean:
                blind = Origin(0, read.server, read.scope, read.target, read.flags, blind=True)
                provenance.read(blind, frozenset())
        return provenance

    def _append(self, session: SessionId, read: Read) -> None:
        row = {"server": read.server, "method": read.method, "target": read.target,
               "flags": "".join(sorted(read.flags)), "digest": read.digest, "when": read.when}  # fmt: skip
        if read.scope:
            row["scope"] = read.scope
        if read.clean:
            row["clean"] = True
        self._write(self._path(session), json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n")

    def _write(self, path: Path, line: bytes) -> None:
        try:
            private_folder(self._folder)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o600)
            try:
                _write_whole(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as cause:
            hint = "free some space; until then nothing more is read in this session"
            raise ConfigError(f"what this session reads cannot be noted: {cause.strerror}", hint=hint) from cause

    def _remember(self, session: SessionId, ledger: Ledger) -> None:
        self._loaded.pop(session, None)
        while len(self._loaded) >= MAX_LOADED:
            self._loaded.pop(next(iter(self._loaded)))  # the one not looked at for longest
            self._touched.clear()
        self._loaded[session] = ledger

    def _path(self, session: SessionId, kind: str = "jsonl") -> Path:
        return self._folder / f"{self._hash(b'session', session.encode())[:32]}.{kind}"

    def _hash(self, kind: bytes, data: bytes) -> str:
        return self._digest(kind, data).hex()

    def _digest(self, kind: bytes, data: bytes) -> bytes:
        return hmac.digest(self._key, b"bulkhead ledger 1 " + kind + b"\n" + data, "sha256")

    def _seal(self, record: bytes) -> bytes:
        return self._digest(b"record", record)[:16]


def _reads(path: Path) -> tuple[list[Read], int, int]:
    """The reads of a journal, its size, and how much of it is whole lines."""
    try:
        data = read_bounded(path, MAX_JOURNAL)
    except FileNotFoundError:
        return [], 0, 0
    whole, end, _ = data.rpartition(b"\n")
    return [_read_of(line) for line in whole.split(b"\n")] if end else [], len(data), len(whole) + len(end)


def _read_of(line: bytes) -> Read:
    """A read as it was written down, or one from an unknown server."""
    try:
        row = json.loads(line)
        texts = [row[name] for name in ("server", "method", "target", "flags", "digest")]
        if all(isinstance(text, str) for text in texts) and set(texts[3]) <= WORST.flags:
            server, method, target, flags, digest = texts
            scope = str(row.get("scope", ""))
            return Read(ServerName(server), method, target, frozenset(flags), digest, float(row["when"]), scope=scope,
                        clean=row.get("clean") is True)  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # changed by somebody: the unknown source below is the safe reading
    return Read(UNKNOWN, "", "", WORST.flags, "", 0.0)


def _cut(path: Path, size: int) -> None:
    try:
        os.truncate(path, size)
    except OSError as cause:
        raise ConfigError(f"{path} cannot be written: {cause.strerror}") from cause


def _write_whole(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.ftruncate(descriptor, size)  # half a line would spoil the next one
        raise
