"""Which labels of a server count: those a person accepted, else those of a shipped file, else the worst case.

What a person accepted holds for one publisher and one catalog: other definitions are asked about anew, and until then
count as the worst case.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from broker.errors import ConfigError, PolicyError
from broker.flow.label_file import Accepted
from broker.flow.labels import UNLABELLED, ServerLabels
from broker.flow.proposal import Guess, guess
from broker.flow.store import LabelBook
from broker.house import House
from broker.model import JsonObject
from broker.pin import Pin, PinnedArtifact
from broker.protocol.catalog import Catalog
from broker.registry import Registry, Server

Basis: TypeAlias = Literal["accepted", "shipped", "worst"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The labels that count, on what basis, and why what a person accepted once does not."""

    basis: Basis
    labels: ServerLabels
    lapsed: str = ""


def publisher_of(artifact: PinnedArtifact) -> str:
    """Who a package comes from, as far as anybody can say: what accepted labels are bound to."""
    by = artifact.publisher
    whose = (by.issuer, by.repository_id or by.repository or by.subject) if by is not None else ()
    source = artifact.git.url if artifact.git is not None else artifact.registry
    return " ".join(word for word in (artifact.kind, artifact.name, source, *whose) if word)


def shipped(book: LabelBook, artifact: PinnedArtifact) -> ServerLabels:
    """The labels of the shipped file for this very package; a copy of it from a repository is not it."""
    if artifact.git is not None:
        return UNLABELLED
    return book.of(artifact.kind, artifact.name, artifact.publisher.repository if artifact.publisher else "")


def standing(house: House, server: Server, pin: Pin) -> Standing:
    """What counts now, for a server with this document and pin."""
    if not server.grants.boxed:  # whoever knows what it does knows it of a server in a sandbox
        return Standing("worst", UNLABELLED, "it runs outside of every sandbox")
    found = _standing(house, pin)
    keeps, elsewhere = server.grants.state != "none", pin.artifact.kind == "remote"
    return Standing(
        found.basis, found.labels.reaching(server.grants.hosts, elsewhere=elsewhere, keeps=keeps), found.lapsed
    )


def _standing(house: House, pin: Pin) -> Standing:
    lapsed = ""
    try:
        accepted = house.registry.accepted_labels(pin.server)
    except (ConfigError, PolicyError) as problem:
        accepted, lapsed = None, f"what was accepted cannot be read: {problem}"
    if accepted is not None:
        lapsed = _lapsed(accepted, pin)
        if not lapsed:
            return Standing("accepted", accepted.labels)
    known = shipped(house.labels, pin.artifact)
    if known is UNLABELLED:
        return Standing("worst", UNLABELLED, lapsed)
    return Standing("shipped", known.hinted(tools_of(house.registry, pin)), lapsed)


def _lapsed(accepted: Accepted, pin: Pin) -> str:
    if pin.launch.dev:
        return "its code may change from day to day"
    if accepted.publisher != publisher_of(pin.artifact):
        return "what was accepted was for another publisher"
    if accepted.catalog != pin.catalog:
        return "its definitions are not those for which labels were accepted"
    return ""


def proposed(house: House, pin: Pin) -> dict[str, Guess]:
    """What a person may accept, tool by tool: what the shipped file says, and a guess where it says nothing."""
    known = shipped(house.labels, pin.artifact).tools
    found: dict[str, Guess] = {}
    for tool in tools_of(house.registry, pin):
        name = str(tool.get("name", ""))
        if name in known:
            found[name] = Guess(known[name], (("source", "Bulkhead's own label of this package"),)).hinted(tool)
        else:
            made = guess(tool)
            found[name] = found[name].joined(made) if name in found else made
    return found


def tools_of(registry: Registry, pin: Pin) -> tuple[JsonObject, ...]:
    """Every definition in any view of the agreed catalog."""
    catalog: Catalog = registry.catalog(pin.server)
    return tuple(tool for view in catalog.views.values() for tool in view.tools)
