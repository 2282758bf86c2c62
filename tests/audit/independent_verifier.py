"""Checks an audit folder by its documented format alone, with nothing but the standard library.

    python independent_verifier.py FOLDER [KEYFILE]

The format: files `segment-NNNNNNNNNNNN.jsonl`, named after the number of their first entry.  One entry a line, ASCII
JSON, with the keys below in this order and at last `"hash"`: the SHA-256 (hex) of the line's bytes without the newline
and without `,"hash":"..."`.  `prev` is the hash of the entry before; 64 zeros for entry 1.  The file `head` holds,
twice in 512 bytes each (the newer counts, a power cut may spoil one), JSON padded with spaces: the last entry known to
be on the disk, and `mac`, an HMAC-SHA256 (hex) with the integrity key over `bulkhead audit head 1`, a newline, and the
JSON without its `mac`.

Ends with 0 if all is well, 1 with a sentence that names the first broken link.
"""

import hashlib
import hmac
import json
import re
import sys
from pathlib import Path

KEYS = ["v", "seq", "time", "prev", "client", "server", "session", "link", "pin", "tier", "kind", "side", "method",
        "target", "request", "verdict", "rule", "reason", "evidence", "size", "digest", "durable", "truncated", "body",
        "hash"]  # fmt: skip


def entry_problem(line: bytes, seq: int, prev: str) -> tuple[str, str]:
    """Why `line` is not entry `seq` after the entry with hash `prev` ("" if it is), and its hash."""
    match = re.fullmatch(rb'(\{.*),"hash":"([0-9a-f]{64})"\}\n', line, re.DOTALL)
    if match is None:
        return "has no hash at its end", ""
    own = match.group(2).decode()
    if hashlib.sha256(match.group(1) + b"}").hexdigest() != own:
        return "does not match its hash", ""
    try:
        pairs = json.loads(line.decode("ascii"), object_pairs_hook=lambda pairs: pairs)
    except ValueError:
        return "is not ASCII JSON", ""
    if [key for key, _ in pairs] != KEYS:
        return "has other keys than an entry", ""
    entry = dict(pairs)
    if (entry["v"], entry["seq"]) != (1, seq):
        return f"is not entry {seq}", ""
    return ("" if entry["prev"] == prev else "is not linked to the one before"), own


def slot(data: bytes, key: bytes) -> dict[str, object] | None:
    match = re.fullmatch(rb'(\{.*),"mac":"([0-9a-f]{64})"\}', data.rstrip(), re.DOTALL)
    if match is None:
        return None
    mac = hmac.new(key, b"bulkhead audit head 1\n" + match.group(1) + b"}", hashlib.sha256).hexdigest()
    if mac != match.group(2).decode():
        return None
    head: dict[str, object] = json.loads(match.group(1) + b"}")
    return head


def newest_head(folder: Path, key: bytes) -> dict[str, object] | None:
    try:
        data = (folder / "head").read_bytes()
    except FileNotFoundError:
        return None
    heads = [head for head in (slot(data[:512], key), slot(data[512:1024], key)) if head is not None]
    return max(heads, key=lambda head: int(str(head["seq"])), default=None)


def verify(folder: Path, key: bytes | None = None) -> str:
    """The first broken link, as a sentence; "" if there is none.  Without `key` the checkpoint is not checked."""
    head = newest_head(folder, key) if key is not None else None
    vouched = int(str(head["seq"])) if head else 0
    files = sorted(folder.glob("segment-*.jsonl"))
    seq, prev = 0, "0" * 64
    for file in files:
        if file.name != f"segment-{seq + 1:012d}.jsonl":
            return f"{file.name}, line 1: entry {seq + 1} should begin a segment here"
        for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n") and file == files[-1] and seq >= vouched:
                break  # a write under way, or what a crash left
            problem, own = entry_problem(line, seq + 1, prev)
            if problem:
                return f"{file.name}, line {number}: the entry {problem}"
            seq, prev = seq + 1, own
            if head and seq == vouched and own != head["hash"]:
                return f"{file.name}, line {number}: the checkpoint vouches for another entry"
    if key is not None and head is None and (files or (folder / "head").exists()):
        return "head, line 1: there is no checkpoint that the key vouches for"
    return f"entry {seq + 1}: gone, the checkpoint vouches for {vouched}" if seq < vouched else ""


if __name__ == "__main__":
    found = verify(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes() if len(sys.argv) > 2 else None)
    print(found or "every link holds")
    sys.exit(1 if found else 0)
