"""Who a signing certificate speaks of.

Only certificates of known build services count: anybody with a mail address gets a certificate, and it says nothing
about a package.
"""

from types import MappingProxyType
from typing import Final

from cryptography.x509 import (
    Certificate,
    ExtensionNotFound,
    ObjectIdentifier,
    RFC822Name,
    SubjectAlternativeName,
    UniformResourceIdentifier,
    UnrecognizedExtension,
)

from broker.errors import TrustError
from broker.pin import Publisher

GITHUB: Final = "https://token.actions.githubusercontent.com"
GITLAB: Final = "https://gitlab.com"
GOOGLE: Final = "https://accounts.google.com"
CIRCLECI: Final = "https://oidc.circleci.com"
ISSUERS: Final = MappingProxyType({GITHUB: "GitHub", GITLAB: "GitLab", GOOGLE: "Google", CIRCLECI: "CircleCI"})

# Fulcio's extensions, 1.3.6.1.4.1.57264.1.N; up to 6 the value is bare text, from 8 on a DER UTF8String.
_ARC: Final = "1.3.6.1.4.1.57264.1"
_OLD_ISSUER, _ISSUER, _SIGNER, _RUNNER, _REPOSITORY, _COMMIT, _REF = 1, 8, 9, 11, 12, 13, 14
_REPOSITORY_ID, _OWNER_ID, _CONFIG = 15, 17, 18
_LAST_BARE = 6
_UTF8_STRING = 0x0C
MAX_TEXT: Final = 1024  # a longer name is no name


def known_issuer(certificate: Certificate) -> str:
    """The build service the certificate was issued for.

    Raises:
        TrustError: it is none that is known here.
    """
    issuer = _text(certificate, _ISSUER) or _text(certificate, _OLD_ISSUER)
    if issuer not in ISSUERS:
        raise TrustError(f"its certificate was issued for {issuer[:120]!a}, which is no build service known here")
    return issuer


def publisher(certificate: Certificate, log_index: int, signed_at: int) -> Publisher:
    """Read a certificate that was verified.

    Raises:
        TrustError: no known build service asked for it, or a value cannot be read.
    """
    repository = _text(certificate, _REPOSITORY)
    return Publisher(
        issuer=known_issuer(certificate),
        subject=_subject(certificate),
        repository=repository,
        repository_id=_text(certificate, _REPOSITORY_ID),
        owner_id=_text(certificate, _OWNER_ID),
        workflow=_workflow(certificate, repository),
        ref=_text(certificate, _REF),
        commit=_text(certificate, _COMMIT),
        runner=_text(certificate, _RUNNER),
        log_index=log_index,
        signed_at=signed_at,
    )


def _workflow(certificate: Certificate, repository: str) -> str:
    """The file in the repository that told the builder what to do; else the builder's own name for it."""
    config = _text(certificate, _CONFIG)
    if repository and config.startswith(f"{repository}/"):
        return config.removeprefix(repository).rpartition("@")[0].lstrip("/")
    return _text(certificate, _SIGNER).rpartition("@")[0] or _text(certificate, _SIGNER)


def _subject(certificate: Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    found = [*names.get_values_for_type(UniformResourceIdentifier), *names.get_values_for_type(RFC822Name)]
    if len(found) != 1 or len(found[0]) > MAX_TEXT:
        raise TrustError("its certificate does not name one subject")
    return found[0]


def _text(certificate: Certificate, number: int) -> str:
    """The value of one extension; empty when there is none."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ObjectIdentifier(f"{_ARC}.{number}"))
    except ExtensionNotFound:
        return ""
    assert isinstance(extension.value, UnrecognizedExtension)
    value = extension.value.value
    try:
        text = (value if number <= _LAST_BARE else _utf8_string(value)).decode()
    except ValueError as cause:
        raise TrustError(f"its certificate's value {number} is not text") from cause
    if len(text) > MAX_TEXT or not text.isprintable():
        raise TrustError(f"its certificate's value {number} is not text")
    return text


def _utf8_string(der: bytes) -> bytes:
    """The content of a DER UTF8String that is the whole of `der`."""
    if len(der) < 2 or der[0] != _UTF8_STRING:
        raise ValueError("not a UTF8String")
    size, start = der[1], 2
    if size & 0x80:
        count = size & 0x7F
        start += count
        if not 1 <= count <= 2 or len(der) < start:
            raise ValueError("not a length")
        size = int.from_bytes(der[2:start], "big")
    if len(der) - start != size:
        raise ValueError("bytes before or behind the text")
    return der[start:]
