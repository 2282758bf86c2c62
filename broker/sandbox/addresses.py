"""Names and addresses of hosts: in one spelling each, and which of them lie near the user.

Whatever some program could take for an address in disguise is no name.  What is judged is always the address that will
be dialled, after the name was resolved, and by our own table: libraries differ in what they call global.  Pure.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Final

NAME: Final = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
NUMBER_LIKE: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label of this form makes programs take the whole for an address: 127.1, 0x7f000001, 2130706433."""
DEVIANT: Final = frozenset("\u00df\u03c2\u200c\u200d\u1e9e")
"""Letters that the two versions of IDNA turn into different names."""
MAX_HOST: Final = 300  # a name has at most 253 characters; some more, so that an error can still show what is wrong

OWN_NETWORK_SUFFIXES: Final = (
    *("local", "lan", "home", "home.arpa", "internal", "intranet", "corp", "localdomain", "localhost"),
)
METADATA_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "metadata.azure.internal", "instance-data"})

METADATA: Final = tuple(
    map(IPv4Network, ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"))
)
"""Where clouds hand out credentials to whoever asks from inside."""
NOT_A_HOST: Final = tuple(map(IPv4Network, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")))
LOOPBACK: Final = IPv4Network("127.0.0.0/8")
OWN_NETWORKS: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")))
OTHER_SPECIAL: Final = tuple(
    map(
        IPv4Network,
        ("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    )
)
CONTAINER_PORTS: Final = frozenset({2375, 2376, 2377, 4243, 10250, 10255})
"""Docker's and the kubelet's: whoever reaches one of them can become root of its machine."""


def normal(host: str) -> str:
    """`host` in its one spelling: lower case, ASCII, without the final dot.  An address in dotted numbers passes.

    Raises:
        ValueError: it is no name of a host, or an address in a spelling that programs read differently.
    """
    if len(host) > MAX_HOST:
        raise ValueError("it is too long for a name")
    if not host.isascii():
        if DEVIANT & set(host):
            raise ValueError("programs turn it into different names: write it in its xn-- form")
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError as cause:
            raise ValueError("it is no name of a host") from cause
        if address_of(host.removesuffix(".")) is not None:
            raise ValueError("an address is written in plain digits")
    host = host.lower().removesuffix(".")
    if NAME.fullmatch(host) is None:
        raise ValueError("it is no name of a host")
    if address_of(host) is None and NUMBER_LIKE.fullmatch(host.rpartition(".")[2]) is not None:
        raise ValueError("programs may read it as an address: write an address as four decimal numbers")
    return host


def address_of(host: str) -> IPv4Address | None:
    """The address `host` is, written as four plain decimal numbers; any other spelling is none."""
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None


def of_own_network(name: str) -> bool:
    """Whether a name can only mean something near the user: it has no dot, or an ending that is never sold."""
    return "." not in name or name.endswith(tuple("." + suffix for suffix in OWN_NETWORK_SUFFIXES))


def lies_in(address: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(address in network for network in networks)


def is_public(address: IPv4Address) -> bool:
    """Whether it is an ordinary address of the public network."""
    return not lies_in(address, (*METADATA, *NOT_A_HOST, LOOPBACK, *OWN_NETWORKS, *OTHER_SPECIAL))


def never(address: IPv4Address, port: int) -> str:
    """What the address is that nothing may ever dial, whatever was granted; empty if something may."""
    if lies_in(address, METADATA):
        return "hands out credentials in a cloud"
    if lies_in(address, NOT_A_HOST):
        return "is of no single host"
    if port in CONTAINER_PORTS and not is_public(address):
        return "may be a container engine at that port, and whoever reaches one owns its machine"
    return ""
