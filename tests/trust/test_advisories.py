"""What is known about pinned packages is known on this machine, and stays known when a refresh fails."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.errors import TrustError
from broker.trust.advisories import Advisories, Hit, Intake
from broker.trust.advisory_refresh import refresh
from broker.trust.osv import read_record
from tests.trust.advisory_examples import advisory, archive, closure
from tests.trust.attack_table import catches

BAD = advisory("MAL-2026-7", "postmark-mcp", "1.0.16")
WEAK = advisory("GHSA-aaaa", "left-pad", "1.3.0")


class Source(BaseHTTPRequestHandler):
    """Serves what the test put on the server, with an ETag."""

    server: "Served"

    def do_GET(self) -> None:
        at = self.server
        at.asked.append((self.path, self.headers.get("If-None-Match", "")))
        same = at.etag and self.headers.get("If-None-Match") == at.etag
        self.send_response(304 if same else at.status)
        for name, value in {"ETag": at.etag, "Content-Length": str(at.announced or len(at.body))}.items():
            if not same:
                self.send_header(name, value)
        self.end_headers()
        if not same:
            self.wfile.write(at.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


class Served(ThreadingHTTPServer):
    body = b""
    etag = '"one"'
    status = 200
    announced = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Source)
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/npm/all.zip"


@pytest.fixture
def source() -> Iterator[Served]:
    with Served() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@pytest.fixture
def book(tmp_path: Path) -> Advisories:
    return Advisories(tmp_path / "advisories")


def fill(book: Advisories, *records: dict[str, Any]) -> None:
    book.file.parent.mkdir(exist_ok=True)
    intake = Intake(book.file)
    intake.add(read_record(json.dumps(record).encode()) for record in records)
    intake.close()


@catches("E13")
def test_malware_in_a_closure_refuses_the_start_and_names_package_and_advisory(book: Advisories) -> None:
    fill(book, BAD, WEAK)
    clean = closure(("files", "1.0.0"), ("postmark-mcp", "1.0.15"), ("left-pad", "1.3.0"))
    book.refuse_malware("mail", clean)
    with pytest.raises(TrustError) as refused:
        book.refuse_malware("mail", closure(("files", "1.0.0"), ("postmark-mcp", "1.0.16")))
    assert "postmark-mcp 1.0.16" in str(refused.value)
    assert "MAL-2026-7" in str(refused.value)
    assert "'mail'" in str(refused.value)
    assert "bulkhead remove mail" in refused.value.hint


@catches("E14")
def test_what_is_known_comes_with_malware_first(book: Advisories) -> None:
    fill(book, WEAK, BAD)
    found = book.check(closure(("left-pad", "1.3.0"), ("postmark-mcp", "1.0.16")))
    assert found == (
        Hit("postmark-mcp", "1.0.16", "MAL-2026-7", True, "about postmark-mcp"),
        Hit("left-pad", "1.3.0", "GHSA-aaaa", False, "about left-pad"),
    )


def test_a_python_package_is_found_under_any_spelling_and_no_npm_package_is_meant(book: Advisories) -> None:
    fill(book, advisory("PYSEC-1", "Some_Package", "1.0", ecosystem="PyPI"))
    assert [hit.id for hit in book.check(closure(("some-package", "1.0"), kind="pypi"))] == ["PYSEC-1"]
    assert book.check(closure(("some-package", "1.0"))) == ()


def test_without_a_database_nothing_is_known_and_that_is_said(book: Advisories) -> None:
    assert (book.check(closure(("postmark-mcp", "1.0.16"))), book.holdings()) == ((), None)


def test_a_database_that_cannot_be_read_lets_nothing_start(book: Advisories) -> None:
    fill(book, BAD)
    book.file.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with pytest.raises(TrustError, match="cannot be read"):
        book.refuse_malware("mail", closure(("files", "1.0.0")))
    book.file.unlink()
    sqlite3.connect(book.file).close()  # an empty file is a database that holds nothing, and none of ours
    with pytest.raises(TrustError, match="cannot be read"):
        book.check(closure(("files", "1.0.0")))


def test_the_later_word_counts_in_whichever_order_it_comes(book: Advisories) -> None:
    old, new = WEAK, advisory("GHSA-aaaa", "left-pad", "9.9.9", modified="2026-02-01T00:00:00Z")
    for records in ((old, new), (new, old)):
        fill(book, *records)
        assert book.check(closure(("left-pad", "1.3.0"))) == ()
        assert len(book.check(closure(("left-pad", "9.9.9")))) == 1
        book.file.unlink()


def test_a_withdrawn_advisory_means_nothing_and_an_older_copy_does_not_bring_it_back(book: Advisories) -> None:
    fill(book, BAD)
    fill(book, {**BAD, "withdrawn": "2026-03-01T00:00:00Z", "modified": "2026-03-01T00:00:00Z"})
    assert book.check(closure(("postmark-mcp", "1.0.16"))) == ()
    fill(book, BAD)
    assert book.check(closure(("postmark-mcp", "1.0.16"))) == ()


def test_a_closure_of_hundreds_is_checked_in_milliseconds(book: Advisories) -> None:
    fill(book, *(advisory(f"GHSA-{number}", f"package-{number % 5000}", "1.0.0") for number in range(20_000)))
    whole = closure(*((f"package-{number}", "1.0.1") for number in range(400)))
    started = time.perf_counter()
    assert book.check(whole) == ()
    assert time.perf_counter() - started < 0.5  # 10 ms on an idle machine


async def test_a_file_is_taken_in_and_bad_records_are_counted(book: Advisories, tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    file.write_bytes(archive(BAD, WEAK, raw=[b"{", b"7"]))
    done = await refresh(book, str(file), os.environ)
    assert (done.changed, done.taken, done.unreadable) == (True, 2, 2)
    held = book.holdings()
    assert held is not None
    assert (held.records, held.malware, held.newest, held.sources) == (2, 1, "2026-01-01T00:00:00Z", ("all.zip",))
    assert held.fetched > time.time() - 60
    assert os.listdir(book.file.parent) == ["advisories.db"]


@pytest.mark.parametrize("text", [json.dumps(BAD), json.dumps([BAD, WEAK]), f"{json.dumps(BAD)}\n{json.dumps(WEAK)}\n"])
async def test_records_need_no_archive(book: Advisories, tmp_path: Path, text: str) -> None:
    (tmp_path / "records").write_text(text)
    await refresh(book, str(tmp_path / "records"), os.environ)
    assert [hit.id for hit in book.check(closure(("postmark-mcp", "1.0.16")))] == ["MAL-2026-7"]


async def test_an_address_is_asked_once_for_the_same_archive_and_says_nothing_about_this_machine(
    book: Advisories, source: Served
) -> None:
    source.body = archive(BAD)
    assert (await refresh(book, source.url, os.environ)).changed
    assert not (await refresh(book, source.url, os.environ)).changed
    assert source.asked == [("/npm/all.zip", ""), ("/npm/all.zip", '"one"')]
    source.body, source.etag = archive(WEAK), '"two"'
    assert (await refresh(book, source.url, os.environ)).taken == 1
    assert len(book.check(closure(("postmark-mcp", "1.0.16"), ("left-pad", "1.3.0")))) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 500}, "status 500"),
        ({"status": 302}, "status 302"),
        ({"body": b"<html>"}, "holds no advisory"),
        ({"body": archive(WEAK)[:-30]}, "holds no advisory"),
        ({"body": b""}, "holds no advisory"),
        ({"announced": 10_000_000}, "cannot be read"),
    ],
)
async def test_a_refresh_that_fails_keeps_the_old_advisories_and_their_date(
    book: Advisories, source: Served, change: dict[str, Any], says: str
) -> None:
    fill(book, BAD)
    before = book.file.read_bytes()
    source.body = archive(WEAK)
    for name, value in change.items():
        setattr(source, name, value)
    with pytest.raises(TrustError, match=says):
        await refresh(book, source.url, os.environ)
    assert book.file.read_bytes() == before
    assert os.listdir(book.file.parent) == ["advisories.db"]


@pytest.mark.parametrize(
    ("address", "says"),
    [("http://example.invalid/all.zip", "https"), ("ftp://example.invalid/x", "https"),
     ("https://name:word@example.invalid/x", "name or password"), ("/nowhere/at/all.zip", "No such file")],
)  # fmt: skip
async def test_a_source_that_is_not_protected_or_not_there_is_refused(
    book: Advisories, address: str, says: str
) -> None:
    with pytest.raises(TrustError, match=says):
        await refresh(book, address, os.environ)
    assert not book.present


async def test_two_refreshes_do_not_mix(book: Advisories, tmp_path: Path) -> None:
    import fcntl

    book.file.parent.mkdir()
    descriptor = os.open(book.file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(TrustError, match="already"):
            await refresh(book, str(tmp_path / "any"), os.environ)
    finally:
        os.close(descriptor)
