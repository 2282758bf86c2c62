"""Image references: `host/repository:tag@sha256:digest`, as engines read them.

A name without a host means what the person's own engine would make of it: podman's configured registries in their
order, else the registry that docker's reference grammar puts in the place of a missing one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker.errors import TrustError

UNNAMED: Final = "docker.io"
"""The host that docker's grammar writes before a name without one; it is part of the grammar and no setting, so it
has to stand somewhere, and stands only here.  Its registry answers at a host of its own."""
ANSWERS: Final = f"registry-1.{UNNAMED}"
_OFFICIAL: Final = "library"  # the same grammar: a name without a folder lies in this one
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::\d{{1,5}})?")
_PART: Final = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LOOPBACK: Final = re.compile(r"(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3})(?::\d+)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image somewhere.  `digest` is empty for a floating tag."""

    host: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def wanted(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def read_reference(text: str, unnamed: Sequence[str] = ()) -> tuple[Reference, ...]:
    """Every place the text may mean, in the order they are to be asked; `unnamed` are hosts for a name without one.

    Raises:
        TrustError: it is no image reference.
    """
    wrong = TrustError(f"{ascii(text)[:200]} is no image reference", hint="for example: HOST/NAME:TAG")
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise wrong
    head, slash, tail = rest.partition("/")
    named = slash and ("." in head or ":" in head or head == "localhost")
    host, path = (head, tail) if named else ("", rest)
    repository, colon, tag = path.partition(":")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > 255 or (colon and not _TAG.fullmatch(tag)):
        raise wrong
    if host and not _HOST.fullmatch(host):
        raise wrong
    found = Reference(host, repository, tag or ("" if digest else "latest"), digest)
    hosts = (host,) if host else tuple(unnamed) or (UNNAMED,)
    return tuple(_on(found, each) for each in hosts)


def address(host: str) -> str:
    """Where a registry answers.  Only one on this very machine is asked without TLS, as engines do."""
    return f"{'http' if _LOOPBACK.fullmatch(host) else 'https'}://{ANSWERS if host == UNNAMED else host}"


def _on(reference: Reference, host: str) -> Reference:
    official = host == UNNAMED and "/" not in reference.repository
    folder = f"{_OFFICIAL}/" if official else ""
    return replace(reference, host=host, repository=folder + reference.repository)
