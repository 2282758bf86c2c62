"""What peers said is sealed: readable with the vault's key, for its own entry, and for nobody else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from broker.audit.keys import AuditKeys, is_signed
from broker.audit.receipt import SEALED
from broker.errors import AuditError
from broker.model import Fact
from tests.audit.facts import ORIGIN, VAULT, called, lines_of, opened

SAID = "the quarterly figures"


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines_of(folder)]


@pytest.mark.claim("C44")
@pytest.mark.parametrize("kind", sorted(SEALED))
def test_what_peers_said_stands_nowhere_in_clear_and_can_be_opened(tmp_path: Path, kind: str) -> None:
    log = opened(tmp_path)
    log.append(ORIGIN, replace(called(body={"text": SAID}), kind=kind))  # type: ignore[arg-type]
    log.close()
    assert not any(SAID.encode() in path.read_bytes() for path in tmp_path.iterdir())
    (entry,) = entries(tmp_path)
    assert entry["target"] == "read_file"
    assert VAULT.opened(entry)["body"] == {"text": SAID}


def test_what_is_our_own_stays_in_clear(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(ORIGIN, Fact("launch", "broker", body={"argv": ["npx", "files"]}))
    log.close()
    (entry,) = entries(tmp_path)
    assert VAULT.opened(entry) == entry and entry["body"] == {"argv": ["npx", "files"]}


def test_one_body_twice_is_sealed_in_two_ways(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for _ in range(2):
        log.append(ORIGIN, called(body={"text": SAID}))
    log.close()
    one, two = (entry["body"] for entry in entries(tmp_path))
    assert isinstance(one, dict) and isinstance(two, dict)
    assert one["sealed"] != two["sealed"] and one["digest"] == two["digest"]


def test_a_body_is_opened_with_no_other_key_and_for_no_other_entry() -> None:
    sealed = VAULT.shut(7, b"{}")
    assert VAULT.open(7, sealed) == b"{}"
    for keys, seq, text in [
        (VAULT, 8, sealed), (AuditKeys(b"somebody else's"), 7, sealed), (VAULT, 7, sealed[:-8]), (VAULT, 7, "no base"),
    ]:  # fmt: skip
        with pytest.raises(AuditError, match=f"receipt {seq} cannot be opened"):
            keys.open(seq, text)


def test_a_signature_is_of_one_text_and_one_key() -> None:
    signature = VAULT.sign(b"text")
    assert is_signed(VAULT.public, b"text", signature)
    assert not is_signed(VAULT.public, b"texts", signature)
    assert not is_signed(AuditKeys(b"somebody else's").public, b"text", signature)
    assert not is_signed(VAULT.public, b"text", "nonsense")
    assert VAULT.public.hex()[:16] in repr(VAULT) and len(repr(VAULT)) < 40
