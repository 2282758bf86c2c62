"""What the person's own container tools say about registries: credentials, mirrors, and names without a host.

Read from the files of docker and podman where they exist.  A helper program they name is asked for the login of the one
registry that is used, as they would ask it.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from broker.errors import ConfigError, TrustError
from broker.files import read_bounded
from broker.trust.oci_helpers import ask_helper, named_helpers
from broker.trust.oci_reference import Reference, address, beside

MAX_SETTINGS: Final = 1024 * 1024
MAX_PLACES: Final = 8  # mirrors and the registry itself; more would be a very long wait
_OLD_KEYS: Final = ("https://index.{host}/v1/", "index.{host}", "https://{host}", "https://{host}/v1/")
"""Spellings under which docker keeps a login."""
_OWN: Final = re.compile(r"https://index\.([^/:]+)/v1/?")
"""The one under which it keeps the login of the registry it means by a name without a host."""


@dataclass(frozen=True, slots=True)
class Place:
    """One address that may have an image, the image's name there, and what to say to get in."""

    url: str
    repository: str
    credential: str = ""

    def __repr__(self) -> str:
        return f"Place({self.url!r}, {self.repository!r})"


@dataclass(frozen=True, slots=True)
class OciSettings:
    """`credentials` by host or host and folder (base64 of name and password); `rules` as in `registries.conf`.

    `unnamed` are the registries that are asked for a name without a host, in this order.
    """

    credentials: Mapping[str, str]
    rules: tuple[Mapping[str, Any], ...] = ()
    unnamed: tuple[str, ...] = ()
    helper: Callable[[str], str] = lambda _host: ""
    """The login that a helper program knows for a registry (base64 of name and password); empty for none."""

    def __repr__(self) -> str:
        return f"OciSettings({len(self.credentials)} credentials)"

    def places(self, reference: Reference) -> tuple[Place, ...]:
        """Where to ask for an image, mirrors first.

        Raises:
            TrustError: the person's own settings block its registry.
        """
        rule = self._rule(reference)
        if rule.get("blocked") is True:
            raise TrustError(f"your container settings block the registry of {reference.name}")
        own = _moved(reference, rule, rule)
        found = [_moved(reference, rule, mirror) for mirror in _tables(rule.get("mirror"))]
        there = self._place(own)
        places = [*(self._place(each) for each in found), there]
        if (other := beside(reference.host)) and own == reference.name:
            places.append(replace(there, url=address(other)))
        return tuple(places)[-MAX_PLACES:]

    def _place(self, name: str) -> Place:
        scheme, _, rest = name.rpartition("://")
        host, _, repository = rest.partition("/")
        url = address(host) if scheme != "https" else f"https://{host}"
        return Place(url, repository, self._credential(host, repository))

    def _credential(self, host: str, repository: str) -> str:
        parts = [host, *repository.split("/")]
        names = ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]
        names += [each.format(host=host) for each in _OLD_KEYS]
        return next((self.credentials[name] for name in names if name in self.credentials), "") or self.helper(host)

    def _rule(self, reference: Reference) -> Mapping[str, Any]:
        """The rule with the longest prefix."""
        matching = [rule for rule in self.rules if _matches(_prefix(rule), reference.name)]
        return max(matching, key=lambda rule: len(_prefix(rule)), default={})


async def oci_settings(environment: Mapping[str, str], runner: str) -> OciSettings:
    """Read what docker and podman would read for this person; `runner` says whose order of registries counts.

    Its `places` may ask a helper program: call it where waiting is no harm.
    """
    return await anyio.to_thread.run_sync(_read, environment, runner)


def _read(environment: Mapping[str, str], runner: str) -> OciSettings:
    home = Path(environment.get("HOME") or "/nonexistent")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    credentials: dict[str, str] = {}
    own: list[str] = []
    helpers: dict[str, str] = {}
    podmans = [environment.get("REGISTRY_AUTH_FILE") or f"/run/user/{os.getuid()}/containers/auth.json"]
    files = [docker / "config.json", config / "containers/auth.json", *map(Path, podmans)]
    for path in files if runner.startswith("podman") else reversed(files):  # the later one wins
        document = _json(path)
        auths = document.get("auths")
        for key, value in auths.items() if isinstance(auths, dict) else ():
            if found := _OWN.fullmatch(key):
                own.append(found[1])
            if isinstance(value, dict) and isinstance(value.get("auth"), str) and value["auth"]:
                credentials[key.rstrip("/") if "://" not in key else key] = value["auth"]
        helpers |= named_helpers(document)
    rules: list[Mapping[str, Any]] = []
    unnamed: tuple[str, ...] = ()
    chosen = environment.get("CONTAINERS_REGISTRIES_CONF")
    usual = [Path("/etc/containers/registries.conf"), config / "containers/registries.conf"]
    places = [Path(chosen)] if chosen else usual
    for path in places:
        for file in (path, *_drop_ins(path)):
            document = _toml(file)
            rules += _tables(document.get("registry"))
            unnamed = _texts(document.get("unqualified-search-registries")) or unnamed
    listed = [*_texts(_json(Path("/etc/docker/daemon.json")).get("registry-mirrors")),
              *_texts(_json(docker / "daemon.json").get("registry-mirrors"))]  # fmt: skip
    mirrors = [each.partition("://")[2].strip("/") for each in listed if each.startswith("https://")]
    return OciSettings(
        credentials,
        tuple(rules),
        unnamed if runner.startswith("podman") else (*mirrors, *own, *unnamed),
        partial(ask_helper, helpers, environment),
    )


def _drop_ins(path: Path) -> list[Path]:
    folder = path.with_name(f"{path.name}.d")
    return sorted(folder.glob("*.conf"))[:64] if folder.is_dir() else []


def _moved(reference: Reference, rule: Mapping[str, Any], place: Mapping[str, Any]) -> str:
    """The image's name where a rule or a mirror puts it."""
    location = place.get("location")
    if not isinstance(location, str) or not location:
        return reference.name
    return location + reference.name.removeprefix(_prefix(rule))


def _prefix(rule: Mapping[str, Any]) -> str:
    found = rule.get("prefix") or rule.get("location")
    return found if isinstance(found, str) else ""


def _matches(prefix: str, name: str) -> bool:
    return bool(prefix) and (name == prefix or name.startswith(f"{prefix}/"))


def _tables(value: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bounded(path, MAX_SETTINGS))
    except (FileNotFoundError, ConfigError, ValueError, RecursionError):
        return {}  # what the engine cannot read either, or has not got
    return found if isinstance(found, dict) else {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bounded(path, MAX_SETTINGS).decode())
    except (FileNotFoundError, ConfigError, ValueError, RecursionError):
        return {}
