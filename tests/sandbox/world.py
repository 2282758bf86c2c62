"""A world for sandboxes with a network: names, addresses, and two hosts on them, all on loopback.

What the daemon would look up and dial goes through tables here: no packet leaves the machine, whatever a test asks for.
"""

import asyncio
import io
import json
import ssl
import zipfile
from dataclasses import dataclass, field
from typing import Any

from broker.model import Fact
from broker.sandbox.egress.way import Outside
from broker.sandbox.egress.wire import BUFFER, Stream

GRANTED = "93.184.216.34"
OTHER = "93.184.216.35"
OWN = "198.41.0.10"  # of this machine, says the world
LOCAL_SERVICE = 5432
WHEEL = "toy-1.0.0-py3-none-any.whl"

NAMES = {
    "allowed.test": (GRANTED,),
    "api.wide.test": (GRANTED,),
    "other.test": (OTHER,),
    "shared.test": (GRANTED,),
    "rebind.test": ("127.0.0.1",),
    "meta.test": ("169.254.169.254",),
    "near.test": ("10.20.30.40",),
    "mine.test": (OWN,),
    "mixed.test": ("10.20.30.40", GRANTED),
    "dead.test": ("93.184.216.99",),
    "nas": ("10.20.30.40",),
}
HOSTS = ["allowed.test", "*.wide.test", "rebind.test", "meta.test", "near.test", "mine.test", "mixed.test",
         "dead.test", "allowed.test:8443", "127.0.0.1:5432", "nas:5000"]  # fmt: skip
"""What the tests grant: everything above but `other.test` and `shared.test`."""


@dataclass
class World:
    """Answers at every address that is listed; remembers what was looked up and dialled."""

    certificate: str
    key: str
    authority: str
    facts: list[Fact] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    _places: dict[tuple[str, int], int] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def start(self) -> "World":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        plain, secure = await self._serve(None), await self._serve(context)
        for address in (GRANTED, OTHER, "10.20.30.40", "127.0.0.1", OWN, "169.254.169.254"):
            for port in (80, LOCAL_SERVICE, 5000):
                self._places[address, port] = plain
            for port in (443, 8443):
                self._places[address, port] = secure
        return self

    @property
    def outside(self) -> Outside:
        own = frozenset({LOCAL_SERVICE + 1})
        return Outside(self._resolve, self._dial, lambda address: address == OWN, own, self._trust)

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def record(self, fact: Fact) -> None:
        self.facts.append(fact)

    def told(self) -> dict[str, Any]:
        facts = [
            {"method": fact.method, "target": fact.target, "body": fact.body,
             "verdict": fact.decision.verdict.value if fact.decision else "",
             "reason": fact.decision.reason if fact.decision else ""}
            for fact in self.facts
        ]  # fmt: skip
        return {"facts": facts, "looked_up": self.looked_up, "dialled": self.dialled}

    async def close(self) -> None:
        for server in self._servers:
            server.close()

    async def _serve(self, context: ssl.SSLContext | None) -> int:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _resolve(self, name: str) -> tuple[str, ...]:
        self.looked_up.append(name)
        try:
            return NAMES[name.removesuffix(".")]
        except KeyError:
            raise OSError("no such name") from None

    async def _dial(self, address: str, port: int) -> Stream:
        self.dialled.append(f"{address}:{port}")
        place = self._places.get((address, port))
        if place is None:
            raise ConnectionRefusedError(address)
        return Stream(*await asyncio.open_connection("127.0.0.1", place, limit=BUFFER))


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what it was asked for, as often as it is asked on one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = 0
            if fields.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    length += len(await reader.readexactly(size + 2)) - 2
                await reader.readline()
            else:
                length = len(await reader.readexactly(int(fields.get("content-length", "0"))))
            secured = writer.get_extra_info("ssl_object") is not None
            own = fields.get("authorization", "")
            if (package := packaged(lines[0].split(" ")[1], fields.get("host", ""), secured)) is not None:
                kind, body = package
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)))
                writer.write(body)
                await writer.drain()
                continue
            body = json.dumps({"hello": fields.get("host"), "line": lines[0], "tls": secured, "body": length,
                               "fields": sorted(fields), "own": own, "length": len(own)}).encode()  # fmt: skip
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()
            if fields.get("connection") == "close":
                break
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        pass  # whoever came has gone, or is no client
    finally:
        writer.close()


def packaged(path: str, host: str, secured: bool) -> tuple[bytes, bytes] | None:
    """One package for whoever installs: for npm its description, for pip and uv an index and a wheel."""
    here = f"{'https' if secured else 'http'}://{host}"
    if path == "/toy":
        dist = {"tarball": f"{here}/toy.tgz", "shasum": "0" * 40}
        version = {"name": "toy", "version": "1.0.0", "dist": dist}
        found = {"name": "toy", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        return b"application/json", json.dumps(found).encode()
    if path == "/simple/toy/":
        return b"text/html", f'<a href="{here}/{WHEEL}">{WHEEL}</a>'.encode()
    return (b"application/zip", wheel()) if path == f"/{WHEEL}" else None


def wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        told = "toy-1.0.0.dist-info"
        archive.writestr("toy.py", "")
        archive.writestr(f"{told}/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0.0\n")
        archive.writestr(f"{told}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{told}/RECORD", f"toy.py,,\n{told}/METADATA,,\n{told}/WHEEL,,\n{told}/RECORD,,\n")
    return data.getvalue()
