"""Commits signed by the real gpg: checked by the real gpgv against the user's own ring, and against nothing else."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.errors import TrustError
from broker.trust.continuity import compare
from broker.trust.openpgp_signature import Checked, check
from broker.trust.pins import describe, from_text, to_text
from broker.trust.run import Command, Finished
from tests.trust.attack_table import catches
from tests.trust.test_git import FILES, Shop, shop
from tests.trust.test_git_signatures import PAYLOAD, commit_signed, signed_commit

__all__ = ["shop"]
needs_gpg = pytest.mark.skipif(not (shutil.which("gpg") and shutil.which("gpgv")), reason="signing needs gpg and gpgv")


@dataclass(frozen=True)
class Ring:
    """A key pair in a gpg home, as people have it."""

    home: Path

    @classmethod
    def made(cls, home: Path) -> "Ring":
        ring = cls(home)
        ring.gpg("--passphrase", "", "--quick-generate-key", "a <a@git.test>", "ed25519", "sign", "never")
        return ring

    @property
    def fingerprint(self) -> str:
        listed = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def sign(self, payload: bytes) -> str:
        return self.gpg("--armor", "--detach-sign", text=payload).decode()

    def gpg(self, *words: str, text: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *words]
        return subprocess.run(argv, input=text, capture_output=True, timeout=60, check=True).stdout


@pytest.fixture(scope="module")
def rings() -> Iterator[tuple[Ring, Ring]]:
    """Two people's; their homes have short names, because gpg's sockets lie there."""
    homes = [Path(tempfile.mkdtemp(prefix="gpg")) for _ in range(2)]
    try:
        yield Ring.made(homes[0]), Ring.made(homes[1])
    finally:
        for home in homes:
            subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], timeout=60, check=False)
            shutil.rmtree(home, ignore_errors=True)


@needs_gpg
@catches("H09")
async def test_a_commit_signed_by_a_key_of_the_users_ring_names_it_and_any_other_is_told_as_unchecked(
    shop: Shop, rings: tuple[Ring, Ring]
) -> None:
    ann, bob = rings
    user = replace(shop, environment={**shop.environment, "GNUPGHOME": str(ann.home)})
    commit_signed(user, ann, FILES)
    old = await user.pin()
    assert old.artifact.git is not None and old.artifact.git.signer == ann.fingerprint
    assert from_text(to_text(old)) == old
    said = describe(old.artifact, old.launch)
    assert (
        f"verified: the commit is signed by the OpenPGP key {ann.fingerprint}; whose it is, nobody here knows" in said
    )
    commit_signed(user, bob, {**FILES, "README.md": "by bob"})
    new = await user.pin()
    said = describe(new.artifact, new.launch)
    assert "not verified: who wrote it (the commit carries a signature (OpenPGP), which was not checked)" in said
    key = bob.fingerprint[-16:]
    assert f"found: the commit's signature was not checked: the key {key} is not in your key ring" in said
    found = [(each.code, each.action) for each in compare(old.artifact, new.artifact, now=0)]
    assert found == [("NEW_VERSION", "consent"), ("SIG_UNAVAILABLE", "consent")]
    shop.forge.commit("o/r", {**FILES, "README.md": "by nobody"})
    bare = await user.pin()
    assert ("SIG_DROPPED", "block") in [
        (each.code, each.action) for each in compare(old.artifact, bare.artifact, now=0)
    ]
    commit_signed(user, ann, {**FILES, "README.md": "changed"}, changed=b"later")
    assert "the commit is signed, and its OpenPGP signature does not hold" in await refusal(user)


async def refusal(user: Shop) -> str:
    with pytest.raises(TrustError) as refused:
        await user.pin()
    return str(refused.value)


# --- what gpgv says, and what is made of it ---

SIGNATURE = "-----BEGIN PGP SIGNATURE-----\nAAAA\n-----END PGP SIGNATURE-----\n"
KEY = "E81E910096A53812AB509B499CD148321E88D2BC"
VALID = f"VALIDSIG {KEY} 2026-11-22 1795337029 0 4 0 22 8 00 {KEY}"
GOOD = "GOODSIG 9CD148321E88D2BC a <a@git.test>"


async def told(
    folder: Path, *lines: str, signature: str = SIGNATURE, environment: Mapping[str, str] | None = None
) -> Checked:
    """What comes of it when gpgv says this of a signed commit."""
    (folder / "pubring.kbx").write_bytes(b"keys")

    async def run(command: Command) -> Finished:
        assert not command.hosts and command.argv[0].endswith("gpgv")
        return Finished(0, "".join(f"[GNUPG:] {line}\n" for line in ("NEWSIG", *lines)).encode(), b"")

    found = {"GNUPGHOME": str(folder)} if environment is None else environment
    return await check("commit", signed_commit(PAYLOAD, signature), {"PATH": "/usr/bin", **found}, folder, run)


@needs_gpg
@pytest.mark.parametrize(("lines", "says"), [
    ((GOOD, VALID), Checked(KEY)),
    ((GOOD, VALID.replace(" 22 8 00 ", " 22 2 00 ")), Checked(why="it signs a digest that can be forged")),
    (("ERRSIG 9CD148321E88D2BC 22 8 00 1 9 -",), Checked(why="the key 9CD148321E88D2BC is not in your key ring")),
    (("ERRSIG 9CD148321E88D2BC 99 8 00 1795337029 4 -",), Checked(why="gpgv does not know its kind")),
    (("EXPKEYSIG 9CD148321E88D2BC a", VALID), Checked(why="it, or its key 9CD148321E88D2BC, has expired")),
])  # fmt: skip
async def test_only_a_good_signature_names_a_key(lines: tuple[str, ...], says: Checked, tmp_path: Path) -> None:
    assert await told(tmp_path, *lines) == says


@needs_gpg
@pytest.mark.parametrize(("lines", "why"), [
    (("BADSIG 9CD148321E88D2BC a", VALID), "does not hold"),
    (("REVKEYSIG 9CD148321E88D2BC a", VALID), "which was revoked"),
    ((GOOD,), "is bent"),
    ((), "is bent"),
    ((GOOD, VALID, GOOD, VALID), "is bent"),
    ((GOOD, VALID, "BADSIG 9CD148321E88D2BC a"), "is bent"),
])  # fmt: skip
async def test_what_does_not_hold_is_refused(lines: tuple[str, ...], why: str, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match=f"the commit is signed, and its OpenPGP signature .*{why}"):
        await told(tmp_path, *lines)


async def test_two_signatures_in_one_place_are_none(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="OpenPGP signature is bent"):
        await told(tmp_path, GOOD, VALID, signature=SIGNATURE + SIGNATURE)


@needs_gpg
async def test_without_a_ring_or_without_gpgv_nothing_is_checked_and_the_reason_is_said(tmp_path: Path) -> None:
    nobody = {"HOME": str(tmp_path / "nobody")}
    assert await told(tmp_path, environment=nobody) == Checked(why="you have no OpenPGP key ring")
    without = {"PATH": str(tmp_path), "GNUPGHOME": str(tmp_path)}
    assert await told(tmp_path, environment=without) == Checked(why="there is no gpgv on this machine")
