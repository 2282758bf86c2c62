"""Checks of one home for secrets that lie in the clear, as earlier versions and hands may have left them."""

import itertools
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from broker.cli.findings import Finding
from broker.config import Paths
from broker.errors import ConfigError
from broker.files import read_bounded
from broker.secrecy import looks_secret, secret_arguments

MAX_SERVERS: Final = 1000


def plain_secrets(paths: Paths) -> list[Finding]:
    """Nothing of a server's documents is a secret; a name is told, never a value."""
    rows = []
    for file in itertools.islice(sorted((paths.config / "servers").glob("*.toml")), MAX_SERVERS):
        if names := sorted({*_in_line(file), *_in_values(paths.config / "env" / f"{file.stem}.json")}):
            said = f"{file.stem} keeps what looks like a secret outside of the vault: {', '.join(names)}"
            rows.append(Finding("secrets", "warn", said, f"bulkhead pin {file.stem} --update, which moves it there"))
    return rows or [Finding("secrets", "ok", "none lies outside of the vault")]


def _in_line(file: Path) -> Iterator[str]:
    try:
        argv: Any = tomllib.loads(read_bounded(file).decode()).get("argv")
    except (ValueError, RecursionError) as cause:
        raise ConfigError(f"{file} cannot be read", hint="bulkhead review") from cause
    if isinstance(argv, list) and all(isinstance(word, str) for word in argv):
        found = secret_arguments(argv).values()
        yield from (name for name, value in found if not value.startswith("http"))  # the address of a server elsewhere


def _in_values(file: Path) -> Iterator[str]:
    try:
        values: Any = json.loads(read_bounded(file))
    except FileNotFoundError:
        return
    except (ValueError, RecursionError) as cause:
        raise ConfigError(f"{file} cannot be read", hint="bulkhead review") from cause
    if isinstance(values, dict):
        yield from (name for name, value in values.items() if isinstance(value, str) and looks_secret(name, value))
