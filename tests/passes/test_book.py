"""Passes over time: what is good for how long, and what a restarted daemon still knows."""

from pathlib import Path

import pytest

from broker.passes.applications import Application
from broker.passes.asked import Back, Wanted
from broker.passes.book import ACCESS_SECONDS, CODE_SECONDS, UNUSED_SECONDS, Invalid, Issued, PassBook
from broker.vault.book import VaultError
from broker.vault.vault import Vault
from tests.house import no_keychain

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
WANTED = Wanted(
    Application("app", "an editor", ("http://127.0.0.1/cb",)), "notes",
    Back("http://127.0.0.1:5/cb", "s", "http://127.0.0.1:9/path"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
)  # fmt: skip


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path, tmp_path, no_keychain)
    made.open()
    return made


def given(book: PassBook) -> Issued:
    code = book.code(WANTED, "desk", "path")
    return book.redeem(book.take(code, "path", "app", "http://127.0.0.1:5/cb", VERIFIER))


def test_a_code_is_good_for_a_minute_and_a_token_for_ten(vault: Vault, clock: Clock) -> None:
    book = PassBook(lambda: vault.book, clock)
    issued = given(book)
    assert book.admits("path", "notes", issued.access)
    clock.now += ACCESS_SECONDS
    assert not book.admits("path", "notes", issued.access)
    code = book.code(WANTED, "desk", "path")
    clock.now += CODE_SECONDS
    with pytest.raises(Invalid, match="too late"):
        book.take(code, "path", "app", "http://127.0.0.1:5/cb", VERIFIER)


def test_a_pass_outlives_the_daemon_by_its_refresh_token_alone(vault: Vault, clock: Clock) -> None:
    before = given(PassBook(lambda: vault.book, clock))
    book = PassBook(lambda: vault.book, clock)
    assert not book.admits("path", "notes", before.access)
    after = book.renew(before.refresh, "path", "app")
    assert book.admits("path", "notes", after.access) and after.of.id == before.of.id
    with pytest.raises(Invalid) as theft:  # also by whoever kept it over the restart
        PassBook(lambda: vault.book, clock).renew(before.refresh, "path", "app")
    assert theft.value.theft is not None and theft.value.theft.id == before.of.id
    assert PassBook(lambda: vault.book, clock).all() == ()


def test_a_pass_nobody_used_for_a_month_is_over(vault: Vault, clock: Clock) -> None:
    book = PassBook(lambda: vault.book, clock)
    issued = given(book)
    clock.now += UNUSED_SECONDS - 1
    issued = book.renew(issued.refresh, "path", "app")
    clock.now += UNUSED_SECONDS
    assert book.all() == ()
    with pytest.raises(Invalid, match="too long"):
        book.renew(issued.refresh, "path", "app")


def test_what_the_disk_does_not_take_is_not_given_and_the_old_token_stays_good(vault: Vault, clock: Clock) -> None:
    broken = False

    def opened() -> object:
        if broken:
            raise VaultError("the disk is full")
        return vault.book

    book = PassBook(opened, clock)  # type: ignore[arg-type]
    issued = given(book)
    broken = True
    with pytest.raises(VaultError):
        book.renew(issued.refresh, "path", "app")
    broken = False
    assert book.renew(issued.refresh, "path", "app").of.turn == 1


def test_nothing_of_a_pass_stands_in_the_vaults_file_or_in_a_repr(tmp_path: Path, clock: Clock) -> None:
    vault = Vault(tmp_path, tmp_path, no_keychain)
    vault.open()
    vault.rotate("a passphrase that lasts")
    book = PassBook(lambda: vault.book, clock)
    issued = given(book)
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in (issued.access, issued.refresh, issued.of.key, "an editor"):
        assert secret.encode() not in kept and (secret == "an editor" or secret not in repr((issued, book)))
    vault.close()
