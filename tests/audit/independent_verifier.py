"""Checks an audit folder by its documented format alone (see `SECURITY.md`), without any code of Bulkhead.

    python independent_verifier.py FOLDER [PUBLIC-KEY-IN-HEX [WITNESS]]

Ends with 0 if all is well, 1 with a sentence that names the first broken link.
"""

import hashlib
import json
import re
import sys
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEYS = ["v", "seq", "time", "prev", "client", "server", "session", "link", "stories", "pin", "tier", "labels", "kind",
        "side", "method", "target", "request", "verdict", "rule", "reason", "evidence", "size", "digest", "durable",
        "truncated", "body", "hash"]  # fmt: skip


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def entry_problem(line: bytes, seq: int, prev: str, time: str) -> tuple[str, str, str]:
    """Why `line` is not entry `seq` after the entry with hash `prev` ("" if it is), its hash and its time."""
    match = re.fullmatch(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\n', line, re.DOTALL)
    if match is None:
        return "has no hash at its end", "", ""
    own = match.group(2).decode()
    if hashlib.sha256(match.group(1) + b"}").hexdigest() != own:
        return "does not match its hash", "", ""
    try:
        pairs = json.loads(line.decode("ascii"), object_pairs_hook=lambda pairs: pairs)
    except ValueError:
        return "is not ASCII JSON", "", ""
    if [key for key, _ in pairs] != KEYS:
        return "has other keys than an entry", "", ""
    entry = dict(pairs)
    if (entry["v"], entry["seq"]) != (2, seq):
        return f"is not entry {seq}", "", ""
    if entry["prev"] != prev:
        return "is not linked to the one before", "", ""
    told = (entry["kind"], entry["target"]) == ("daemon", "clock-jump")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"]):
        return "has no time", "", ""
    if not told and seconds(entry["time"]) < seconds(time) - 1:
        return "is older than the one before, and nothing tells of a clock that was set back", "", ""
    return "", own, entry["time"]


def signed(data: bytes, context: bytes, public: bytes) -> dict[str, object] | None:
    """The JSON in `data` without its signature, if that is one of the key's."""
    match = re.fullmatch(rb'(\{.*),"signature":"([0-9a-f]{128})"\}', data.rstrip(), re.DOTALL)
    if match is None:
        return None
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(bytes.fromhex(match.group(2).decode()), context + match.group(1) + b"}")
    except InvalidSignature:
        return None
    found: dict[str, object] = json.loads(match.group(1) + b"}")
    return found


def newest_head(path: Path, public: bytes) -> dict[str, object] | None:
    data = path.read_bytes() if path.exists() else b""
    slots = [signed(data[at : at + 512], b"bulkhead audit head 2\n", public) for at in (0, 512)]
    return max((slot for slot in slots if slot), key=lambda head: int(str(head["seq"])), default=None)


def stub_of(file: Path, public: bytes | None) -> dict[str, object] | None:
    """What stands in for the entries a segment let go."""
    path = file.with_suffix(".pruned")
    if public is None or not path.exists():
        return None
    stub = signed(path.read_bytes(), b"bulkhead audit prune 1\n", public)
    return stub if stub and stub["segment"] == file.name else {"last": -1, "sha256": ""}


def verify(folder: Path, public: bytes | None = None, witness: Path | None = None) -> str:
    """The first broken link, as a sentence; "" if there is none.  Without a key the checkpoint is not checked."""
    places = [folder / "head", *([witness] if witness else [])] if public else []
    heads = [head for place in places if (head := newest_head(place, public or b""))]
    head = max(heads, key=lambda head: int(str(head["seq"])), default=None)
    vouched = int(str(head["seq"])) if head else 0
    files = sorted(folder.glob("segment-*.jsonl"))
    seq, prev, time = 0, "0" * 64, ""
    for file in files:
        if file.name != f"segment-{seq + 1:012d}.jsonl":
            return f"{file.name}, line 1: entry {seq + 1} should begin a segment here"
        stub = stub_of(file, public)
        fits = stub and stub["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        if stub and fits and (stub["first"], stub["prev"]) == (seq + 1, prev):
            seq, prev, time = int(str(stub["last"])), str(stub["hash"]), str(stub["time"])
            continue
        for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n") and file == files[-1] and seq >= vouched:
                break  # a write under way, or what a crash left
            problem, own, now = entry_problem(line, seq + 1, prev, time)
            if problem:
                return f"{file.name}, line {number}: the entry {problem}"
            seq, prev, time = seq + 1, own, now
            if head and seq == vouched and own != head["hash"]:
                return f"{file.name}, line {number}: the checkpoint vouches for another entry"
        if stub and stub["last"] != seq:
            return f"{file.name}, line 1: what is left is not what its stub says"
    if public and head is None and (files or any(place.exists() for place in places)):
        return "head, line 1: there is no checkpoint that the key vouches for"
    return f"entry {seq + 1}: gone, the checkpoint vouches for {vouched}" if seq < vouched else ""


if __name__ == "__main__":
    key = bytes.fromhex(sys.argv[2]) if len(sys.argv) > 2 else None
    found = verify(Path(sys.argv[1]), key, Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    print(found or "every link holds")
    sys.exit(1 if found else 0)
