"""MCPB bundles for tests, and signatures on them by certificates the tests make."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
CODE = "console.log('hello', process.argv.slice(2), process.env.LEVEL)\n"


def manifest(**changes: Any) -> dict[str, Any]:
    config = {"command": "node", "args": ["${__dirname}/server/index.js", "--dir=${user_config.dir}"],
              "env": {"LEVEL": "${user_config.level}"}}  # fmt: skip
    return {
        "manifest_version": "0.3",
        "name": "my-bundle",
        "version": "1.0.0",
        "server": {"type": "node", "entry_point": "server/index.js", "mcp_config": config},
        "user_config": {"dir": {"type": "directory", "title": "d"}, "level": {"type": "string", "default": "low"}},
        **changes,
    }


def bundle(
    about: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    change: Callable[[zipfile.ZipFile], None] = lambda archive: None,
) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(about or manifest()))
        for name, text in (files or {"server/index.js": CODE}).items():
            archive.writestr(name, text)
        change(archive)
    return raw.getvalue()


def certificate(key: Key, name: str, issuer: x509.Certificate | None = None, by: Key | None = None) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        issuer.subject if issuer else subject, subject, key.public_key(), x509.random_serial_number(), now,
        now + timedelta(days=3650),
    )  # fmt: skip
    return builder.sign(by or key, SHA256())


def block(body: bytes, key: Key, of: x509.Certificate, *others: x509.Certificate) -> bytes:
    builder = PKCS7SignatureBuilder().set_data(body).add_signer(of, key, SHA256())
    for each in others:
        builder = builder.add_certificate(each)
    der = builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.Binary])
    return b"MCPB_SIG_V1" + struct.pack("<I", len(der)) + der + b"MCPB_SIG_END"
