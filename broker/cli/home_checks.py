"""Checks of one Bulkhead home, without its daemon: who may enter it, what lies in it, which clients go past it."""

import itertools
import json
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.api.sockets import is_answered, is_running
from broker.audit.receipt import MAX_LINE
from broker.audit.segments import segments
from broker.cli.findings import Finding, Named
from broker.cli.secret_checks import plain_secrets
from broker.clients.apply import imported_clients
from broker.clients.found import found_clients
from broker.config import Paths
from broker.errors import BulkheadError, TrustError
from broker.files import read_bounded
from broker.trust.advisories import OLD_DAYS, Advisories
from broker.trust.spoken import OLD_DAYS as OLD_ROOTS
from broker.trust.spoken import age_sentence
from broker.trust.store import MAX_LISTING
from broker.trust.tree import check, read_listing, tree_hash
from broker.trust.trust_root import packaged

QUICK: Final = 25.0  # for what takes milliseconds on a quiet machine
SKEW: Final = 60.0  # seconds a clock may be corrected by without anybody having to know
STORE_SECONDS: Final = 10.0  # then the rest is left to `bulkhead verify`
MAX_FILES: Final = 10_000  # looked at in one folder
DAY: Final = 86400.0


def home_checks(paths: Paths, environment: Mapping[str, str]) -> list[Named]:
    """In the order in which a person reads them."""
    return [
        Named("home", lambda: permissions(paths), QUICK),
        Named("sockets", lambda: sockets(paths), QUICK),
        Named("secrets", lambda: plain_secrets(paths), QUICK),
        Named("clock", lambda: clock(paths, time.time()), QUICK),
        Named("store", lambda: store(paths.store), STORE_SECONDS + QUICK),
        Named("advisories", lambda: advisories(paths, time.time()), QUICK),
        Named("signatures", lambda: roots(time.time()), QUICK),
        Named("clients", lambda: clients(paths, environment), QUICK),
    ]


def permissions(paths: Paths) -> list[Finding]:
    """Nobody else may write what counts here, nor read a secret."""
    folders = dict.fromkeys((paths.home, paths.config, paths.data, paths.state, paths.runtime))
    there = [folder for folder in folders if os.path.lexists(folder)]
    if not there:
        return [Finding("home", "ok", f"{paths.home} will be made at the first start")]
    rows = [row for folder in there for row in _folder(folder, private=folder == paths.runtime)]
    secrets = [paths.state / "integrity.key", paths.home / "home.conf"]
    for folder in (paths.config / "clients", paths.config / "env", paths.config / "http", paths.state / "vault"):
        if folder.is_dir():
            secrets += itertools.islice(sorted(folder.iterdir()), MAX_FILES)
    for file in filter(os.path.lexists, secrets):
        facts = os.lstat(file)
        if facts.st_mode & 0o077 or facts.st_uid != os.getuid():
            rows.append(Finding("home", "bad", f"{file} is open to others, or not yours", f"chmod 600 {file}"))
    return rows or [Finding("home", "ok", f"{paths.home} is yours alone")]


def _folder(folder: Path, *, private: bool) -> Iterator[Finding]:
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode):
        yield Finding("home", "bad", f"{folder} is no folder", f"move it aside: mv {folder} {folder}.old")
    elif facts.st_uid != os.getuid():
        yield Finding("home", "bad", f"{folder} belongs to somebody else", f"sudo chown {os.getuid()} {folder}")
    elif facts.st_mode & 0o022 or (private and facts.st_mode & 0o077):
        yield Finding("home", "bad", f"others may change {folder}, or enter it", f"chmod 700 {folder}")
    elif facts.st_mode & 0o055:
        yield Finding("home", "warn", f"others may look into {folder}", f"chmod 700 {folder}")
    elif not os.access(folder, os.W_OK):
        yield Finding("home", "bad", f"{folder} cannot be written", f"chmod 700 {folder}")


def sockets(paths: Paths) -> list[Finding]:
    """A socket nobody listens on, or a daemon without one."""
    lock = paths.state / "daemon.lock"
    running = lock.exists() and is_running(lock)
    stale = [path for path in (paths.control_socket, paths.connect_socket) if path.exists() and not is_answered(path)]
    if running and stale:
        said = f"a daemon runs, and nobody listens at {stale[0]}"
        return [Finding("sockets", "bad", said, "bulkhead down; if that fails, end the process of broker.daemon")]
    if stale:
        said = f"{', '.join(map(str, stale))}: left by a daemon that was killed"
        return [Finding("sockets", "warn", said, "bulkhead up, which makes them anew")]
    return [Finding("sockets", "ok", "answered" if running else "none: no daemon runs")]


