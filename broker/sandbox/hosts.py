"""Which hosts a server may reach: what a person wrote, as rules that mean one thing each.

A pattern that means everything is no pattern: it is refused, and the one grant that does mean it, `public:*`, has a
name of its own and keeps no company.  Nothing near the user is ever reached through a name from outside: this machine
and its network only by an address or a name of the own network that was granted with its port.  Pure.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from broker.errors import SandboxError
from broker.sandbox.addresses import METADATA_NAMES, address_of, never, normal, of_own_network

Kind: TypeAlias = Literal["address", "registry", "lan", "name", "suffix", "public"]
KINDS: Final[tuple[Kind, ...]] = ("address", "registry", "lan", "name", "suffix", "public")
"""From narrow to wide."""

WEB_PORTS: Final = (80, 443)
PROXY_PORT: Final = 3128
"""Inside every sandbox with a network: where its proxy listens."""
MAX_RULES: Final = 64
MAX_TEXT: Final = 300
SHOWN: Final = 100

PUBLIC: Final = "public:*"
LAN: Final = "lan:"
PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
REGISTRY_LABELS: Final = frozenset(
    {
        *("ac", "co", "com", "edu", "go", "gob", "gouv", "gov", "id", "ltd", "me", "mil", "ne", "net", "nhs", "nom"),
        *("or", "org", "plc", "police", "sch"),
    }
)
"""Under a country's two letters these are registries, not owners: `*.co.uk` is as wide as `*.com`."""
HARMLESS_VARIABLES: Final = frozenset({"TZ", "LANG"})
FORMS: Final = "write a host as NAME, NAME:PORT, *.NAME, or ADDRESS:PORT"


@dataclass(frozen=True, slots=True)
class HostRule:
    """One grant.  Only `parse_rule` makes one; without a port it means the two of the web."""

    kind: Kind
    host: str
    port: int | None = None

    def __str__(self) -> str:
        if self.kind == "public":
            return PUBLIC
        mark = "*." if self.kind == "suffix" else ""
        if self.kind == "lan" and not of_own_network(self.host):
            mark = LAN
        return f"{mark}{self.host}" + (f":{self.port}" if self.port is not None else "")

    @property
    def ports(self) -> tuple[int, ...]:
        return WEB_PORTS if self.port is None else (self.port,)

    def names(self, host: str) -> bool:
        """Whether `host`, in its normal form, is meant at some port."""
        is_address = address_of(host) is not None
        match self.kind:
            case "name" | "lan" | "registry" | "address":
                return host == self.host
            case "suffix":
                return not is_address and host.endswith("." + self.host)
            case "public":
                return not is_address and not of_own_network(host)

    def covers(self, host: str, port: int) -> bool:
        """Whether `host`, in its normal form, may be reached at `port`."""
        return port in self.ports and self.names(host)


