"""The certificates of one sandbox: an authority made for it alone, that nobody outside it trusts.

Its key never leaves the daemon's memory and dies with the sandbox; what it signs is good for the hosts of this sandbox
as this sandbox sees them.
"""

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.sandbox.kernel import memory_file

LIFE: Final = timedelta(days=90)  # longer than any sandbox runs
EARLIER: Final = timedelta(hours=1)  # clocks inside are ours; programs that round down are not
MAX_CONTEXTS: Final = 64
HTTP_1: Final = "http/1.1"


class Authority:
    """Signs for one sandbox."""

    def __init__(self, now: datetime | None = None) -> None:
        self._begun = (now or datetime.now(UTC)) - EARLIER
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._signed("Bulkhead, this sandbox only", self._key.public_key(), None)
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def certificate(self) -> bytes:
        """What the sandbox trusts, as PEM."""
        return self._own.public_bytes(serialization.Encoding.PEM)

    def context(self, host: str) -> ssl.SSLContext:
        """How to be `host` to this sandbox."""
        known = self._contexts.get(host)
        if known is not None:
            return known
        while len(self._contexts) >= MAX_CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        made = self._contexts[host] = self._context(host)
        return made

    def _context(self, host: str) -> ssl.SSLContext:
        leaf = self._signed(host[:64], self._leaf_key.public_key(), host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([HTTP_1])
        context.num_tickets = 0  # one request per connection: nothing to resume
        key = self._leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = leaf.public_bytes(serialization.Encoding.PEM) + self.certificate
        # The library reads files only; this one has no name and is gone again at once.
        descriptor = memory_file("leaf", key + chain)
        try:
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context

    def _signed(self, name: str, key: ec.EllipticCurvePublicKey, host: str | None) -> x509.Certificate:
        """The authority's own certificate (no host), or that of a host.  Strict readers want every field of these."""
        is_authority = host is None
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bulkhead, this sandbox only")])
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begun)
            .not_valid_after(self._begun + LIFE)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), True)
            .add_extension(_usage(is_authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if host is not None:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return made.sign(self._key, hashes.SHA256())


def system_trust() -> ssl.SSLContext:
    """How to reach a host: whoever it says it is, the system must vouch for by name."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([HTTP_1])
    return context


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
