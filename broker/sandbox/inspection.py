"""What an inspected server may ask of its hosts, and where its secrets are put in: rules that mean one thing each.

A path is matched in its parts, decoded; one that two programs could read in two ways is covered by no rule.  A secret
belongs to one host, one header, named methods and a path, and to no other place.  Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from broker.errors import SandboxError
from broker.model import Injection, Inspection, ServerName
from broker.sandbox.hosts import HostRule, HostRules, parse_rule

MAX_RULES: Final = 64
MAX_SECRETS: Final = 16
SHOWN: Final = 120
NAMED: Final = frozenset({"name", "suffix", "public"})
"""The kinds of grants that are inspected.  A host of the own network is granted by address or port and carried as is:
no certificate could be checked there."""

METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
WEBSOCKET: Final = "WEBSOCKET"
"""Stands for a request that wants to become a websocket: never meant by a rule that does not say so."""
HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
NO_HEADER_FOR_A_SECRET: Final = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect", "range"),
        *("accept-encoding", "content-encoding", "keep-alive", "proxy-authorization", "user-agent", "referer"),
    }
)
ENCODED_AGAIN: Final = re.compile(r"%[0-9A-Fa-f]{2}")
VALUE: Final = re.compile(r"[!-~]{8,4096}")  # shorter ones could not be kept out of answers without garbling them
FORM: Final = "write [METHOD,METHOD] HOST[:PORT][/PATH], like: GET,HEAD api.example.com/v1/*"

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as rules see it.  `target` is its path and query as they will be sent."""

    host: str
    port: int
    method: str
    target: str
    upgrade: bool = False

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def kind(self) -> str:
        return WEBSOCKET if self.upgrade else self.method


@dataclass(frozen=True, slots=True)
class RequestRule:
    """Methods (none: all but websockets), hosts and a path.  Only `parse_request_rule` makes one."""

    methods: frozenset[str]
    host: HostRule
    path: Path

    def __str__(self) -> str:
        methods = ",".join(sorted(self.methods)) + " " if self.methods else ""
        return f"{methods}{self.host}/{'/'.join(self.path)}"

    def covers(self, request: Request) -> bool:
        by_method = request.kind in self.methods if self.methods else not request.upgrade
        return by_method and self.host.covers(request.host, request.port) and covers_path(self.path, request.path)


@dataclass(frozen=True, slots=True)
class Secret:
    """One value, where it goes, and what the server holds instead of it."""

    name: str
    header: str
    rule: RequestRule
    value: str = field(repr=False)

    @property
    def placeholder(self) -> str:
        return placeholder(self.name)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the inspection of one server's network goes by.  `rules` empty: all but websockets, to the granted hosts."""

    rules: tuple[RequestRule, ...] = ()
    secrets: tuple[Secret, ...] = ()

    @classmethod
    def of(cls, server: ServerName, inspection: Inspection, hosts: HostRules, env: Mapping[str, str]) -> "Inspected":
        """Read what a person wrote, with the server's own values.

        Raises:
            SandboxError: it cannot be kept as it is written; the message names the key.
        """
        rules = request_rules(server, inspection, hosts)
        secrets = []
        for injection in inspection.secrets:
            if injection.name not in env:
                raise SandboxError(
                    f"[secrets.{injection.name}] of {server} has no value",
                    hint=f"add it as a variable: bulkhead add {server} --env {injection.name}=VALUE ...",
                )
            if VALUE.fullmatch(env[injection.name]) is None:
                raise SandboxError(
                    f"the value of {injection.name} of {server} cannot be put in by Bulkhead: "
                    "it must be 8 to 4096 visible ASCII characters",
                    hint=f"remove [secrets.{injection.name}]; the server then holds the value itself",
                )
            secrets.append(
                Secret(injection.name, injection.header.lower(), _scope(server, injection), env[injection.name])
            )
        return cls(rules, tuple(secrets))

    def allows(self, request: Request) -> bool:
        if not self.rules:
            return not request.upgrade
        return any(rule.covers(request) for rule in self.rules)


def request_rules(server: ServerName, inspection: Inspection, hosts: HostRules) -> tuple[RequestRule, ...]:
    """The rules of a document, checked against the hosts that were granted; its secrets are checked too.

    Raises:
        SandboxError: one of them may not be; the message names the key.
    """
    if len(inspection.rules) > MAX_RULES or len(inspection.secrets) > MAX_SECRETS:
        raise SandboxError(f"{server} has more than {MAX_RULES} rules for requests or {MAX_SECRETS} secrets")
    rules = tuple(parse_request_rule(text, f"egress.rules of {server}") for text in inspection.rules)
    for injection in inspection.secrets:
        scope = _scope(server, injection)
        if hosts.rule_for(scope.host.host, scope.host.port or 443) is None:
            raise SandboxError(
                f"secrets.{injection.name}.host of {server} is {injection.host}, which it may not reach",
                hint=f"bulkhead allow {server} {injection.host}",
            )
    return rules


