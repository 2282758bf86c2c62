"""Is it still from the same hands: an agreed package against the one that would replace it.

People are told apart by the numbers their forge gave them and never gives again, so that a renamed repository is no
alarm and a name that somebody else took over is one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from broker.pin import EvidenceKind, EvidenceState, PackageRef, PinnedArtifact, Provenance, Publisher
from broker.trust.oci_changes import image_changes
from broker.trust.spoken import plain
from broker.trust.versions import older

Action: TypeAlias = Literal["block", "consent", "notify"]

COOLDOWN_DAYS: Final = 7.0  # most packages that were taken over are found and withdrawn within a week
_DAY = 86400.0
_TAGS: Final = "refs/tags/"
_OPENPGP: Final = ": OpenPGP"  # a signature that is checked only where the key is in the user's ring
_HOSTED: Final = frozenset({"github-hosted", "gitlab-hosted"})

ACTIONS: Final[MappingProxyType[str, Action]] = MappingProxyType({
    "VERSION_REPUBLISHED": "block",
    "BROWSER_CHANGED": "block",
    "SIG_INVALID": "block",
    "SIG_DROPPED": "block",
    "PROV_INVALID": "block",
    "PROV_DROPPED": "block",
    "PUBLISHER_CHANGED": "block",
    "OTHER_PACKAGE": "consent",
    "NEW_VERSION": "consent",
    "DOWNGRADE": "consent",
    "NEW_FILE": "consent",
    "SIG_UNAVAILABLE": "consent",
    "PROV_UNAVAILABLE": "consent",
    "REPO_CHANGED": "consent",
    "SIGNER_CHANGED": "consent",
    "WORKFLOW_CHANGED": "consent",
    "BUILT_FROM_BRANCH": "consent",
    "SELF_HOSTED_RUNNER": "consent",
    "MAINTAINERS_CHANGED": "consent",
    "NEW_DEPENDENCIES": "consent",
    "NEW_INSTALL_SCRIPT": "consent",
    "NEW_PTH_IMPORT": "consent",
    "BUNDLED": "consent",
    "IMAGE_LAYERS": "consent",
    "IMAGE_ENTRYPOINT": "consent",
    "IMAGE_USER": "consent",
    "IMAGE_FOLDER": "consent",
    "IMAGE_ENV": "consent",
    "COOLDOWN": "consent",
    "REPO_RENAMED": "notify",
})  # fmt: skip

# What resolving notes about code that wants to run outside the server: whose it is, and what it hooks into.
_HOOKS: Final = (
    ("NEW_INSTALL_SCRIPT", re.compile(r"(\S+) \S+ has a script ('\w+')")),
    ("NEW_INSTALL_SCRIPT", re.compile(r"(\S+) \S+ (would build native code)")),
    ("NEW_PTH_IMPORT", re.compile(r"(\S+) wants (.+) to run at every start of Python")),
    ("BUNDLED", re.compile(r"'(\S+)' is (bundled inside another package)")),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was: what it is called, and a sentence for a person."""

    code: str
    text: str

    @property
    def action(self) -> Action:
        return ACTIONS[self.code]


def compare(
    old: PinnedArtifact | None, new: PinnedArtifact, *, now: float, cooldown_days: float = COOLDOWN_DAYS
) -> tuple[Finding, ...]:
    """What a person must know, or may not override, before `new` takes the place of `old`.

    `now` is seconds since the epoch.  Without an `old`, only what can be said of a package alone.
    """
    same = old is not None and (old.kind, old.name) == (new.kind, new.name)
    findings = list(_invalid(new))
    if old is None or not same:
        if old is not None:
            findings.append(Finding("OTHER_PACKAGE", f"it was {old.kind} {plain(old.name)}, it would be "
                                                     f"{new.kind} {plain(new.name)}"))  # fmt: skip
        return (*findings, *_young(new, now, cooldown_days))
    findings += _republished(old, new)
    findings += _version(old, new)
    findings += _dropped(old, new)
    findings += _signer(old, new)
    if old.publisher and new.publisher:
        findings += _publisher(old.publisher, new.publisher)
    findings += _closure(old, new)
    if old.image and new.image:
        findings += [Finding(code, text) for code, text in image_changes(old.image, new.image)]
    if _identity(old) != _identity(new):
        findings += _young(new, now, cooldown_days)
    return tuple(findings)