def clock(paths: Paths, now: float) -> list[Finding]:
    """The last receipt cannot be of the future."""
    files = segments(paths.audit)
    if not files:
        return [Finding("clock", "ok", "there is no receipt yet to hold it against")]
    with files[-1].open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * MAX_LINE))
        whole = [line for line in file.read(2 * MAX_LINE).split(b"\n")[:-1] if line]
    if not whole:
        return [Finding("clock", "ok", f"{files[-1].name} has no receipt yet to hold it against")]
    try:
        last = str(json.loads(whole[-1])["time"])
        ahead = datetime.fromisoformat(last).timestamp() - now
    except (ValueError, KeyError, TypeError):
        return [Finding("clock", "bad", f"the last receipt in {files[-1]} cannot be read", "bulkhead audit verify")]
    if ahead > SKEW:
        said = f"the last receipt is of {last}, {ahead:.0f} s after this machine's time"
        return [Finding("clock", "bad", said, "set the clock (timedatectl set-ntp true); deadlines depend on it")]
    return [Finding("clock", "ok", "not behind the last receipt")]


def store(root: Path) -> list[Finding]:
    """Hash what can be hashed in a few seconds, the small objects first."""
    objects = sorted((root / "objects").iterdir()) if (root / "objects").is_dir() else []
    rows: list[Finding] = []
    begun, seen = time.monotonic(), 0
    for path in sorted(objects, key=lambda path: _size(root / "listings" / path.name)):
        if time.monotonic() - begun > STORE_SECONDS:
            break
        seen += 1
        try:
            text = read_bounded(root / "listings" / path.name, MAX_LISTING)
            if tree_hash(text) != path.name:
                raise TrustError("its list of files was changed")
            check(path, read_listing(text))
        except (BulkheadError, FileNotFoundError) as problem:
            said = f"object {path.name[:12]}: {problem}"
            rows.append(Finding("store", "bad", said, "bulkhead verify names the server; bulkhead pin NAME --update"))
    left = len(objects) - seen
    if left:
        rows.append(Finding("store", "ok", f"{seen} objects hashed; {left} larger ones are left to: bulkhead verify"))
    return rows or [Finding("store", "ok", f"{len(objects)} objects, each as it was taken in")]


def advisories(paths: Paths, now: float) -> list[Finding]:
    held = Advisories(paths.advisories).holdings()
    refresh = "bulkhead advisories use URL, or: bulkhead advisories refresh --from FILE|URL"
    if held is None:
        return [Finding("advisories", "warn", "none are here: nothing is known of malware or vulnerabilities", refresh)]
    age = (now - held.fetched) / DAY
    said = f"{held.records}, {max(0, int(age))} days old"
    return [Finding("advisories", "warn" if age > OLD_DAYS else "ok", said, refresh if age > OLD_DAYS else "")]


def roots(now: float) -> list[Finding]:
    age = packaged().basis(now).age_days
    old = age > OLD_ROOTS
    return [Finding("signatures", "warn" if old else "ok", age_sentence(age), "update Bulkhead" if old else "")]


def clients(paths: Paths, environment: Mapping[str, str]) -> list[Finding]:
    """Entries of AI applications that do not go through Bulkhead."""
    moved = imported_clients(paths.state / "imports")
    rows, through = [], 0
    for config in found_clients(Path.home(), sys.platform, environment):
        if config.problem:
            fix = "repair the file with its own application"
            rows.append(Finding("clients", "warn", f"{config.client}: {config.path} {config.problem}", fix))
        through += sum(entry.fate == "bulkhead" for entry in config.entries)
        past = [entry.name for entry in config.entries if entry.fate != "bulkhead"]
        if past:
            again = ", though its servers were moved in before" if config.client in moved else ""
            said = f"{config.client} goes past Bulkhead{again}: {', '.join(past)} ({config.path})"
            rows.append(Finding("clients", "warn", said, f"bulkhead import {config.client}"))
    return rows or [Finding("clients", "ok", f"{through} entries, all through Bulkhead" if through else "none found")]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its own check says so
        return 0
