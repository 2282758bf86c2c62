"""The vault: sealed under a key in the keychain or a passphrase, else in memory; what does not open stays closed."""

from pathlib import Path
from typing import Final

import pytest

from broker.vault import seal
from broker.vault.book import Place, VaultError
from broker.vault.vault import Vault, VaultClosed
from tests.vault.conftest import Fake

HOME: Final = Path("/home/me/.config/bulkhead")
TOKEN: Final = Place("token", "cursor", "linear")
PHRASE: Final = "a phrase to remember"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guess at a passphrase costs half a second; here none is guessed."""
    monkeypatch.setattr(seal, "SCRYPT_COST", 2**4)


def opened(folder: Path, passphrase: str = "") -> Vault:
    vault = Vault(folder, HOME)
    vault.open(passphrase)
    return vault


def kept(vault: Vault) -> bytes:
    found = vault.book.load(TOKEN)
    assert found is not None
    return found.value


def test_with_a_keychain_the_vault_lasts_and_its_key_is_in_the_keychain_alone(tmp_path: Path, fake: Fake) -> None:
    one = opened(tmp_path)
    assert one.standing.lasts and one.standing.where == "SecretService.Keyring"
    one.book.put(TOKEN, b"secret")
    one.close()
    assert kept(opened(tmp_path)) == b"secret"
    (key,) = fake.held.values()
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert key.encode() not in everything and bytes.fromhex(key) not in everything


def test_without_a_keychain_nothing_is_written_and_nothing_lasts(tmp_path: Path, fake: Fake) -> None:
    fake.gone = True
    one = opened(tmp_path)
    assert (one.standing.where, one.standing.why) == ("memory", "no keychain can be reached")
    assert one.standing.is_open and not one.standing.lasts
    one.book.put(TOKEN, b"secret")
    assert kept(one) == b"secret"
    assert list(tmp_path.iterdir()) == []
    assert opened(tmp_path).book.load(TOKEN) is None


@pytest.mark.parametrize("fault", ["locked", "read_only", "forgetful"])
def test_a_keychain_that_takes_no_key_leaves_the_vault_in_memory(tmp_path: Path, fake: Fake, fault: str) -> None:
    setattr(fake, fault, True)
    one = opened(tmp_path)
    assert one.standing.where == "memory" and one.standing.why
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [("locked", "is locked"), ("gone", "no keychain can be reached"), ("emptied", "has no key for the vault"),
     ("replaced", "is not the key of the vault"), ("spoilt", "is not the key of the vault")],
)  # fmt: skip
def test_a_sealed_vault_that_does_not_open_stays_closed_and_says_why(
    tmp_path: Path, fake: Fake, fault: str, said: str
) -> None:
    first = opened(tmp_path)
    first.book.put(TOKEN, b"secret")
    first.close()
    held = dict(fake.held)
    match fault:
        case "emptied":
            fake.held.clear()
        case "replaced":
            fake.held = dict.fromkeys(fake.held, "00" * 32)
        case "spoilt":
            fake.held = dict.fromkeys(fake.held, "no key")
        case _:
            setattr(fake, fault, True)
    one = opened(tmp_path)
    assert not one.standing.is_open and said in one.standing.problem and one.standing.hint
    for act in (lambda: one.book, lambda: one.key("audit"), one.rotate):
        with pytest.raises(VaultClosed, match=said.replace("(", ".")):
            act()
    with (
        pytest.raises(VaultError)
        if fault in ("emptied", "replaced", "spoilt")
        else pytest.raises(Exception, match=said)
    ):
        one.unlock()
    fake.held, fake.locked, fake.gone = held, False, False
    assert one.unlock().lasts
    assert kept(one) == b"secret"


def test_a_keychain_that_never_answers_is_waited_for_with_a_limit(tmp_path: Path, fake: Fake, impatient: None) -> None:
    opened(tmp_path).book.put(TOKEN, b"secret")
    fake.answers.clear()
    one = opened(tmp_path)
    fake.answers.set()
    assert "did not answer within" in one.standing.problem
    with pytest.raises(VaultClosed):
        _ = one.book


@pytest.mark.claim("C56")
def test_a_keychain_that_is_locked_later_takes_nothing_from_an_open_vault(tmp_path: Path, fake: Fake) -> None:
    one = opened(tmp_path)
    one.book.put(TOKEN, b"first")
    fake.locked = True
    generation = one.book.load(TOKEN)
    assert generation is not None and one.book.swap(TOKEN, generation.generation, b"secret") is not None
    assert kept(one) == b"secret"
    one.close()
    assert not opened(tmp_path).standing.is_open


def test_under_a_passphrase_the_vault_opens_with_it_alone(tmp_path: Path, fake: Fake) -> None:
    fake.gone = True
    one = opened(tmp_path, PHRASE)
    assert one.standing.lasts and one.standing.where == "passphrase"
    one.book.put(TOKEN, b"secret")
    one.close()
    two = opened(tmp_path)
    assert two.standing.problem == "the vault is sealed under a passphrase"
    with pytest.raises(VaultError, match="not the passphrase") as refused:
        two.unlock("a wrong phrase")
    assert "wrong phrase" not in str(refused.value)
    assert two.unlock(PHRASE).lasts
    assert kept(two) == b"secret"
    assert PHRASE.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_passphrase_given_later_keeps_what_was_in_memory(tmp_path: Path, fake: Fake) -> None:
    fake.gone = True
    one = opened(tmp_path)
    one.book.put(TOKEN, b"secret")
    with pytest.raises(VaultError, match="8 to 1024"):
        one.rotate("short")
    assert one.rotate(PHRASE).where == "passphrase"
    one.book.put(Place("token", "later"), b"too")
    assert kept(one) == b"secret"
    assert kept(opened(tmp_path, PHRASE)) == b"secret"


def test_a_new_key_opens_what_the_old_one_kept_and_the_old_one_is_gone(tmp_path: Path, fake: Fake) -> None:
    one = opened(tmp_path)
    one.book.put(TOKEN, b"secret")
    before, row = dict(fake.held), one.book.load(TOKEN)
    one.rotate()
    assert one.book.load(TOKEN) == row
    assert len(fake.held) == 1 and fake.held.keys().isdisjoint(before)
    one.close()
    assert kept(opened(tmp_path)) == b"secret"
    fake.held |= before
    assert kept(opened(tmp_path)) == b"secret"


def test_a_keychain_that_takes_no_new_key_leaves_the_vault_as_it_was(tmp_path: Path, fake: Fake) -> None:
    one = opened(tmp_path)
    one.book.put(TOKEN, b"secret")
    fake.read_only = True
    with pytest.raises(Exception, match=r"failed .RuntimeError"):
        one.rotate()
    assert kept(one) == b"secret" and one.standing.lasts
    one.close()
    assert kept(opened(tmp_path)) == b"secret"


def test_keys_of_our_own_are_made_once_and_differ(tmp_path: Path, fake: Fake) -> None:
    one = opened(tmp_path)
    made = one.key("audit-signing")
    assert len(made) == 32
    assert one.key("audit-signing") == made != one.key("audit-sealing")
    one.close()
    assert opened(tmp_path).key("audit-signing") == made


def test_a_vault_whose_file_was_never_sealed_is_made_anew(tmp_path: Path, fake: Fake) -> None:
    (tmp_path / "vault.db").touch(mode=0o600)
    assert opened(tmp_path).standing.lasts


@pytest.mark.parametrize(
    "text", ["", "[]", '["keychain", 1, "", ""]', '["none", "", "", ""]', '["keychain", "", "zz", ""]']
)
def test_a_seal_that_says_nothing_keeps_the_vault_closed(tmp_path: Path, fake: Fake, text: str) -> None:
    import sqlite3

    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "vault.db") as database:
        database.execute("UPDATE seal SET text = ?", (text,))
    assert opened(tmp_path).standing.problem == "the vault does not say how it is sealed"
