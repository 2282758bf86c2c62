"""`secret` and `vault`: values are read from a prompt or standard input, never from the line, and never shown."""

import asyncio
import getpass
import sys
from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, USAGE, Context
from broker.errors import ConfigError
from broker.sandbox.kernel import hide_memory
from broker.vault.references import MAX_SECRET, check_secret_name
from broker.vault.vault import Vault, looked_at, passphrase_given


async def secret(args: Namespace, context: Context) -> int:
    """Set, list or remove secrets of the vault."""
    if args.action == "list":
        return await _list(args.json, context)
    if not args.name:
        output.complain(ConfigError("name the secret", hint=f"bulkhead secret {args.action} NAME"))
        return USAGE
    check_secret_name(args.name)
    if args.action == "set":
        value = await asyncio.to_thread(_read, f"value of {args.name}")
        wanted = schema.SecretValue(name=args.name, value=value)
        async with context.desk() as desk:
            kept = await desk.ask(schema.SECRET_SET, wanted, schema.SecretKept)
    else:
        async with context.desk() as desk:
            kept = await desk.ask(schema.SECRET_REMOVE, schema.Name(name=args.name), schema.SecretKept)
    if args.json:
        output.show_json({"name": args.name, **kept.model_dump(mode="json")})
        return DONE
    output.show(f"{'kept' if args.action == 'set' else 'removed'} {args.name}")
    for server in kept.restarted:
        then = "starts anew with it" if args.action == "set" else "does not start without it"
        output.show(f"{server} {then} at its next message")
    if args.action == "set" and not kept.vault.lasts:
        output.show("in memory only: it is gone when the daemon stops (bulkhead vault passphrase keeps it)")
    return DONE


async def vault(args: Namespace, context: Context) -> int:
    """How the vault stands; open it, or seal it anew."""
    if args.action == "status":
        async with context.desk() as desk:
            found = (await desk.ask(schema.SECRETS, schema.Nothing(), schema.SecretList)).vault
        return _show(found, args.json)
    passphrase = ""
    if args.action == "passphrase":
        passphrase = await asyncio.to_thread(_read_twice)
    elif args.action == "unlock":
        async with context.desk() as desk:
            found = (await desk.ask(schema.SECRETS, schema.Nothing(), schema.SecretList)).vault
        if not found.problem:
            return _show(found, args.json)
        if found.where == "passphrase":
            passphrase = await asyncio.to_thread(_read, "passphrase of the vault")
    route = schema.VAULT_UNLOCK if args.action == "unlock" else schema.VAULT_SEAL
    async with context.desk() as desk:
        found = await desk.ask(route, schema.Passphrase(passphrase=passphrase), schema.VaultView)
    return _show(found, args.json)


async def _list(json: bool, context: Context) -> int:
    async with context.desk() as desk:
        found = await desk.ask(schema.SECRETS, schema.Nothing(), schema.SecretList)
    if json:
        output.show_json(found.model_dump(mode="json"))
        return NO if found.vault.problem else DONE
    if found.vault.problem:
        return _show(found.vault, json)
    rows = [(one.name, "kept" if one.kept else "missing", ", ".join(one.servers) or "-") for one in found.secrets]
    output.show_table(("NAME", "STATE", "FOR"), rows)
    return DONE


def _show(found: schema.VaultView, json: bool) -> int:
    if json:
        output.show_json(found.model_dump(mode="json"))
    elif found.problem:
        output.complain(ConfigError(found.problem, hint=found.hint))
    else:
        kept = "" if found.lasts else ": everything in it is gone when the daemon stops"
        output.show(f"the vault is open, its key in: {found.where}{kept}")
    return NO if found.problem else DONE


def vault_key(name: str, context: Context) -> bytes:
    """A key of the vault's own, for a command that needs no daemon; asks for the passphrase where there is one.

    Raises:
        ConfigError: the vault does not open, or is not there.
    """
    folder = context.paths.state / "vault"
    if not looked_at(folder, context.paths.home).where:
        raise ConfigError("the vault that sealed it is not there any more", hint=f"put {folder} back from a backup")
    hide_memory()
    opened = Vault(folder, context.paths.home)
    try:
        standing = opened.open(passphrase_given(context.environment))
        if not standing.is_open and standing.where == "passphrase":
            opened.unlock(_read("passphrase of the vault"))
        return opened.key(name)
    finally:
        opened.close()


def _read(what: str) -> str:
    """A secret from the terminal, unseen, or from a pipe, without the line's end after it.

    Raises:
        ConfigError: it is empty, too long or no text.
    """
    if sys.stdin.isatty():
        value = getpass.getpass(f"{what} (not shown): ")
    else:
        try:
            value = sys.stdin.buffer.read(MAX_SECRET + 2).decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            value = ""
    if not value or len(value.encode()) > MAX_SECRET:
        raise ConfigError(f"the {what} is empty, no text, or longer than {MAX_SECRET // 1024} KiB")
    return value


def _read_twice() -> str:
    first = _read("new passphrase of the vault")
    if sys.stdin.isatty() and _read("the same again") != first:
        raise ConfigError("the two passphrases differ", hint="bulkhead vault passphrase")
    return first
