"""Where a secret comes from: `keychain:NAME` (the vault), `file:PATH`, `command:PROGRAM ...`, `host:PROGRAM`.

A reference is no secret and stands in a server's document; its value is looked up when the server starts.  A command is
a list of words and no shell reads it; what it prints is kept in memory for a while and written nowhere.
"""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from broker.errors import ConfigError
from broker.files import read_bounded
from broker.vault.adapters import PROGRAMS, line_of, taken, words_of
from broker.vault.book import Place
from broker.vault.vault import Vault

SECRET_KIND: Final = "secret"  # noqa: S105 - the kind of a row, and no value
MAX_SECRET: Final = 64 * 1024
COMMAND_SECONDS = 60.0  # a password manager may ask for a fingerprint first
KEPT_SECONDS: Final = 300.0  # how long a command's answer counts; the next launch after that asks again
MAX_REFERENCE: Final = 4096
FORMS: Final = "keychain:NAME, file:PATH, command:PROGRAM ARGUMENT ..., or host:aws, gcloud, gh, kube/ACCOUNT"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?:/[A-Za-z0-9_.!#$%&'*+^`|~-]{1,128})?")


class SecretMissing(ConfigError):
    """A secret is not where it should be, so what needs it does not start."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`words` is the name, the path, the command line, or a program, whose credentials, and which part of them."""

    kind: Literal["keychain", "file", "command", "host"]
    words: tuple[str, ...]


def check_secret_name(name: str) -> None:
    """Refuse what cannot be a secret's name.

    Raises:
        ConfigError: it is not `NAME` or `SERVER/NAME`.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{name[:80]!r} cannot be the name of a secret", hint="a NAME, or SERVER/NAME")


def parse_reference(text: str) -> Reference:
    """What a reference means.

    Raises:
        ConfigError: it means nothing; a value given by mistake is not repeated.
    """
    kind, _, rest = text.partition(":")
    words: tuple[str, ...] = ()
    if len(text) <= MAX_REFERENCE and rest and rest.isprintable():
        match kind:
            case "keychain":
                check_secret_name(rest)
                return Reference("keychain", (rest,))
            case "file" if rest.startswith("/"):
                return Reference("file", (rest,))
            case "command":
                with contextlib.suppress(ValueError):
                    words = tuple(shlex.split(rest))
                if words:
                    return Reference("command", words)
            case "host" if found := words_of(rest):
                return Reference("host", found)
    raise ConfigError("a secret is named by where it is, and this names no place", hint=FORMS)


def named(texts: Sequence[str]) -> dict[str, str]:
    """References by variable: `NAME=REFERENCE`, or `host:PROGRAM[/WHO]` alone for all that servers look for.

    Raises:
        ValueError: one is neither.
        ConfigError: a reference means nothing.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, sign, reference = text.partition("=")
        adapter = PROGRAMS.get(text.removeprefix("host:").partition("/")[0]) if text.startswith("host:") else None
        if adapter is not None and not sign:
            found |= {each: f"{text}#{part}" if part else text for each, part in adapter.variables.items()}
        elif name and sign:
            found[name] = reference
        else:
            raise ValueError(text)
    for reference in found.values():
        parse_reference(reference)
    return found


class References:
    """Looks secrets up.  Its `repr` shows none."""

    def __init__(self, vault: Vault, clock: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._clock = clock
        self._printed: dict[tuple[str, ...], tuple[float, str]] = {}
        self._turns: dict[tuple[str, ...], asyncio.Lock] = {}

    def __repr__(self) -> str:
        return "<References>"

    async def value(self, text: str) -> str:
        """The secret a reference names, without the line's end after it.

        Raises:
            SecretMissing: it is not there; the sentence names the place, never what was found.
            VaultError: the vault is closed, or does not vouch for it.
        """
        reference = parse_reference(text)
        match reference.kind:
            case "keychain":
                value = await asyncio.to_thread(self._kept, reference.words[0])
            case "file":
                value = await asyncio.to_thread(_read, reference.words[0])
            case "command":
                value = await self._asked(reference.words)
            case "host":
                value = await self._handed_over(*reference.words)
        if not value:
            raise SecretMissing(f"the secret at {reference.kind}:{reference.words[0]} is empty")
        return value

    def forget(self) -> None:
        """Ask every command again."""
        self._printed.clear()

    def _kept(self, name: str) -> str:
        row = self._vault.book.load(Place(SECRET_KIND, server=name))
        if row is None:
            raise SecretMissing(f"there is no secret {name}", hint=f"bulkhead secret set {name}")
        return row.value.decode()

    async def _handed_over(self, program: str, who: str, part: str) -> str:
        """What another program gives for a while; an answer that ends sooner than it would be kept is not kept."""
        argv = line_of(program, who)
        try:
            value, left = taken(await self._asked(argv), program, part, time.time())
            if left < KEPT_SECONDS:
                self._printed.pop(argv, None)
        except ConfigError as cause:
            self._printed.pop(argv, None)
            raise SecretMissing(str(cause), hint=cause.hint) from cause
        return value

    async def _asked(self, argv: tuple[str, ...]) -> str:
        async with self._turns.setdefault(argv, asyncio.Lock()):  # as many as documents name, and one at a time each
            known = self._printed.get(argv)
            if known is not None and self._clock() < known[0]:
                return known[1]
            value = _text(await _output(argv), f"what {argv[0]} prints")
            self._printed[argv] = (self._clock() + KEPT_SECONDS, value)
            return value


def _read(path: str) -> str:
    try:
        return _text(read_bounded(Path(path), MAX_SECRET), path)
    except FileNotFoundError as cause:
        raise SecretMissing(f"there is no file {path}", hint="put the secret there, and only that") from cause


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SecretMissing(f"{what} is no text")
    return text.removesuffix("\n").removesuffix("\r")


async def _output(argv: tuple[str, ...]) -> bytes:
    """What a command prints, bounded in size and time.  Its complaints may hold anything, and are shown to nobody."""
    program = shutil.which(argv[0])
    if program is None:
        raise SecretMissing(f"the command {argv[0]} is not there", hint="name it by its whole path")
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as cause:
        raise SecretMissing(f"the command {argv[0]} cannot be run: {cause.strerror}") from cause
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            assert process.stdout is not None
            data = b""
            while len(data) <= MAX_SECRET and (more := await process.stdout.read(MAX_SECRET)):
                data += more
            if len(data) > MAX_SECRET:
                raise SecretMissing(f"the command {argv[0]} prints more than {MAX_SECRET // 1024} KiB")
            code = await process.wait()
    except TimeoutError as cause:
        hint = "run it yourself: it may be waiting for you"
        raise SecretMissing(f"the command {argv[0]} did not end within {COMMAND_SECONDS:g} s", hint=hint) from cause
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it left running
        await process.wait()
    if code != 0:
        raise SecretMissing(f"the command {argv[0]} failed (exit {code})", hint="run it yourself and read what it says")
    return data
