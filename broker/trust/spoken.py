"""What is known about who made a package, in words; and, as plainly, what is not.

Names in a certificate come from outside, so they are bounded and shown as plain ASCII.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from broker.pin import EvidenceRecord, PinnedArtifact, Publisher

_WHAT = {
    "signature": "the registry's signature",
    "publication": "the registry's statement that it published these bytes",
    "provenance": "who built it",
}
OLD_DAYS: Final = 90  # past it a person is told that roots of trust may have changed
_NAMES = {"signature": "registry signature", "publication": "statement of publication", "provenance": "provenance"}
_NOBODY = "not verified: who published it"


def about_publisher(artifact: PinnedArtifact) -> list[str]:
    """The lines a person is shown about a package's evidence."""
    publisher = artifact.publisher
    lines = _built_by(publisher) if publisher else []
    for record in artifact.evidence:
        if (record.kind == "provenance" and publisher) or (record.kind == "publication" and record.state != "verified"):
            continue  # said already, or a lack that the line about its builder implies
        lines.append(_NOBODY + _why(record) if record.kind == "provenance" else _other(record))
    if not publisher and not any(record.kind == "provenance" for record in artifact.evidence):
        lines.append(f"{_NOBODY} (no signature or provenance was checked)")
    signed = sum(package.signature == "verified" for package in artifact.packages)
    if signed:
        lines.append(f"verified: the registry's signature on {signed} of {len(artifact.packages)} packages")
    lines += [f"who built its {len(artifact.packages)} packages: {told}" for told in _builders(artifact)]
    if artifact.basis and artifact.basis.age_days > OLD_DAYS:
        lines.append(f"note: {age_sentence(artifact.basis.age_days)}")
    if artifact.maintainers:
        names = ", ".join(map(plain, artifact.maintainers[:8]))
        lines.append(f"maintainers, says the index: {names}")
    return lines


def about_evidence(artifact: PinnedArtifact) -> list[str]:
    """What was verified when it was pinned, in a few lines: of the package that is run, and of all it needs."""
    lines = [f"{_NAMES[record.kind]}: {record.state}" for record in artifact.evidence]
    states = Counter(package.signature for package in artifact.packages)
    if artifact.evidence and len(artifact.packages) > 1:
        said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        lines.append(f"registry signatures of its {len(artifact.packages)} packages: {said}")
    lines += [f"provenance of its {len(artifact.packages)} packages: {told}" for told in _builders(artifact)]
    if artifact.basis:
        lines.append(f"judged by roots of trust that were {artifact.basis.age_days} days old")
    return lines


def _builders(artifact: PinnedArtifact) -> list[str]:
    """How much is known about who built the packages of a closure; nothing where nobody was asked, or there is one."""
    states = Counter(package.provenance.state for package in artifact.packages if package.provenance)
    if len(artifact.packages) < 2 or not states:
        return []
    return [", ".join(f"{count} {state}" for state, count in sorted(states.items()))]


def age_sentence(age_days: int) -> str:
    """How old the roots of trust are, and what to do once they are old."""
    old = "; update Bulkhead, which brings newer ones" if age_days > OLD_DAYS else ""
    return f"the roots of trust are {age_days} days old{old}"


def plain(text: str, limit: int = 160) -> str:
    """Somebody else's text on one line."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")


def _built_by(publisher: Publisher) -> list[str]:
    source = publisher.repository or publisher.subject
    where = f"{plain(source)}, {plain(publisher.workflow)}" if publisher.workflow else plain(source)
    ids = f"owner {plain(publisher.owner_id)}, repository {plain(publisher.repository_id)}"
    when = datetime.fromtimestamp(publisher.signed_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"verified: built by {where}, as its certificate from {publisher.issuer} says",
        f"built: at {plain(publisher.ref) or 'no named ref'}, commit {plain(publisher.commit) or 'not named'}, on "
        f"{plain(publisher.runner) or 'an unnamed'} runner; signed {when}, log entry {publisher.log_index}",
    ]
    return [lines[0] + f" ({ids})", lines[1]] if publisher.owner_id else lines


def _other(record: EvidenceRecord) -> str:
    verdict = "verified" if record.state == "verified" else "not verified"
    return f"{verdict}: {_WHAT[record.kind]}{'' if record.state == 'verified' else _why(record)}"


def _why(record: EvidenceRecord) -> str:
    if record.state == "missing":
        said = "there is none"
    elif record.state == "unavailable":
        return f" ({plain(record.detail) or 'the index cannot say'})"
    else:
        said = record.state
    return f" ({said}{': ' + plain(record.detail) if record.detail else ''})"
