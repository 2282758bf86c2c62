"""References to secrets: each names one place, is looked up there, and what is missing is named."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.vault import references
from broker.vault.book import Place
from broker.vault.references import SECRET_KIND, Reference, References, SecretMissing, parse_reference
from broker.vault.vault import Vault
from tests.house import no_keychain

HOME = Path("/home/me")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path, HOME, find=no_keychain)
    made.open()
    return made


def command(program: str, *words: str) -> str:
    return "command:" + shlex.join([sys.executable, "-c", program, *words])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("keychain:github", Reference("keychain", ("github",))),
        ("keychain:github/GITHUB_TOKEN", Reference("keychain", ("github/GITHUB_TOKEN",))),
        ("file:/run/secrets/key", Reference("file", ("/run/secrets/key",))),
        ("command:op read 'op://a vault/item'", Reference("command", ("op", "read", "op://a vault/item"))),
        ("command:echo $(id) ; rm x", Reference("command", ("echo", "$(id)", ";", "rm", "x"))),
    ],
)
def test_a_reference_names_one_place_and_no_shell_reads_it(text: str, meant: Reference) -> None:
    assert parse_reference(text) == meant


@pytest.mark.parametrize(
    "text",
    ["", "sk-a-canary", "keychain:", "keychain:../x", "keychain:a/b/c", "file:relative", "file:", "command:",
     "command:'", "env:HOME", "command:a\nb", "keychain:" + "x" * 5000],
)  # fmt: skip
def test_what_names_no_place_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_reference(text)
    assert "canary" not in f"{refused.value} {refused.value.hint}"


async def test_each_kind_is_looked_up_where_it_says(vault: Vault, tmp_path: Path) -> None:
    looked = References(vault)
    vault.book.put(Place(SECRET_KIND, server="github"), b"from the vault")
    (tmp_path / "key").write_text("from a file\n")
    assert await looked.value("keychain:github") == "from the vault"
    assert await looked.value(f"file:{tmp_path}/key") == "from a file"
    assert await looked.value(command("print('from a command')")) == "from a command"


async def test_a_value_that_was_changed_is_picked_up_at_the_next_look(vault: Vault, tmp_path: Path) -> None:
    now = [0.0]
    looked = References(vault, lambda: now[0])
    place, file = Place(SECRET_KIND, server="github"), tmp_path / "key"
    asked = command(f"print(open({str(file)!r}).read())")
    for turn in ("1", "2"):
        vault.book.put(place, turn.encode())
        file.write_text(turn)
        assert [await looked.value(text) for text in ("keychain:github", f"file:{file}", asked)] == [turn] * 3
        now[0] += references.KEPT_SECONDS + 1


async def test_a_command_is_asked_once_for_a_while_however_many_want_it(vault: Vault, tmp_path: Path) -> None:
    looked = References(vault)
    text = command(f"open({str(tmp_path / 'asked')!r}, 'a').write('x'); print('value')")
    assert await asyncio.gather(*(looked.value(text) for _ in range(5))) == ["value"] * 5
    assert (tmp_path / "asked").read_text() == "x"
    looked.forget()
    await looked.value(text)
    assert (tmp_path / "asked").read_text() == "xx"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; print('a canary'); sys.exit('a canary')", "failed .exit 1"),
        ("print('a canary ' * 10000)", "prints more than 64 KiB"),
        ("print()", "is empty"),
        ("import sys; sys.stdout.buffer.write(b'a canary \\xff')", "is no text"),
        ("print('a canary \\0')", "is no text"),
    ],
)
async def test_what_a_command_prints_in_vain_is_repeated_nowhere(vault: Vault, program: str, said: str) -> None:
    with pytest.raises(SecretMissing, match=said) as refused:
        await References(vault).value(command(program))
    words = [str(refused.value), refused.value.hint]
    assert "canary" not in " ".join(words).replace(program, "")


async def test_a_command_that_does_not_end_is_ended_with_all_it_started(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "COMMAND_SECONDS", 1.0)
    with pytest.raises(SecretMissing, match="did not end within 1 s"):
        async with asyncio.timeout(60):
            await References(vault).value("command:sh -c 'sleep 1000 & sleep 1000'")


@pytest.mark.parametrize(
    ("text", "said"),
    [("keychain:none", "there is no secret none"), ("file:/no/such/file", "there is no file /no/such/file"),
     ("file:/", "cannot be read|is not a regular file"), ("command:no-such-program-at-all", "is not there")],
)  # fmt: skip
async def test_what_is_missing_is_named(vault: Vault, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await References(vault).value(text)


async def test_a_closed_vault_gives_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was not opened"):
        await References(Vault(tmp_path, HOME, find=no_keychain)).value("keychain:github")
