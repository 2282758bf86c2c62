"""The way to an authorization server: whose certificate counts, whose proxy is used, and where an answer ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.auth.places import Near, place_of
from broker.auth.problems import AuthError
from broker.auth.wire import Said, Wire
from broker.endpoints.http_reach import Guard, Origin, trusted

GOOD: Final = b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"a": 1}\n'
WITHIN: Final = 60.0
NOW: Final = datetime.now(UTC)


@asynccontextmanager
async def answering(said: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port that answers every request with these very bytes, and what it was sent."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(said)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], asked
    finally:
        server.close()


async def asked(url: str, dial: Callable[[Origin], httpx2.AsyncBaseTransport] = Guard) -> Said:
    async with asyncio.timeout(WITHIN):
        return await Wire(dial).get(place_of(url, Near.THIS_MACHINE, "issuer"))


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 9\r\ncontent-length: 0",
        b"content-length: 9\r\ncontent-length: 99",
        b"content-length: 9, 8",
        b"content-length: -9",
        b"content-length: 99",
        b"transfer-encoding: chunked, identity",
        b"transfer-encoding: chunked\r\ncontent-length: 9",
        b"a\x00b: c\r\ncontent-length: 9",
        b" folded\r\ncontent-length: 9",
    ],
)
async def test_an_answer_whose_end_can_be_read_in_two_ways_is_none(head: bytes) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n" + head + b'\r\n\r\n{"a": 1}\n') as (port, _):
        with pytest.raises(AuthError, match="could not be asked"):
            await asked(f"http://127.0.0.1:{port}/token")


async def test_what_follows_an_answer_is_the_answer_to_nothing() -> None:
    evil = b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"a": 2}\n'
    async with answering(GOOD + evil) as (port, sent):
        said = [await asked(f"http://127.0.0.1:{port}/token") for _ in range(2)]
        assert [one.value for one in said] == [{"a": 1}, {"a": 1}] and len(sent) == 2


@pytest.mark.claim("C99")
async def test_no_proxy_and_no_password_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password NETRC-SECRET\n")
    async with answering(GOOD) as (port, sent), answering(GOOD) as (proxy, taken):
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        assert (await asked(f"http://127.0.0.1:{port}/token")).value == {"a": 1}
        assert not taken and b"authorization" not in sent[0].lower()


# --- certificates ---


def certificate(folder: Path, name: str, days: int = 30, bits: int = 0) -> ssl.SSLContext:
    """A server that shows a certificate for this name, signed by itself; it lies at `folder/cert.pem`.

    With `bits` its key is one of RSA, of that size.
    """
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=60))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # it shows whatever it was given
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def trusting(folder: Path) -> Callable[[Origin], Guard]:
    """A way that takes the folder's certificate for an authority's; everything else is as it is."""

    async def resolve(_host: str, _port: int) -> list[IPv4Address]:
        return [IPv4Address("127.0.0.1")]

    context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    return lambda origin: Guard(origin, resolve, httpx2.AsyncHTTPTransport(verify=context, trust_env=False))


@pytest.mark.parametrize(
    ("name", "days", "bits", "known", "is_taken"),
    [
        ("localhost", 30, 0, True, True),
        ("localhost", 30, 2048, True, True),
        ("localhost", 30, 1024, True, False),
        ("other.example", 30, 0, True, False),
        ("localhost", -1, 0, True, False),
        ("localhost", 30, 0, False, False),
    ],
)
async def test_a_certificate_counts_for_its_name_in_its_time_with_a_strong_key_and_from_an_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: int, bits: int, *, known: bool, is_taken: bool
) -> None:
    context = certificate(tmp_path, name, days, bits)
    trusted.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))  # the environment makes nobody an authority
    async with answering(GOOD, context) as (port, sent):
        url = f"https://localhost:{port}/token"
        dial = trusting(tmp_path) if known else Guard
        if is_taken:
            assert (await asked(url, dial)).value == {"a": 1}
            return
        with pytest.raises(AuthError, match="could not be asked"):
            await asked(url, dial)
        assert not sent
