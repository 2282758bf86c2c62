"""Where the user gets Python packages from, carried over from uv's and pip's own configuration.

uv reads a `uv.toml` or `pyproject.toml` in or above the folder it runs in; the resolver must obey the user's own files
and variables and nobody else's.  What a launch line with `uvx` would obey comes first: uv's settings; where uv has no
index, pip's `index-url` stands in.
"""

import netrc
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import tomli_w

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.npm_settings import origin, shown
from broker.trust.run import Command, Run, tool_environment

MAX_SETTINGS = 256 * 1024
_ASKING = 60.0
_TLS: Final = ("native-tls", "system-certs", "allow-insecure-host", "index-strategy", "keyring-provider")
_UV_VARIABLES: Final = frozenset(
    {"UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_INSECURE_HOST", "UV_INDEX_STRATEGY", "UV_KEYRING_PROVIDER",
     "UV_HTTP_TIMEOUT", "UV_REQUEST_TIMEOUT"}
)  # fmt: skip
_UV_CREDENTIAL = re.compile(r"UV_INDEX_[A-Z0-9_]+_(?:USERNAME|PASSWORD)")


@dataclass(frozen=True, slots=True)
class Index:
    """One place packages come from; `name` is what uv's credential variables refer to."""

    url: str
    name: str = ""
    default: bool = False

    def table(self) -> dict[str, object]:
        named = {"name": self.name} if self.name else {}
        return {"url": self.url, **named, **({"default": True} if self.default else {})}


