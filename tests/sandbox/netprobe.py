"""What a server with some hosts tries on its network; runs inside a sandbox, on the standard library alone.

Standard input holds `{"certificate": text}`; standard output gets `{"controls": ..., "attempts": ...}`: for each,
whether it got through, and what it did or the error.
"""

import array
import json
import os
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from typing import Any

GRANTED, OTHER = "93.184.216.34", "93.184.216.35"
LIMIT = 4.0
CONTROLS: dict[str, Callable[[], object]] = {}
ATTEMPTS: dict[str, Callable[[], object]] = {}
CERTIFICATE = ""

PROXY = ("127.0.0.1", 3128)


def control(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    return lambda function: CONTROLS.setdefault(name, function)


def attempt(name: str, function: Callable[[], object]) -> None:
    ATTEMPTS[name] = function


def connected(place: tuple[str, int], family: int = socket.AF_INET, protocol: int = 0) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM, protocol)
    one.settimeout(LIMIT)
    one.connect(place)
    return one


def everything(one: socket.socket) -> bytes:
    data = b""
    while len(data) < 1 << 20:
        part = one.recv(65536)
        if not part:
            break
        data += part
    return data


def said(one: socket.socket, request: bytes) -> str:
    one.sendall(request)
    data = everything(one)
    return data.decode("latin-1") if b'"hello"' in data else ""


