"""Commits and tags as git keeps them: whether one carries a signature, of which kind, and what exactly was signed."""

from typing import Final

BEGINS: Final = {
    "OpenPGP": b"-----BEGIN PGP SIGNATURE-----",
    "SSH": b"-----BEGIN SSH SIGNATURE-----",
    "X.509": b"-----BEGIN SIGNED MESSAGE-----",
}


def signature_of(kind: str, text: bytes) -> str:
    """What a raw `commit` or `tag` is signed by, as `commit: SSH`; empty if by nothing."""
    signed = text.partition(b"\n\n")[0] if kind == "commit" else text
    return next((f"{kind}: {how}" for how, begin in BEGINS.items() if begin in signed), "")


def parts_of(kind: str, text: bytes, how: str) -> tuple[bytes, bytes]:
    """What was signed, and the signature.

    Raises:
        ValueError: it carries no such signature.
    """
    if kind == "commit":
        return _commit(text)
    at = text.index(BEGINS[how])
    return text[:at], text[at:]


def _commit(text: bytes) -> tuple[bytes, bytes]:
    """The signature stands in a header whose lines go on with a space."""
    head, blank, body = text.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    inside = b""
    for line in head.split(b"\n"):
        name, _, rest = line.partition(b" ")
        inside = name if name else inside
        if inside == b"gpgsig":
            signature.append(rest)
        elif inside != b"gpgsig-sha256":
            kept.append(line)
    return b"\n".join(kept) + blank + body, b"\n".join(signature)