@dataclass(frozen=True, slots=True)
class PypiSettings:
    """The user's indexes and certificate, as both tools are told them."""

    indexes: tuple[Index, ...]
    tls: Mapping[str, Any]
    variables: Mapping[str, str]
    cert: str = ""

    def uv_file(self) -> str:
        return tomli_w.dumps({**self.tls, "index": [index.table() for index in self.indexes]})

    def pip_variables(self) -> dict[str, str]:
        """pip may look in every index: it takes only files whose hash uv's resolution named.

        An index's address may carry a password, and everybody on the machine can read a command line.
        """
        default = [index.url for index in self.indexes if index.default]
        wanted = {
            "PIP_INDEX_URL": default[-1] if default else "",
            "PIP_EXTRA_INDEX_URL": " ".join(index.url for index in self.indexes if not index.default),
            "PIP_TRUSTED_HOST": " ".join(self.tls.get("allow-insecure-host", [])),
            "PIP_CERT": self.cert,
        }
        return {name: value for name, value in wanted.items() if value}

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files and folders that the tools must read: certificates, and indexes that are folders."""
        named = [Path(self.cert)] if self.cert else []
        for index in self.indexes:
            if index.url.startswith("file:"):
                folder = Path(unquote(urlsplit(index.url).path))
                named.append(folder.parent if folder.name == "simple" else folder)
        return tuple(path for path in named if path.exists())

    def may_serve(self, url: str) -> bool:
        """TLS always; a plain address or a folder only where the user configured one."""
        scheme = url.partition(":")[0].lower()
        if scheme == "https":
            return True
        origins = {origin(index.url) for index in self.indexes}
        if scheme == "http":
            return origin(url) in origins
        return scheme == "file" and any(index.url.startswith("file:") for index in self.indexes)

    def shown(self) -> str:
        names = [shown(index.url) for index in self.indexes]
        return ", ".join(names) or "the package index"


async def pypi_settings(pip: tuple[str, ...], environment: Mapping[str, str], work: Path, run: Run) -> PypiSettings:
    """What the user configured for uv, and for pip where uv has nothing.

    Raises:
        TrustError: a configuration file cannot be read.
    """
    tables = [_table(path) for path in _uv_files(environment)]
    indexes = [index for table in tables for index in _indexes(table)]
    indexes = [*_from_variables(environment), *indexes]
    pip_says = await _pip_settings(pip, environment, work, run)
    if not indexes and (url := pip_says.get("global.index-url") or pip_says.get("download.index-url")):
        indexes = [Index(url, default=True)]
    tls: dict[str, Any] = {}
    for table in reversed(tables):  # the user's file stands first and wins
        tls |= {key: table[key] for key in _TLS if key in table}
    variables = {
        name: value for name, value in environment.items() if name in _UV_VARIABLES or _UV_CREDENTIAL.fullmatch(name)
    }
    found = _once(indexes)
    if credentials := _netrc(environment, {urlsplit(index.url).hostname or "" for index in found}, work):
        variables["NETRC"] = credentials
    cert = environment.get("PIP_CERT") or pip_says.get("global.cert", "")
    return PypiSettings(found, tls, variables, cert)


def _netrc(environment: Mapping[str, str], hosts: Collection[str], work: Path) -> str:
    """Both tools read credentials from there: a copy with those of the configured indexes and of nobody else."""
    path = environment.get("NETRC") or os.path.join(environment.get("HOME", "/nonexistent"), ".netrc")
    try:
        entries = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return ""  # the tools themselves pass over a file they cannot read
    kept = {host: entry for host in sorted(hosts) if host and (entry := entries.get(host) or entries.get("default"))}
    copy = work / "netrc"
    copy.touch(mode=0o600)
    copy.write_text("".join(f"machine {host} login {login} password {word or ''}\n"
                            for host, (login, _, word) in kept.items()))  # fmt: skip
    return str(copy) if kept else ""


def _uv_files(environment: Mapping[str, str]) -> list[Path]:
    if chosen := environment.get("UV_CONFIG_FILE"):
        return [Path(chosen)]
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    files = [Path(config, "uv/uv.toml")] if config else []
    return [*files, Path("/etc/uv/uv.toml")]


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bounded(path, MAX_SETTINGS).decode())
    except FileNotFoundError:
        return {}
    except (ConfigError, ValueError, RecursionError) as cause:
        raise TrustError(f"uv's configuration {path} cannot be read", hint="correct it, or move it away") from cause


def _indexes(table: Mapping[str, Any]) -> list[Index]:
    found = []
    for each in _tables(table.get("index")):
        if isinstance(url := each.get("url"), str):
            found.append(Index(url, str(each.get("name", "")), each.get("default") is True))
    found += [Index(url) for url in _texts(table.get("extra-index-url"))]
    found += [Index(url, default=True) for url in _texts(table.get("index-url"))]
    return found


def _from_variables(environment: Mapping[str, str]) -> list[Index]:
    found = []
    for word in (environment.get("UV_INDEX", "") + " " + environment.get("UV_EXTRA_INDEX_URL", "")).split():
        name, equals, url = word.partition("=")
        named = bool(equals) and re.fullmatch(r"[A-Za-z0-9._-]+", name) is not None
        found.append(Index(url, name) if named else Index(word))
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if value := environment.get(variable):
            name, equals, url = value.partition("=")
            named = bool(equals) and re.fullmatch(r"[A-Za-z0-9._-]+", name) is not None
            found.append(Index(url if named else value, name if named else "", default=True))
            break
    return found


async def _pip_settings(pip: tuple[str, ...], environment: Mapping[str, str], work: Path, run: Run) -> dict[str, str]:
    empty = work / "neutral"
    empty.mkdir(mode=0o700, exist_ok=True)
    names = {"HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "PIP_CONFIG_FILE"}
    env = tool_environment(environment, work) | {
        name: value for name, value in environment.items() if name in names or name.startswith("PIP_")
    }
    argv = (*pip, "config", "list", "--disable-pip-version-check")
    finished = await run(Command(argv, work, empty, env, timeout=_ASKING, asks=True))
    if finished.code != 0:
        raise TrustError("pip does not tell its configuration", hint="try by hand: python3 -m pip config list")
    found: dict[str, str] = {}
    for line in finished.stdout.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key.replace(":env:.", "global.")] = value.strip().strip("'\"")
    return found


def _once(indexes: list[Index]) -> tuple[Index, ...]:
    """Each address once; the first default is the default."""
    kept: dict[str, Index] = {}
    default = False
    for index in indexes:
        if index.url in kept or (index.default and default):
            continue
        default = default or index.default
        kept[index.url] = index
    return tuple(kept.values())


def _tables(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, str)]