def request(host: str, more: str = "", path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n".encode("latin-1")


def plain(address: str, port: int, host: str, **how: Any) -> str:
    with connected((address, port), **how) as one:
        return said(one, request(host))


def secured(one: socket.socket, name: str | None, host: str = "allowed.test") -> str:
    context = ssl.create_default_context(cadata=CERTIFICATE)
    context.check_hostname = False
    with context.wrap_socket(one, server_hostname=name) as wrapped:
        return said(wrapped, request(host))


def direct_tls(address: str, name: str | None, port: int = 443) -> str:
    return secured(connected((address, port)), name)


def tunnel(target: str) -> socket.socket:
    one = connected(PROXY)
    one.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:
        part = one.recv(1)
        if not part:
            raise ConnectionError("the proxy said nothing")
        head += part
    if b" 200 " not in head.split(b"\r\n")[0]:
        rest = everything(one)
        one.close()
        raise PermissionError((head.split(b"\r\n")[0] + b" " + rest).decode("latin-1"))
    return one


def through(target: str, name: str | None = None, host: str = "") -> str:
    """By CONNECT, TLS inside where a name is given."""
    one = tunnel(target)
    with one:
        return secured(one, name) if name is not None else said(one, request(host or target.partition(":")[0]))


def proxied(raw: bytes) -> str:
    with connected(PROXY) as one:
        return said(one, raw)


def socks(host: str | bytes, port: int, name: str | None = None, kind: int = 3, command: int = 1) -> str:
    with connected(PROXY) as one:
        one.sendall(b"\5\1\0")
        assert one.recv(2) == b"\5\0"
        raw = host if isinstance(host, bytes) else bytes([len(host)]) + host.encode()
        one.sendall(bytes((5, command, 0, kind)) + raw + struct.pack(">H", port))
        code = one.recv(10)[1]
        if code:
            raise PermissionError(f"SOCKS says {code}")
        return secured(one, name) if name is not None else said(one, request("allowed.test"))


def asked(name: str, kind: int = 1, server: str = "127.0.0.1") -> tuple[int, int]:
    """The code and the number of records of an answer."""
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire + struct.pack(">HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(LIMIT)
        one.connect((server, 53))
        one.send(query)
        answer = one.recv(600)
    flags, _, records = struct.unpack(">HHH", answer[2:8])
    return flags & 15, records


def learn(name: str) -> str:
    return str(socket.getaddrinfo(name, 80, socket.AF_INET)[0][4][0])


# --- what must work ---------------------------------------------------------------------------------------------------

control("TLS to a granted host, as if there were no wall")(lambda: direct_tls(learn("allowed.test"), "allowed.test"))
control("HTTP to a granted host, as if there were no wall")(lambda: plain(learn("allowed.test"), 80, "allowed.test"))
control("a host under a granted suffix")(lambda: direct_tls(learn("api.wide.test"), "api.wide.test"))
control("a port that was granted")(lambda: direct_tls(learn("allowed.test"), None, 8443))
control("a service of this machine that was granted")(lambda: plain("127.0.0.1", 5432, "whatever"))
control("the same by its name")(lambda: plain("localhost", 5432, "whatever"))
control("a host of the own network that was granted")(lambda: plain(learn("nas"), 5000, "nas:5000"))
control("the public one of a name's addresses")(lambda: plain(learn("mixed.test"), 80, "mixed.test"))
control("TLS by CONNECT")(lambda: through("allowed.test:443", "allowed.test"))
control("another spelling of the name by CONNECT")(lambda: through("ALLOWED.Test.:443", "Allowed.TEST"))
control("HTTP by CONNECT")(lambda: through("allowed.test:80"))
control("a service of this machine by CONNECT")(lambda: through("127.0.0.1:5432"))
control("HTTP by the proxy")(lambda: proxied(request("x", path="http://allowed.test/a?b=c")))
control("TLS by SOCKS")(lambda: socks("allowed.test", 443, "allowed.test"))
control("TLS by SOCKS to an address that was learnt")(
    lambda: socks(socket.inet_aton(learn("allowed.test")), 443, "allowed.test", kind=1)
)


@control("a request with a body in chunks")
def _() -> object:
    body = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: no\r\n\r\n"
    with connected((learn("allowed.test"), 80)) as one:
        answer = said(one, b"POST / HTTP/1.1\r\nHost: allowed.test\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    return answer if '"body": 11' in answer else ""


@control("a request with a body of a length")
def _() -> object:
    raw = b"POST http://allowed.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    answer = proxied(raw)
    return answer if '"body": 200000' in answer else ""


@control("no IPv6 address, said at once")
def _() -> object:
    return asked("allowed.test", 28) == (0, 0) and asked("allowed.test") == (0, 1)


# --- what must not ----------------------------------------------------------------------------------------------------

attempt("dial a public address", lambda: plain(OTHER, 80, "other.test"))
attempt("dial a granted host's address without learning it", lambda: plain("93.184.216.36", 80, "allowed.test"))
attempt("dial a public address at the proxy's port", lambda: plain(OTHER, 3128, "other.test"))
attempt("dial the metadata service", lambda: plain("169.254.169.254", 80, "allowed.test"))
attempt("dial the own network", lambda: plain("10.20.30.40", 80, "allowed.test"))
attempt("dial a service of this machine", lambda: plain("127.0.0.1", 80, "allowed.test"))
attempt("dial it by IPv6", lambda: plain("::1", 5432, "x", family=socket.AF_INET6))
attempt("dial out by IPv6", lambda: plain("2606:2800:220:1::1", 80, "x", family=socket.AF_INET6))
attempt("dial 0.0.0.0", lambda: plain("0.0.0.0", 80, "allowed.test"))
attempt("dial a port that was not granted", lambda: plain(learn("allowed.test"), 5000, "allowed.test"))
attempt("dial the service's address by a name of it", lambda: plain(learn("rebind.test"), 80, "rebind.test"))
attempt("use a multipath connection", lambda: plain(learn("allowed.test"), 80, "allowed.test", protocol=262))
attempt("name an unlisted host over a listed address", lambda: plain(learn("allowed.test"), 80, "other.test"))
attempt("name a host that shares the address", lambda: plain(learn("allowed.test"), 80, "shared.test"))
attempt("name a listed host over an unlisted address", lambda: plain(OTHER, 80, "allowed.test"))
attempt("name no host", lambda: said(connected((learn("allowed.test"), 80)), b"GET / HTTP/1.0\r\n\r\n"))
attempt("name two hosts", lambda: said(
    connected((learn("allowed.test"), 80)), request("allowed.test", "Host: other.test\r\n")))  # fmt: skip
attempt("name an unlisted host in TLS", lambda: direct_tls(learn("allowed.test"), "other.test"))
attempt("name a host that shares the address in TLS", lambda: direct_tls(learn("allowed.test"), "shared.test"))
attempt("name no host in TLS", lambda: direct_tls(learn("allowed.test"), None))
attempt("name a listed host in TLS to an unlisted address", lambda: direct_tls(OTHER, "allowed.test"))
attempt("speak no TLS at its port", lambda: plain(learn("allowed.test"), 443, "allowed.test"))

for what, target in {
    "a public address": f"{OTHER}:443",
    "a granted host's address": f"{GRANTED}:80",
    "the metadata service": "169.254.169.254:80",
    "this machine": "127.0.0.1:80",
    "a decimal address": "2130706433:5432",
    "a hexadecimal address": "0x7f000001:5432",
    "an octal address": "0177.0.0.1:5432",
    "a short address": "127.1:5432",
    "an IPv6 address": "[::1]:5432",
    "a mapped address": "[::ffff:127.0.0.1]:5432",
    "this machine's name": "localhost:80",
    "an unlisted host": "other.test:443",
    "an unlisted port": "allowed.test:22",
    "a name that ends alike": "notallowed.test:443",
    "a name that begins alike": "allowed.test.other.test:443",
    "the suffix itself": "wide.test:443",
    "an unlisted host with a dot": "other.test.:443",
    "a name with a NUL": "allowed.test\0.other.test:443",
    "a name with a user": "allowed.test@other.test:443",
    "a name with a space": "allowed.test :443",
    "a listed name of this machine": "rebind.test:80",
    "a listed name of the metadata service": "meta.test:80",
    "a listed name of the own network": "near.test:80",
    "a listed name of this machine's public address": "mine.test:80",
}.items():  # fmt: skip
    attempt(f"CONNECT to {what}", lambda target=target: through(target))  # type: ignore[misc]

attempt("CONNECT and name another host in TLS", lambda: through("allowed.test:443", "other.test"))
attempt("CONNECT and name a granted other host in TLS", lambda: through("allowed.test:443", "api.wide.test"))
attempt("CONNECT and name no host in TLS", lambda: secured(tunnel("allowed.test:443"), None))
attempt("CONNECT and speak no TLS", lambda: said(tunnel("allowed.test:443"), request("allowed.test")))
attempt("CONNECT to port 80 and name another host", lambda: through("allowed.test:80", host="other.test"))
attempt("ask the proxy for an unlisted host", lambda: proxied(request("allowed.test", path="http://other.test/")))
attempt("ask the proxy for a path", lambda: proxied(request("allowed.test")))
attempt("ask the proxy for https", lambda: proxied(request("allowed.test", path="https://allowed.test/")))
attempt("ask the proxy with two lengths", lambda: proxied(request(
    "x", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "http://allowed.test/") + b"0\r\n\r\n"))  # fmt: skip
attempt("ask the proxy with two different lengths", lambda: proxied(request(
    "x", "Content-Length: 4\r\nContent-Length: 5\r\n", "http://allowed.test/") + b"abcde"))  # fmt: skip
attempt("ask the proxy with a folded line", lambda: proxied(request(
    "x", "A: b\r\n Host: other.test\r\n", "http://allowed.test/")))  # fmt: skip
attempt("ask the proxy with a space before a colon", lambda: proxied(request(
    "x", "Transfer-Encoding : chunked\r\n", "http://allowed.test/")))  # fmt: skip
attempt("SOCKS to the metadata service", lambda: socks(socket.inet_aton("169.254.169.254"), 80, kind=1))
attempt("SOCKS to a public address", lambda: socks(socket.inet_aton(OTHER), 80, kind=1))
attempt("SOCKS to an unlisted host", lambda: socks("other.test", 80))
attempt("SOCKS to an address as a name", lambda: socks("127.1", 5432))
attempt("SOCKS and name another host in TLS", lambda: socks("allowed.test", 443, "other.test"))
attempt("SOCKS to listen", lambda: socks("allowed.test", 80, command=2))
attempt("SOCKS to an IPv6 address", lambda: socks(b"\0" * 15 + b"\1", 5432, kind=4))
attempt("look up an unlisted name", lambda: asked("stolen-data.other.test") != (3, 0))
attempt("look up an unlisted name elsewhere", lambda: asked("stolen.example.com", server="8.8.8.8") != (3, 0))
attempt("look up text under a listed name", lambda: asked("stolen.allowed.test", 16) != (3, 0))
attempt("look up text of a listed name", lambda: asked("allowed.test", 16) != (0, 0))
attempt("look up a name of the own network", lambda: asked("near.test")[1])


@lambda function: attempt("send a second request on one connection", function)
def _() -> object:
    with connected((learn("allowed.test"), 80)) as one:
        one.sendall(b"GET /1 HTTP/1.1\r\nHost: allowed.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: other.test\r\n\r\n")
        return b"/2" in everything(one) or not b"never"


@lambda function: attempt("send a second request behind a body", function)
def _() -> object:
    first = b"POST http://allowed.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
    with connected(PROXY) as one:
        one.sendall(first + b"GET /2 HTTP/1.1\r\nHost: other.test\r\n\r\n")
        return b"/2" in everything(one)


@lambda function: attempt("pass the proxy's own fields on", function)
def _() -> object:
    more = "Proxy-Authorization: secret\r\nUpgrade: h2c\r\nX-Hop: 1\r\nConnection: x-hop\r\n"
    raw = f"GET http://allowed.test/ HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()
    answer = proxied(raw)
    assert answer, "it was not even answered"
    return any(name in answer for name in ("proxy-authorization", "upgrade", "x-hop"))


@lambda function: attempt("reach a datagram service", function)
def _() -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.sendto(b"hello", (OTHER, 443))
        return one.recv(10)


@lambda function: attempt("see an interface that leads out", function)
def _() -> object:
    return [name for _, name in socket.if_nameindex() if name != "lo"]


@lambda function: attempt("take a listener over", function)
def _() -> object:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("0.0.0.0", 443))
        one.listen()
        return True


@lambda function: attempt("find a descriptor of the daemon's", function)
def _() -> object:
    found = array.array("i", (int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2))
    return [
        fd for fd in found if os.path.lexists(f"/proc/self/fd/{fd}") and "socket" in os.readlink(f"/proc/self/fd/{fd}")
    ]


def tried(function: Callable[[], object]) -> tuple[bool, str]:
    try:
        got = function()
    except Exception as error:  # noqa: BLE001 - whatever stopped it is what is wanted
        return False, f"{type(error).__name__}: {error}"[:600]
    return bool(got), str(got)[:600]


if __name__ == "__main__":
    CERTIFICATE = json.load(sys.stdin)["certificate"]
    json.dump(
        {
            "controls": {name: tried(function) for name, function in CONTROLS.items()},
            "attempts": {name: tried(function) for name, function in ATTEMPTS.items()},
        },
        sys.stdout,
    )
