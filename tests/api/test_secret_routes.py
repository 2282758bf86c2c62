"""Secrets at the desk: kept for the servers that name them, never said, and gone from those that had the old one."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from broker.api import schema
from broker.clients.sealing import public_of
from broker.errors import ConfigError, DeskError
from broker.vault.vault import Vault
from tests.api.test_routes import Office, _started, office
from tests.house import ME, no_keychain

CANARY = "canary-4b1d2f"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def refer(at: Office, **references: str) -> None:
    registry = at.rooms.registry
    server = registry.servers()[0]
    registry.put_server(replace(server, env=tuple(references), references=references))


def everything_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_secret_is_listed_with_its_servers_and_never_said(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        refer(at, TOKEN="keychain:github", OTHER="keychain:missing")
        await at.ask(schema.SECRET_SET, name="github", value=CANARY)
        await at.ask(schema.SECRET_SET, name="spare", value=CANARY)
        found = await at.ask(schema.SECRETS)
        assert [(one.name, one.kept, one.servers) for one in found.secrets] == [
            ("github", True, ["notes"]), ("missing", False, ["notes"]), ("spare", True, []),
        ]  # fmt: skip
        assert (found.vault.where, found.vault.lasts) == ("memory", False)
        assert at.receipts("grant") == [("secret.set", "github"), ("secret.set", "spare")]
        await at.ask(schema.SECRET_REMOVE, name="spare")
        with pytest.raises(DeskError, match="there is no secret spare"):
            await at.ask(schema.SECRET_REMOVE, name="spare")
        at.rooms.house.audit.close()
        assert CANARY not in repr(schema.SecretValue(name="github", value=CANARY))
    assert CANARY.encode() not in everything_under(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("../x", "v"), ("", "v"), ("github", ""), ("github", "a\0b")])
async def test_what_cannot_be_a_secret_is_refused_and_not_recorded(tmp_path: Path, name: str, value: str) -> None:
    async with office(tmp_path) as at:
        with pytest.raises(ConfigError):
            await at.ask(schema.SECRET_SET, name=name, value=value)
        assert at.receipts("grant") == []
        assert (await at.ask(schema.SECRETS)).secrets == []


async def test_a_clients_child_neither_sets_a_secret_nor_opens_the_vault(tmp_path: Path) -> None:
    async with office(tmp_path, "required") as at:
        child = replace(ME, root_pid=os.getppid())
        at.rooms.sessions._applications.add({(os.getpid(), _started())})
        for route in (schema.SECRET_SET, schema.VAULT_UNLOCK, schema.VAULT_SEAL, schema.SAME):
            with pytest.raises(DeskError, match="only a person may do this"):
                at.handlers.gate(child, route)


async def test_a_vault_is_sealed_under_a_passphrase_and_opened_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.vault.seal.SCRYPT_COST", 2**4)
    async with office(tmp_path) as at:
        await at.ask(schema.SECRET_SET, name="github", value=CANARY)
        assert "memory only" in (await at.ask(schema.UNDO_SEAL)).why  # nothing would open it after a restart
        assert (await at.ask(schema.VAULT_SEAL, passphrase="a phrase of mine")).lasts
        seal = (await at.ask(schema.UNDO_SEAL)).public
        assert seal == public_of(at.rooms.house.vault.key("undo")).hex()
        vault = at.rooms.house.vault
        again = Vault(vault._path.parent, vault._home, find=no_keychain)
        assert again.open().problem == "the vault is sealed under a passphrase"
        again.unlock("a phrase of mine")
        again.close()
        vault.close()
        assert (await at.ask(schema.SECRETS)).vault.problem
        with pytest.raises(ConfigError):
            await at.ask(schema.SECRET_SET, name="github", value="x")
        with pytest.raises(ConfigError, match="not the passphrase"):
            await at.ask(schema.VAULT_UNLOCK, passphrase="another phrase")
        assert (await at.ask(schema.VAULT_UNLOCK, passphrase="a phrase of mine")).lasts
        assert [one.name for one in (await at.ask(schema.SECRETS)).secrets] == ["github"]
        assert "a phrase of mine" not in json.dumps(at.receipts("grant"))


async def test_an_entry_is_the_same_server_only_with_the_same_values(tmp_path: Path) -> None:
    async with office(tmp_path) as at:
        refer(at, TOKEN="keychain:github")
        await at.ask(schema.SECRET_SET, name="github", value="first")
        argv = list(at.rooms.registry.servers()[0].argv)
        assert (await at.ask(schema.SAME, argv=argv, env={"TOKEN": "first"})).names == ["notes"]
        for line in (
            {"argv": argv, "env": {"TOKEN": "guess"}},
            {"argv": argv},
            {"argv": ["x"], "env": {"TOKEN": "first"}},
        ):
            assert (await at.ask(schema.SAME, **line)).names == []
        server = at.rooms.registry.server("notes")
        await at.ask(schema.SECRET_SET, name="notes/argument.key", value="second")
        references = {**server.references, "argument.key": "keychain:notes/argument.key"}
        named = (*server.argv, "--key", "@argument.key@")
        at.rooms.registry.put_server(replace(server, argv=named, env=tuple(references), references=references))
        for word, names in (("second", ["notes"]), ("guess", []), ("@argument.key@", [])):
            said = await at.ask(schema.SAME, argv=[*argv, "--key", word], env={"TOKEN": "first"})
            assert said.names == names
