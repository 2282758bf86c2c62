"""Sockets of a sandbox's network, made inside of it by a process that goes in and never comes back.

Every IPv4 address is made local there, so whatever a program dials arrives at a listener of ours, which can still tell
what was dialled.  Runs in a fork of the supervisor, before the server's first instruction.
"""

import errno
import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Sequence
from typing import Final

from broker.sandbox.hosts import PROXY_PORT
from broker.sandbox.kernel import CLONE_NEWNET, CLONE_NEWUSER, enter_namespace

ENTER_LIMIT: Final = 5  # seconds; it takes 3 ms
BACKLOG: Final = 64
NAME_PORT: Final = 53
MAX_PORTS: Final = 128

NS_GET_USERNS: Final = 0xB701
SIOCGIFFLAGS: Final = 0x8913
IFF_UP: Final = 1

RTM_NEWROUTE: Final = 24
REQUEST_ACK_CREATE: Final = 0x1 | 0x4 | 0x400
TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL = 255, 3, 254, 2
RTA_OIF: Final = 4
HEADER: Final = struct.Struct("=IHHII")


def send_listeners(channel: int, namespace: int, ports: Sequence[int]) -> None:
    """Enter `namespace`, make the listeners, send them to the daemon: the proxy's, one for each port, the names'."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ENTER_LIMIT)
    if len(ports) > MAX_PORTS:
        raise ValueError("too many ports")
    _enter(namespace)
    _check_loopback()
    _make_every_address_local()
    listeners = [_listener("127.0.0.1", PROXY_PORT), *(_listener("0.0.0.0", port) for port in ports)]  # noqa: S104
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("0.0.0.0", NAME_PORT))  # noqa: S104 - every address there is the sandbox's own
    passed = [one.fileno() for one in (*listeners, names)]
    with socket.socket(fileno=os.dup(channel)) as daemon:
        socket.send_fds(daemon, [json.dumps({"listeners": len(passed)}).encode()], passed)


def send_connection(channel: int, namespace: int, ports: Sequence[int]) -> None:
    """Enter `namespace`, connect to what listens there at the one port, send the connection to the daemon."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ENTER_LIMIT)
    (port,) = ports
    _enter(namespace)
    connection = socket.create_connection(("127.0.0.1", port), timeout=ENTER_LIMIT)
    connection.settimeout(None)
    with socket.socket(fileno=os.dup(channel)) as daemon:
        socket.send_fds(daemon, [b'{"connected": 1}'], [connection.fileno()])


def _enter(namespace: int) -> None:
    """First its owner, in which we may do anything, then the network itself."""
    owner = fcntl.ioctl(namespace, NS_GET_USERNS)
    if os.fstat(owner).st_ino != os.stat("/proc/self/ns/user").st_ino:
        enter_namespace(owner, CLONE_NEWUSER)
    enter_namespace(namespace, CLONE_NEWNET)


def _check_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
    if not struct.unpack("16sH14x", answer)[1] & IFF_UP:
        raise OSError(errno.ENETDOWN, "the loopback interface is down")


def _make_every_address_local() -> None:
    """`ip route add local 0.0.0.0/0 dev lo table local`, in the kernel's own words."""
    route = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, 0, 0, 0, TABLE_LOCAL, PROTOCOL_BOOT, SCOPE_HOST, TYPE_LOCAL, 0
    ) + struct.pack("=HHI", 8, RTA_OIF, socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, 0))
        kernel.send(HEADER.pack(HEADER.size + len(route), RTM_NEWROUTE, REQUEST_ACK_CREATE, 1, 0) + route)
        (code,) = struct.unpack_from("=i", kernel.recv(4096), HEADER.size)
    if code:
        raise OSError(-code, f"no route can be made: {os.strerror(-code)}")


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(BACKLOG)
    return listener
