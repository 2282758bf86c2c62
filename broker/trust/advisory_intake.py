"""Reading advisories into a new database, in a process of its own: a file of OSV records, or an archive of them.

    python -I -m broker.trust.advisory_intake --source FILE|URL --old DATABASE --new DATABASE

The daemon's loop never waits for a hundred thousand records.  What is said on standard output is one JSON object.
"""

import argparse
import contextlib
import hashlib
import json
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2

from broker.errors import BulkheadError, TrustError
from broker.files import read_bounded
from broker.trust.advisories import Intake
from broker.trust.osv import Record, read_record

MAX_DOWNLOAD: Final = 1 << 30  # npm's whole archive of advisories is about an eighth of it
MAX_RECORD: Final = 8 << 20  # an advisory that lists every version of a package with thousands of them
MAX_RECORDS: Final = 2_000_000
MAX_UNPACKED: Final = 16 << 30
CONNECTING: Final = 20.0  # seconds
READING: Final = 60.0  # seconds without a byte
DOWNLOADING: Final = 1200.0  # seconds in all
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HINT: Final = "check the network and the address; the advisories fetched before stay in use"


def take_in(source: str, old: Path, new: Path) -> dict[str, int | bool]:
    """Copy the database we have, and add to it what `source` holds.

    Raises:
        TrustError: it cannot be had, or holds no advisory.
    """
    if old.exists():
        shutil.copyfile(old, new)
    intake = Intake(new)
    try:
        if "://" in source:
            download = new.with_name(f"{new.name}.download")
            etag = fetch(source, intake.etag(source), download)
            if etag is None:
                intake.note(source, time.time(), intake.etag(source), "")
                return {"changed": False, "taken": 0, "unreadable": 0}
            archive, name = download, source
        else:
            archive, name, etag = Path(source), Path(source).name, ""
        found = _Found()
        taken = intake.add(_records(archive, found))
        if found.read == 0:
            raise TrustError(f"{name[:200]!r} holds no advisory in OSV's format", hint="name an archive of OSV records")
        intake.note(name, time.time(), etag, _sha256(archive))
        return {"changed": True, "taken": taken, "unreadable": found.unreadable}
    finally:
        intake.close()


def fetch(url: str, etag: str, into: Path) -> str | None:
    """Download with a bound; returns the answer's ETag, or None if the source still has what `etag` names.

    Raises:
        TrustError: the address is not protected, does not answer with the whole of it in time, or sends too much.
    """
    _check_address(url)
    started, size = time.monotonic(), 0
    headers = {"If-None-Match": etag} if etag else {}
    timeout = httpx2.Timeout(READING, connect=CONNECTING)
    try:
        with (
            httpx2.Client(timeout=timeout, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers | {"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code == 304 and etag:
                return None
            if answer.status_code != 200:
                raise TrustError(f"the source of advisories answered with status {answer.status_code}", hint=_HINT)
            with into.open("wb") as file:
                for block in answer.iter_raw():
                    size += len(block)
                    if size > MAX_DOWNLOAD or time.monotonic() - started > DOWNLOADING:
                        raise TrustError("the source of advisories sends too much, or too slowly", hint=_HINT)
                    file.write(block)
            announced = answer.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) != size:
                raise TrustError(f"the source of advisories sent {size} of {announced} bytes", hint=_HINT)
            return str(answer.headers.get("etag", ""))[:200]
    except (httpx2.HTTPError, httpx2.InvalidURL) as cause:
        raise TrustError(f"the source of advisories cannot be read: {type(cause).__name__}", hint=_HINT) from cause


class _Found:
    """How much of an archive was an advisory."""

    def __init__(self) -> None:
        self.read = 0
        self.unreadable = 0


def _records(archive: Path, found: _Found) -> Iterator[Record]:
    for data in _documents(archive):
        try:
            record = read_record(data)
        except TrustError:
            found.unreadable += 1  # one bad record must not keep out a hundred thousand good ones; it is counted
            continue
        found.read += 1
        yield record


def _documents(archive: Path) -> Iterator[bytes]:
    """The records of a ZIP, of a JSON file with one or a list of them, or of one with a record a line."""
    if zipfile.is_zipfile(archive):
        yield from _zipped(archive)
        return
    data = read_bounded(archive, MAX_DOWNLOAD)
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        yield from (line for line in data.splitlines() if line.strip())
        return
    yield from (json.dumps(each).encode() for each in (whole if isinstance(whole, list) else [whole]))


def _zipped(archive: Path) -> Iterator[bytes]:
    unpacked = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if member.filename.endswith(".json")]
            if len(members) > MAX_RECORDS:
                raise TrustError(f"the archive holds more than {MAX_RECORDS} advisories")
            for member in members:
                with opened.open(member) as file:
                    data = file.read(MAX_RECORD + 1)
                unpacked += len(data)
                if len(data) > MAX_RECORD or unpacked > MAX_UNPACKED:
                    raise TrustError("the archive of advisories unpacks to more than any real one does")
                yield data
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as cause:
        raise TrustError("the archive of advisories is damaged", hint=_HINT) from cause


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise TrustError("the source of advisories is no address") from cause
    if parts.username is not None or parts.password is not None:
        raise TrustError("the source of advisories must not carry a name or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise TrustError("the source of advisories must be an https address", hint="or a file on this machine")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(prog="broker.trust.advisory_intake")
    parser.add_argument("--source", required=True)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    args = parser.parse_args()
    try:
        said: dict[str, object] = dict(take_in(args.source, args.old, args.new))
    except BulkheadError as error:
        said = {"problem": str(error), "hint": error.hint}
    except OSError as error:
        said = {"problem": f"advisories cannot be taken in: {error.strerror}", "hint": "check the file and free space"}
    except sqlite3.Error as error:
        said = {"problem": f"the database of advisories does not take them: {error}", "hint": "check free space"}
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(said) + "\n")
    return 1 if "problem" in said else 0


if __name__ == "__main__":
    sys.exit(main())