def refusals(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those nobody's yes lifts."""
    return tuple(finding for finding in findings if finding.action == "block")


def _invalid(new: PinnedArtifact) -> Iterator[Finding]:
    for record in new.evidence:
        if record.state == "invalid":
            yield Finding(f"{_short(record.kind)}_INVALID", f"{plain(new.name)}: {plain(record.detail)}")
    for package in new.packages:
        if package.signature == "invalid":
            yield Finding("SIG_INVALID", f"{_named(package)}: the registry's signature is not for these bytes")
        if package.provenance and package.provenance.state == "invalid" and package.name != new.name:
            yield Finding("PROV_INVALID", f"{_named(package)}: the attestation of who built it does not hold")


def _republished(old: PinnedArtifact, new: PinnedArtifact) -> Iterator[Finding]:
    """A version is one set of bytes for ever; for Python, each file of it is."""
    if old.kind == "bundle" and old.version == new.version and old.tree != new.tree:
        yield Finding("VERSION_REPUBLISHED", f"{plain(new.name)} {plain(new.version)} now has other bytes")
    known = {_file(old, package): package for package in old.packages}
    for package in new.packages:
        before = known.get(_file(new, package))
        if before is not None and before.integrity != package.integrity:
            yield Finding("VERSION_REPUBLISHED", f"{_named(package)} now has other bytes")
    fetched = {(build.name, build.version, build.by): build.result for build in old.builds if build.hosts}
    for build in new.builds:
        was = fetched.get((build.name, build.version, build.by), "")
        if build.result and was and build.result != was:
            said = f"the browser that {plain(build.name)} {plain(build.version)} fetches now has other bytes"
            yield Finding("BROWSER_CHANGED", said)
    if old.kind == "pypi":
        files = {(package.name, package.version): package.note for package in old.packages}
        for package in new.packages:
            if files.get((package.name, package.version), package.note) != package.note:
                yield Finding("NEW_FILE", f"{_named(package)} would come from another file, {plain(package.note)}")


def _file(artifact: PinnedArtifact, package: PackageRef) -> tuple[str, str, str]:
    return package.name, package.version, package.note if artifact.kind == "pypi" else ""


def _version(old: PinnedArtifact, new: PinnedArtifact) -> Iterator[Finding]:
    if old.version == new.version:
        return
    step = f"{plain(old.version)} -> {plain(new.version)}"
    yield Finding("NEW_VERSION", step)
    if older(new.kind, new.version, old.version):
        yield Finding("DOWNGRADE", f"{step} goes back to an older version")


def _dropped(old: PinnedArtifact, new: PinnedArtifact) -> Iterator[Finding]:
    states = {record.kind: record.state for record in new.evidence}
    for record in old.evidence:
        if record.state == "verified":
            yield from _fallen(record.kind, states.get(record.kind, "unavailable"), new.name)
    signed = {package.name for package in old.packages if package.signature == "verified"}
    for package in new.packages:
        if package.name == new.name:
            continue
        if package.name in signed:
            yield from _fallen("signature", package.signature, _named(package))
        before, now = _before(old, package), package.provenance or Provenance("unavailable")
        if before is None or before.publisher is None:
            continue
        yield from _fallen("provenance", now.state, _named(package))
        if now.publisher is not None:
            yield from _publisher(before.publisher, now.publisher, f"{_named(package)}: ")


def _before(old: PinnedArtifact, package: PackageRef) -> Provenance | None:
    """What was known of a package of the closure that this one is, or takes the place of.

    A closure may hold several versions of one package, and of old ones nobody said who built them: where neither the
    version nor the place tells which it follows, only what was known of all of them is expected of it.
    """
    same = [each for each in old.packages if each.name == package.name]
    for known in ([each for each in same if each.version == package.version],
                  [each for each in same if each.note == package.note]):  # fmt: skip
        if known:
            return known[0].provenance
    if all(each.provenance and each.provenance.state == "verified" for each in same):
        return same[0].provenance if same else None
    return None


def _signer(old: PinnedArtifact, new: PinnedArtifact) -> Iterator[Finding]:
    """The key that signs a repository's commits or tags, as far as there was one."""
    before, now = old.git.signer if old.git else "", new.git.signer if new.git else ""
    if before and not now and old.git and new.git and _OPENPGP in old.git.signature and _OPENPGP in new.git.signature:
        text = (
            f"{plain(new.name)}: it was signed by the key {before}, and what it is signed with cannot be checked here"
        )
        yield Finding("SIG_UNAVAILABLE", text)
    elif before and not now:
        yield Finding("SIG_DROPPED", f"{plain(new.name)}: it was signed by the key {before}, and is not any more")
    elif before != now and before:
        yield Finding("SIGNER_CHANGED", f"it was signed by the key {before}, it would be by {now}")


_NOUNS: Final[MappingProxyType[EvidenceKind, str]] = MappingProxyType({
    "signature": "the registry's signature",
    "publication": "the registry's statement of publication",
    "provenance": "the attestation of who built it",
})  # fmt: skip


def _fallen(kind: EvidenceKind, state: EvidenceState, name: str) -> Iterator[Finding]:
    if state == "missing":
        yield Finding(f"{_short(kind)}_DROPPED", f"{plain(name)}: {_NOUNS[kind]} was there and is gone")
    elif state == "unavailable":
        text = f"{plain(name)}: {_NOUNS[kind]} was verified, and the index cannot say whether there still is one"
        yield Finding(f"{_short(kind)}_UNAVAILABLE", text)


def _publisher(old: Publisher, new: Publisher, whose: str = "") -> Iterator[Finding]:
    step = f"{_source(old)} -> {_source(new)}"
    if old.issuer != new.issuer or _differ(old.owner_id, new.owner_id, _owner(old), _owner(new)):
        numbers = f"owner {plain(old.owner_id) or '?'} -> {plain(new.owner_id) or '?'}"
        yield Finding("PUBLISHER_CHANGED", f"{whose}it would come from somebody else: {step} ({numbers})")
        return
    if _differ(old.repository_id, new.repository_id, old.repository, new.repository):
        yield Finding("REPO_CHANGED", f"{whose}it would be built from another repository of the same owner: {step}")
    else:
        if old.repository != new.repository:
            yield Finding("REPO_RENAMED", f"{whose}the repository was renamed: {step}")
        if old.workflow != new.workflow:
            files = f"{plain(old.workflow)} -> {plain(new.workflow)}"
            yield Finding("WORKFLOW_CHANGED", f"{whose}it would be built by another workflow: {files}")
    if old.ref.startswith(_TAGS) and not new.ref.startswith(_TAGS):
        place = plain(new.ref) or "nowhere"
        yield Finding("BUILT_FROM_BRANCH", f"{whose}it was built from a tag, it would be from {place}")
    if old.runner in _HOSTED and new.runner not in _HOSTED:
        runner = plain(new.runner) or "an unnamed"
        yield Finding("SELF_HOSTED_RUNNER", f"{whose}it would be built on {runner} runner")


def _differ(old_id: str, new_id: str, old_name: str, new_name: str) -> bool:
    """By number where there are numbers; a certificate that lost its numbers is another one."""
    return old_id != new_id if old_id or new_id else old_name != new_name


def _owner(publisher: Publisher) -> str:
    return publisher.repository.rpartition("/")[0] or publisher.subject


def _source(publisher: Publisher) -> str:
    return plain(publisher.repository or publisher.subject)


def _closure(old: PinnedArtifact, new: PinnedArtifact) -> Iterator[Finding]:
    if old.maintainers and new.maintainers and set(old.maintainers) != set(new.maintainers):
        come, gone = set(new.maintainers) - set(old.maintainers), set(old.maintainers) - set(new.maintainers)
        who = [*(f"+{plain(name)}" for name in sorted(come)), *(f"-{plain(name)}" for name in sorted(gone))]
        yield Finding("MAINTAINERS_CHANGED", f"who may publish it changed: {', '.join(who)[:400]}")
    fresh = sorted({each.name for each in new.packages} - {each.name for each in old.packages})
    if fresh:
        yield Finding("NEW_DEPENDENCIES", f"it needs packages it did not need: {plain(', '.join(fresh), 400)}")
    known = set(_hooks(old))
    for code, name, what in sorted(set(_hooks(new)) - known):
        yield Finding(code, f"{plain(name)}: {plain(what)}")


def _hooks(artifact: PinnedArtifact) -> Iterator[tuple[str, str, str]]:
    for text in artifact.findings:
        for code, pattern in _HOOKS:
            if match := pattern.match(text):
                yield code, match[1], match[2]


def _young(new: PinnedArtifact, now: float, days: float) -> Iterator[Finding]:
    released = _released(new)
    if released is None or now - released >= days * _DAY:
        return
    age = max(0.0, now - released) / _DAY
    said = "" if new.publisher else ", says the index"
    yield Finding(
        "COOLDOWN", f"it was released {age:.1f} days ago{said}; fresh releases are where stolen ones are found"
    )


def _released(new: PinnedArtifact) -> float | None:
    """The signed time where there is one; else the index's word."""
    if new.publisher:
        return float(new.publisher.signed_at)
    try:
        moment = datetime.fromisoformat(new.released)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None


def _identity(artifact: PinnedArtifact) -> tuple[str, frozenset[str]]:
    return artifact.version, frozenset(each.integrity for each in artifact.packages if each.name == artifact.name)


def _short(kind: EvidenceKind) -> str:
    return "SIG" if kind == "signature" else "PROV"


def _named(package: PackageRef) -> str:
    return f"{plain(package.name)} {plain(package.version)}"
