"""The user's own npm configuration, carried over key by key.

npm obeys an `.npmrc` in the folder it runs in and variables with `npm_config_`; the resolver must obey the user and
nobody else.  So npm is asked in an empty folder, and only registries, credentials, certificates and proxies go on.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.interpreters import Node
from broker.trust.run import Command, Run, host_and_port, tool_environment

_CARRIED: Final = frozenset(
    {"registry", "ca", "cafile", "cert", "key", "strict-ssl", "proxy", "https-proxy", "noproxy", "local-address"}
)
_GUARDS: Final = ("git", "remote", "file", "directory")
_SCOPED = re.compile(r"@[a-z0-9~][a-z0-9._~-]*:registry")
_CREDENTIAL = re.compile(r"//[^\s:]+(?::\d+)?[^\s:]*/?:(?:_authToken|_auth|username|_password|email|certfile|keyfile)")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
MAX_RC = 256 * 1024
_ASKING = 60.0


@dataclass(frozen=True, slots=True)
class NpmSettings:
    """What the resolver's own configuration file says, where packages may come from, and which guards npm knows.

    `hosts` and `reads` are what it must reach and read for that: registries, a proxy, certificates.
    """

    text: str
    origins: frozenset[str]
    registry: str
    guards: tuple[str, ...]
    findings: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()


async def npm_settings(node: Node, environment: Mapping[str, str], work: Path, run: Run) -> NpmSettings:
    """Ask npm what the user configured.

    Raises:
        TrustError: npm does not answer.
    """
    empty = work / "neutral"
    empty.mkdir(mode=0o700, exist_ok=True)
    env = tool_environment(environment, work) | {
        name: value
        for name, value in environment.items()
        if name in {"HOME", "XDG_CONFIG_HOME", "PREFIX"} or name.lower().startswith("npm_config_")
    }
    argv = (*node.npm, "config", "list", "--json", "--no-update-notifier", "--logs-max=0")
    finished = await run(Command(argv, work, empty, env, timeout=_ASKING, asks=True))
    try:
        found = json.loads(finished.stdout)
        registry = found["registry"]
    except (ValueError, KeyError, TypeError) as cause:
        hint = "try by hand: npm config list"
        raise TrustError(f"npm does not tell its configuration (it ended with {finished.code})", hint=hint) from cause
    lines = [
        line
        for key, value in sorted(found.items())
        if (key in _CARRIED or _SCOPED.fullmatch(key)) and value not in (None, "", [])
        for line in _lines(key, value)
    ]
    for key in ("globalconfig", "userconfig"):  # npm shows no credentials; the later file wins
        lines += _credentials(found.get(key), environment)
    registries = [registry, *(value for key, value in found.items() if _SCOPED.fullmatch(key))]
    findings = () if found.get("strict-ssl", True) else ("your npm configuration does not check the registry's TLS",)
    return NpmSettings(
        text="".join(f"{line}\n" for line in lines),
        origins=frozenset(origin(str(each)) for each in registries),
        registry=shown(str(registry)),
        guards=tuple(f"--allow-{guard}=none" for guard in _GUARDS if f"allow-{guard}" in found),
        findings=findings,
        hosts=tuple(filter(None, map(host_and_port, (*map(str, registries), *_values(found, "proxy", "https-proxy"))))),
        reads=_files((*_values(found, "cafile"), *_named_files(lines))),
    )


def origin(url: str) -> str:
    """Scheme, host and port; empty for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else ""


def shown(url: str) -> str:
    """An address without the name and password it may carry."""
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return "an address that cannot be read"
    return f"{parts.scheme}://{host}{parts.path}"


def _values(found: Mapping[str, object], *keys: str) -> tuple[str, ...]:
    return tuple(str(found[key]) for key in keys if found.get(key))


def _named_files(lines: Iterable[str]) -> tuple[str, ...]:
    """Certificates and keys for one registry, which npm reads where they lie."""
    named = (line.partition("=") for line in lines)
    return tuple(value.strip('"') for key, _, value in named if key.endswith((":certfile", ":keyfile")))


def _files(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(path for path in map(Path, names) if path.is_file())


def _lines(key: str, value: object) -> list[str]:
    if isinstance(value, list):
        return [f"{key}[]={json.dumps(str(item))}" for item in value if item]
    if isinstance(value, bool):
        return [f"{key}={'true' if value else 'false'}"]
    return [f"{key}={json.dumps(str(value))}"]


def _credentials(path: object, environment: Mapping[str, str]) -> list[str]:
    if not isinstance(path, str):
        return []
    try:
        text = read_bounded(Path(path), MAX_RC).decode("utf-8", "replace")
    except (FileNotFoundError, ConfigError):
        return []  # npm read none there either
    found = []
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and _CREDENTIAL.fullmatch(key.strip()):
            plain = _REFERENCE.sub(lambda match: environment.get(match[1], match[0]), value.strip())
            found.append(f"{key.strip()}={plain}")
    return found