def parse_request_rule(text: str, key: str) -> RequestRule:
    """`[METHODS] HOST[:PORT][/PATH]`, as a person writes it under `key`.

    Raises:
        SandboxError: it is not that, or its path could be read in two ways.
    """
    words = text.split()
    if len(words) not in (1, 2):
        raise SandboxError(f"{key}: {text[:SHOWN]!r} is no rule for requests", hint=FORM)
    host_text, slash, path = words[-1].partition("/")
    methods = frozenset(words[0].split(",")) if len(words) == 2 else frozenset[str]()
    if not all(METHOD.fullmatch(method) for method in methods):
        raise SandboxError(f"{key}: {words[0][:SHOWN]!r} is no list of methods", hint=FORM)
    host = parse_rule(host_text)
    if host.kind not in NAMED:
        raise SandboxError(f"{key}: {host} is of your own network, whose connections are not looked into", hint=FORM)
    return RequestRule(methods, host, _pattern(slash + path or "/*", key))


def covers_path(pattern: Path, path: str) -> bool:
    """Whether `path` is meant: a last `*` stands for anything below, another one for a single part."""
    try:
        parts = parts_of(path)
    except ValueError:
        return False
    open_ended = pattern[-1] == "*"
    if len(parts) < len(pattern) or (len(parts) > len(pattern) and not open_ended):
        return False
    fixed = pattern[:-1] if open_ended else pattern
    return all(part == wanted or (wanted == "*" and part) for wanted, part in zip(fixed, parts, strict=False))


def parts_of(path: str) -> Path:
    """The parts of a path, decoded.

    Raises:
        ValueError: programs could read it in different ways.
    """
    if not path.startswith("/"):
        raise ValueError("it is no path")
    parts = tuple(unquote(part, errors="strict") for part in path[1:].split("/"))
    for part in parts:
        if part.partition(";")[0] in (".", "..") or "/" in part or "\\" in part or ENCODED_AGAIN.search(part):
            raise ValueError("programs read it in different ways")
        if not part.isprintable():
            raise ValueError("it holds control characters")
    return parts


def placeholder(name: str) -> str:
    """What the server holds in the place of a value: no secret, and known for what it is wherever it turns up."""
    return f"bulkhead-placeholder-for-{name}"


def describe(inspection: Inspection) -> list[str]:
    """What a person agrees to, in sentences."""
    lines = ["its encrypted connections are opened and read by Bulkhead, with a certificate of this sandbox alone"]
    lines += [f"it may only ask: {rule}" for rule in inspection.rules]
    lines += [
        f"it holds a placeholder for {one.name}; the value is put into the header {one.header} of "
        f"{','.join(one.methods)} {one.host}{one.path}, and nowhere else"
        for one in inspection.secrets
    ]
    return lines


def _scope(server: ServerName, injection: Injection) -> RequestRule:
    key = f"secrets.{injection.name}"
    if HEADER.fullmatch(injection.header) is None or injection.header.lower() in NO_HEADER_FOR_A_SECRET:
        raise SandboxError(f"{key}.header of {server}: a secret cannot be put into {injection.header[:SHOWN]!r}")
    if not injection.methods or WEBSOCKET in injection.methods:
        raise SandboxError(f"{key}.method of {server} must name methods, and no websocket", hint='method = ["GET"]')
    rule = parse_request_rule(f"{','.join(injection.methods)} {injection.host}{injection.path}", f"{key} of {server}")
    if rule.host.kind != "name":
        raise SandboxError(f"{key}.host of {server} must be one host, not {rule.host}")
    if rule.host.port == 80:
        raise SandboxError(f"{key}.host of {server}: a secret goes only over TLS, and port 80 has none")
    return rule


def _pattern(path: str, key: str) -> Path:
    try:
        parts = parts_of(path)
    except ValueError as cause:
        raise SandboxError(f"{key}: the path {path[:SHOWN]!r} cannot be a rule: {cause}", hint=FORM) from cause
    if "?" in path or "#" in path or any("*" in part and part != "*" for part in parts):
        raise SandboxError(f"{key}: in {path[:SHOWN]!r} a star stands for a whole part only, and no query", hint=FORM)
    return parts