@dataclass(frozen=True, slots=True)
class HostRules:
    """All rules of one server, the narrowest first."""

    rules: tuple[HostRule, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "HostRules":
        """Parse a server's grants.

        Raises:
            SandboxError: one of them may not be, or there are too many.
        """
        rules = dict.fromkeys(map(parse_rule, texts))
        if len(rules) > MAX_RULES:
            raise SandboxError(f"more than {MAX_RULES} hosts cannot be granted to one server")
        return cls(tuple(sorted(rules, key=lambda rule: KINDS.index(rule.kind))))

    @classmethod
    def of_registries(cls, texts: Iterable[str]) -> "HostRules":
        """The hosts that the user's own configuration names as sources of packages, each `HOST:PORT`.

        Raises:
            SandboxError: one of them is no host that a tool in a box can reach, or there are too many.
        """
        rules = dict.fromkeys(map(parse_registry, texts))
        if len(rules) > MAX_RULES:
            raise SandboxError(f"more than {MAX_RULES} hosts are named as registries")
        return cls(tuple(sorted(rules, key=lambda rule: KINDS.index(rule.kind))))

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(map(str, self.rules))

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port at which some host may be reached, and those of the web, so that a denial there is seen."""
        return tuple(sorted({port for rule in self.rules for port in rule.ports} | set(WEB_PORTS)))

    @property
    def public(self) -> bool:
        return any(rule.kind == "public" for rule in self.rules)

    def rule_for(self, host: str, port: int) -> HostRule | None:
        """The narrowest rule that covers it."""
        return next((rule for rule in self.rules if rule.covers(host, port)), None)

    def names(self, host: str) -> bool:
        """Whether the server may learn the address of `host`."""
        return any(rule.names(host) for rule in self.rules)

    def check_company(self, server: str, folders: Collection[str], variables: Collection[str]) -> None:
        """The whole public network goes with nothing private: what a server has, it could then tell anybody.

        Raises:
            SandboxError: it was granted beside a folder, a variable or a host of the own network, which are named.
        """
        near = [str(rule) for rule in self.rules if rule.kind in ("address", "lan")]
        kept = [*sorted(folders), *sorted(set(variables) - HARMLESS_VARIABLES), *near]
        if self.public and kept:
            raise SandboxError(
                f"{server} cannot have {PUBLIC} and {', '.join(kept)}: it could send what it sees there to anybody",
                hint="grant the hosts it needs by name, or leave the others away",
            )


def parse_rule(text: str) -> HostRule:
    """A host as a person grants it: `NAME`, `NAME:PORT`, `*.NAME`, `ADDRESS:PORT`, `lan:NAME:PORT` or `public:*`.

    Raises:
        SandboxError: it is none of these, means everything, or is something no server may reach.
    """
    try:
        return HostRule("public", "*") if text == PUBLIC else _parse(text)
    except _Refusal as refusal:
        raise SandboxError(
            f"{text[:SHOWN]!r} cannot be granted as a host: {refusal.reason}", hint=refusal.hint
        ) from refusal.__cause__


def parse_registry(text: str) -> HostRule:
    """A source of packages, `HOST:PORT`, that the user's own configuration names: it counts wherever it lies.

    Raises:
        SandboxError: no tool in a box may reach it, or none can.
    """
    try:
        rule = _parse(text)
        if rule.kind == "suffix" or rule.port is None:
            raise _Refusal("it is not one host with its port", "correct the registry in npm's, uv's or pip's settings")
    except _Refusal as refusal:
        raise SandboxError(
            f"packages cannot be fetched from {text[:SHOWN]!r}: {refusal.reason}", hint=refusal.hint
        ) from refusal.__cause__
    return rule if rule.kind == "address" else HostRule("registry", rule.host, rule.port)


def narrowest(host: str, port: int) -> HostRule | None:
    """The grant that would allow exactly this and no more; None if no grant can."""
    web = port in WEB_PORTS and address_of(host) is None and not of_own_network(host)
    try:
        return parse_rule(host if web else f"{host}:{port}")
    except SandboxError:
        return None


class _Refusal(Exception):
    def __init__(self, reason: str, hint: str = FORMS) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def _parse(text: str) -> HostRule:
    if len(text) > MAX_TEXT or "/" in text or "@" in text:
        raise _Refusal("it is no name of a host")
    marked = text.startswith(LAN)
    host, colon, port_text = text.removeprefix(LAN).rpartition(":")
    if not colon:
        host, port_text = port_text, ""
    if ":" in host or "[" in host:
        raise _Refusal("sandboxes reach the network by IPv4 only", "grant the host by its name or its IPv4 address")
    port = _port(port_text) if colon else None
    if host.startswith("*"):
        return _suffix(host, port, marked)
    name = _normal(host)
    if name == "localhost":  # the name is in every /etc/hosts, so a program asks nobody and dials this address
        name = "127.0.0.1"
    if (address := address_of(name)) is not None:
        if port is None:
            raise _Refusal("an address is granted with its port", f"write {name}:PORT")
        if reason := never(address, port):
            raise _Refusal(f"it {reason}", "no grant can allow this")
        return HostRule("address", name, port)
    if name in METADATA_NAMES or name.endswith(".localhost"):
        raise _Refusal("no server may reach it", "no grant can allow this")
    if not marked and not of_own_network(name):
        return HostRule("name", name, port)
    if port is None:
        raise _Refusal("a host of your own network is granted with its port", f"write {text[:SHOWN]}:PORT")
    return HostRule("lan", name, port)


def _suffix(host: str, port: int | None, marked: bool) -> HostRule:
    everything = f"the grant for every public host is {PUBLIC}; it goes with no folder and no variable"
    if not host.startswith("*.") or "*" in host[2:]:
        means = "it means every host" if set(host) <= set("*.") else "a star stands only before a dot"
        raise _Refusal(means, everything)
    name = _normal(host[2:])
    if address_of(name) is not None:
        raise _Refusal("an address has no part that could be left open")
    if marked or of_own_network(f"any.{name}"):
        raise _Refusal("hosts of your own network are granted one by one", "write HOST:PORT for each")
    labels = name.split(".")
    if len(labels) == 1 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in REGISTRY_LABELS):
        raise _Refusal(f"anybody can have a name under {name}, so it means everybody", everything)
    return HostRule("suffix", name, port)


def _normal(host: str) -> str:
    try:
        return normal(host)
    except ValueError as cause:
        raise _Refusal(str(cause)) from cause


def _port(text: str) -> int:
    if PORT.fullmatch(text) is None or int(text) > 65_535:
        raise _Refusal(f"{text[:20]!r} is no port", "one number from 1 to 65535 stands for one port")
    if int(text) == PROXY_PORT:
        raise _Refusal(f"port {PROXY_PORT} inside a sandbox is its own proxy's", "no grant can allow this")
    return int(text)
