"""Commits and tags signed by the real ssh-keygen: one that holds names its key, one that does not refuses the pin."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from broker.errors import TrustError
from broker.trust.continuity import compare
from broker.trust.pins import describe, from_text, to_text
from broker.trust.ssh_signature import signer_of
from tests.trust.attack_table import catches
from tests.trust.test_git import FILES, Shop, shop

__all__ = ["shop"]
needs_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signing needs ssh-keygen")
pytestmark = needs_keygen


@dataclass(frozen=True)
class Key:
    """A key pair in a file, as people have it."""

    file: Path

    @classmethod
    def made(cls, file: Path, kind: str = "ed25519") -> "Key":
        _run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a@git.test", "-f", str(file))
        return cls(file)

    @property
    def fingerprint(self) -> str:
        return _run("ssh-keygen", "-l", "-f", str(self.file)).decode().split()[1]

    def sign(self, payload: bytes, namespace: str = "git") -> str:
        return _run("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.file), text=payload).decode()


def _run(*argv: str, text: bytes = b"") -> bytes:
    return subprocess.run(argv, input=text, capture_output=True, timeout=60, check=True).stdout


def signed_commit(payload: bytes, signature: str) -> bytes:
    head, _, body = payload.partition(b"\n\n")
    lines = signature.strip().replace("\n", "\n ").encode()
    return head + b"\ngpgsig " + lines + b"\n\n" + body


class Signer(Protocol):
    """Whatever signs as git has it sign."""

    def sign(self, payload: bytes) -> str: ...


def commit_signed(shop: Shop, key: Signer, files: dict[str, str], *, changed: bytes = b"") -> None:
    """Put a signed commit on the main branch; `changed` is written in place of the message after signing."""
    home = shop.forge.root / "o/r"
    plain = shop.forge.commit("o/r", files)
    payload = shop.forge.git(home, "cat-file", "commit", plain).encode() + b"\n"
    text = signed_commit(payload, key.sign(payload))
    text = text.replace(b"\nnow\n", b"\n" + changed + b"\n") if changed else text
    made = shop.forge.git(home, "hash-object", "-t", "commit", "-w", "--stdin", text=text)
    shop.forge.git(home, "update-ref", "refs/heads/main", made)


PAYLOAD = b"tree 1\nauthor a <a@git.test> 1 +0000\ncommitter a <a@git.test> 1 +0000\n\nsaid\n"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signature_by_ssh_keygen_holds_for_its_bytes_and_for_no_others(kind: str, tmp_path: Path) -> None:
    key = Key.made(tmp_path / "key", kind)
    commit = signed_commit(PAYLOAD, key.sign(PAYLOAD))
    assert signer_of("commit", commit) == key.fingerprint
    tag = b"object 1\ntype commit\ntag v1\n\nsaid\n"
    assert signer_of("tag", tag + key.sign(tag).encode()) == key.fingerprint
    bent = [
        commit.replace(b"said", b"sold"),
        signed_commit(PAYLOAD, key.sign(PAYLOAD, "file")),
        signed_commit(PAYLOAD, key.sign(PAYLOAD)[:200]),
        signed_commit(PAYLOAD, "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----"),
    ]
    for text in bent:
        with pytest.raises(TrustError, match="the commit is signed, and its SSH signature"):
            signer_of("commit", text)


@catches("H09")
async def test_a_signed_commit_names_its_key_and_another_key_or_none_is_told(shop: Shop, tmp_path: Path) -> None:
    ann, bob = Key.made(tmp_path / "ann"), Key.made(tmp_path / "bob")
    commit_signed(shop, ann, FILES)
    old = await shop.pin()
    assert old.artifact.git is not None and old.artifact.git.signer == ann.fingerprint
    assert from_text(to_text(old)) == old
    said = "\n".join(describe(old.artifact, old.launch))
    assert f"verified: the commit is signed by the SSH key {ann.fingerprint}; whose it is, nobody here knows" in said
    commit_signed(shop, bob, {**FILES, "README.md": "by bob"})
    new = await shop.pin()
    assert [each.code for each in compare(old.artifact, new.artifact, now=0)] == ["NEW_VERSION", "SIGNER_CHANGED"]
    shop.forge.commit("o/r", {**FILES, "README.md": "by nobody"})
    bare = await shop.pin()
    dropped = [(each.code, each.action) for each in compare(old.artifact, bare.artifact, now=0)]
    assert dropped == [("NEW_VERSION", "consent"), ("SIG_DROPPED", "block")]


@catches("H09")
async def test_a_commit_that_was_changed_after_it_was_signed_is_refused(shop: Shop, tmp_path: Path) -> None:
    commit_signed(shop, Key.made(tmp_path / "ann"), FILES, changed=b"later")
    assert "the commit is signed, and its SSH signature does not hold" in await shop.refusal()
