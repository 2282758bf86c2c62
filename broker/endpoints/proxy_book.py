"""The proxy that some hosts are reached through: `proxy.toml`, which counts once a person said yes to it.

A proxy finds the addresses of names by itself, so nothing of an address can be judged here: what goes through it is
judged by its host, and only hosts that the document names go there.  The environment names no proxy.
"""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import PolicyError, SandboxError
from broker.sandbox.addresses import address_of, never, normal
from broker.sandbox.hosts import MAX_RULES, HostRules

PROXY: Final = "proxy.toml"
_HINT: Final = "see the section on proxies in the README"
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.-]{1,253}:[1-9][0-9]{0,4}/?")


class ProxyText(BaseModel):
    """`hosts` as they are granted to servers; whatever they do not name is asked directly."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    version: Annotated[int, Field(ge=1, le=1)]
    url: str
    hosts: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_RULES, strict=False)]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the hosts behind it.  Without a `url` there is none."""

    url: str = ""
    rules: HostRules = field(default_factory=lambda: HostRules(()))

    def serves(self, scheme: str, host: str, port: int) -> bool:
        """Whether this origin is asked through it; plain http never leaves this machine."""
        return bool(self.url) and scheme == "https" and self.rules.rule_for(host, port) is not None


def parse_proxy(data: bytes, source: str) -> Proxy:
    """Read the document.

    Raises:
        PolicyError: it is not TOML, or names something that is no proxy or no host.
    """
    try:
        said: dict[str, Any] = tomllib.loads(data.decode())
        text = ProxyText.model_validate(said)
        return Proxy(_address(text.url), HostRules.of(text.hosts))
    except ValidationError as cause:
        raise PolicyError(f"{source}: {_where(cause)} is not acceptable", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise PolicyError(f"{source} is not TOML", hint=_HINT) from None
    except SandboxError as cause:
        raise PolicyError(f"{source}: {cause}", hint=cause.hint or _HINT) from cause


def _where(problem: ValidationError) -> str:
    return repr(".".join(map(str, problem.errors(include_url=False, include_input=False)[0]["loc"])))


def _address(url: str) -> str:
    """The proxy's address, without a path.

    Raises:
        SandboxError: it is none, carries a password, or is where nothing may be sent.
    """
    if "@" in url:
        raise SandboxError("a proxy that wants a password cannot be used", hint=_HINT)
    try:
        parts = urlsplit(url if _ADDRESS.fullmatch(url) else "")
        host, port = normal(parts.hostname or ""), parts.port or 0
    except ValueError as cause:
        raise SandboxError("the proxy's address is not one", hint='url = "http://HOST:PORT"') from cause
    if (address := address_of(host)) is not None and (problem := never(address, port)):
        raise SandboxError(f"the proxy's address {problem}")
    return f"{parts.scheme}://{host}:{port}"


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...


class ProxyBook:
    """The one owner of this document."""

    def __init__(self, documents: Documents | None = None) -> None:
        """Raises `PolicyError` where the document is not acceptable."""
        self._documents = documents
        self.current = self._read()

    def reload(self) -> None:
        """Read it again.

        Raises:
            PolicyError: it is not acceptable; the old one stands.
        """
        self.current = self._read()

    def _read(self) -> Proxy:
        data = self._documents.load(PROXY) if self._documents is not None else None
        return Proxy() if data is None else parse_proxy(data, PROXY)
