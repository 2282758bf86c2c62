"""A grant means one thing, and no spelling of an address passes for a name."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SandboxError
from broker.sandbox.addresses import address_of, is_public, never, normal
from broker.sandbox.hosts import HostRules, narrowest, parse_rule

names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,8}[a-z0-9])?){1,3}", fullmatch=True)
ports = st.integers(1, 65_535)
addresses = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("api.github.com", "name", "api.github.com"),
        ("API.GitHub.com.", "name", "api.github.com"),
        ("bücher.example", "name", "xn--bcher-kva.example"),
        ("*.github.com:8443", "suffix", "*.github.com:8443"),
        ("*.com.example", "suffix", "*.com.example"),
        ("127.0.0.1:5432", "address", "127.0.0.1:5432"),
        ("localhost:5432", "address", "127.0.0.1:5432"),
        ("nas:80", "lan", "nas:80"),
        ("printer.local:631", "lan", "printer.local:631"),
        ("lan:git.corp.example.com:443", "lan", "lan:git.corp.example.com:443"),
        ("public:*", "public", "public:*"),
    ],
)
def test_a_grant_is_read_and_written_in_one_way(text: str, kind: str, shown: str) -> None:
    rule = parse_rule(text)
    assert (rule.kind, str(rule)) == (kind, shown)
    assert parse_rule(shown) == rule


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("*", "it means every host"),
        ("*.*", "it means every host"),
        ("*:443", "it means every host"),
        ("*.com", "anybody can have a name under com"),
        ("*.co.uk", "anybody can have a name under co.uk"),
        ("*github.com", "a star stands only before a dot"),
        ("*.local", "hosts of your own network are granted one by one"),
        ("lan:*.example.com:80", "hosts of your own network are granted one by one"),
        ("*.1.2.3.4", "an address has no part that could be left open"),
        ("2130706433:80", "programs may read it as an address"),
        ("127.1:80", "programs may read it as an address"),
        ("0x7f.1:80", "programs may read it as an address"),
        ("0177.0.0.1:80", "programs may read it as an address"),
        ("1.2.3.4.5:80", "programs may read it as an address"),
        ("\uff11\uff12\uff17.0.0.1:80", "an address is written in plain digits"),
        ("1.2.3.4", "an address is granted with its port"),
        ("169.254.169.254:80", "it hands out credentials in a cloud"),
        ("168.63.129.16:80", "it hands out credentials in a cloud"),
        ("metadata.google.internal:80", "no server may reach it"),
        ("0.0.0.0:80", "it is of no single host"),
        ("255.255.255.255:80", "it is of no single host"),
        ("127.0.0.1:2375", "it may be a container engine at that port"),
        ("192.168.1.5:2376", "it may be a container engine at that port"),
        ("nas", "a host of your own network is granted with its port"),
        ("::1", "sandboxes reach the network by IPv4 only"),
        ("[::1]:80", "sandboxes reach the network by IPv4 only"),
        ("https://example.com", "it is no name of a host"),
        ("user@example.com", "it is no name of a host"),
        ("example.com\n", "it is no name of a host"),
        ("a..example.com", "it is no name of a host"),
        ("", "it is no name of a host"),
        ("faß.example", "programs turn it into different names"),
        ("example.com:0", "'0' is no port"),
        ("example.com:65536", "'65536' is no port"),
        ("example.com:*", "'*' is no port"),
        ("example.com:", "'' is no port"),
        ("example.com:3128", "port 3128 inside a sandbox is its own proxy's"),
    ],
)
def test_what_cannot_be_granted_is_refused_by_a_sentence(text: str, reason: str) -> None:
    with pytest.raises(SandboxError) as refused:
        parse_rule(text)
    assert reason in str(refused.value) and refused.value.hint


def inet_aton(text: str) -> bool:
    try:
        socket.inet_aton(text)
    except OSError:
        return False
    return True


@given(st.text(st.sampled_from("0123456789abcdefx.ABCDEFX"), min_size=1, max_size=24))
def test_what_the_c_library_takes_for_an_address_is_never_a_name(text: str) -> None:
    try:
        name = normal(text)
    except ValueError:
        return
    assert address_of(name) is not None or not inet_aton(text)


@given(addresses)
def test_no_address_near_the_user_counts_as_public(address: ipaddress.IPv4Address) -> None:
    if is_public(address):
        assert address.is_global and not address.is_multicast
        assert not never(address, 80)


@given(names, names)
def test_a_suffix_covers_what_lies_under_it_and_nothing_else(suffix: str, host: str) -> None:
    try:
        rule = parse_rule(f"*.{suffix}")
    except SandboxError:
        return
    assert rule.covers(f"a.{suffix}", 443)
    assert not rule.covers(suffix, 443) and not rule.covers(f"a{suffix}", 443)
    assert not rule.covers(f"{suffix}.{host}", 443) or f"{suffix}.{host}".endswith(f".{suffix}")


@given(names, ports, ports)
def test_a_name_is_covered_at_its_port_alone(name: str, port: int, other: int) -> None:
    try:
        rule = parse_rule(f"{name}:{port}")
    except SandboxError:
        return
    assert rule.covers(name, port)
    assert rule.covers(name, other) == (other == port)
    assert not rule.covers(f"x.{name}", port) and not rule.covers(f"x{name}", port)


@given(names, ports)
def test_the_narrowest_grant_allows_exactly_what_was_denied(name: str, port: int) -> None:
    rule = narrowest(name, port)
    assert rule is None or (rule.covers(name, port) and rule.kind in ("name", "lan", "address"))
    assert rule is not None or port == 3128 or name.endswith(".localhost")


def test_the_whole_public_network_is_neither_an_address_nor_near() -> None:
    rules = HostRules.of(["public:*"])
    assert rules.rule_for("example.com", 443) is not None
    for host, port in (("93.184.216.34", 443), ("nas", 80), ("printer.local", 80), ("example.com", 22)):
        assert rules.rule_for(host, port) is None


def test_the_whole_public_network_keeps_no_company() -> None:
    for hosts, folders, variables, named in (
        (["public:*"], ["/home/me/notes"], [], "/home/me/notes"),
        (["public:*"], [], ["TOKEN", "TZ"], "TOKEN"),
        (["public:*", "nas:80"], [], [], "nas:80"),
    ):
        with pytest.raises(SandboxError, match=named):
            HostRules.of(hosts).check_company("web", folders, variables)
    HostRules.of(["public:*", "example.com:8443"]).check_company("web", [], ["TZ", "LANG"])
    HostRules.of(["example.com"]).check_company("web", ["/home/me/notes"], ["TOKEN"])


def test_more_hosts_than_a_person_can_look_through_are_refused() -> None:
    with pytest.raises(SandboxError, match="more than 64 hosts"):
        HostRules.of([f"h{number}.example.com" for number in range(65)])
