"""Image references: `host/repository:tag@sha256:digest`, as engines read them.

A name without a host means what the person's own engines were told it means, and nothing where they were told nothing:
no registry is written down here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker.errors import TrustError

_OFFICIAL: Final = "library"  # where a registry that takes no name without a folder keeps those
_ANSWERS: Final = "registry-1."  # before the name of a site that leaves its registry to a host beside it
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
    """Every place the text may mean, in the order they are to be asked.

    `unnamed` are hosts for a name without one, each with a folder or without.

    Raises:
        TrustError: it is no image reference, or has no host and there is none for it.
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
    if not host and not unnamed:
        raise TrustError(
            f"the image name {rest!a} does not say its registry, and no settings of docker or podman here do",
            hint=f"write it out (HOST/{path}), or name one under unqualified-search-registries in registries.conf",
        )
    return tuple(each for place in ((host,) if host else unnamed) for each in _on(found, place))


def address(host: str) -> str:
    """Where a registry answers.  Only one on this very machine is asked without TLS, as engines do."""
    return f"{'http' if _LOOPBACK.fullmatch(host) else 'https'}://{host}"


def beside(host: str) -> str:
    """The host that may have the registry of a site that has none itself; empty for one with a port of its own."""
    return "" if ":" in host or _LOOPBACK.fullmatch(host) else f"{_ANSWERS}{host}"


def _on(reference: Reference, place: str) -> Iterator[Reference]:
    host, _, folder = place.partition("/")
    repository = f"{folder}/{reference.repository}" if folder else reference.repository
    yield replace(reference, host=host, repository=repository)
    if "/" not in repository and not _LOOPBACK.fullmatch(host):
        yield replace(reference, host=host, repository=f"{_OFFICIAL}/{repository}")
