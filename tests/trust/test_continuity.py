"""What a person is asked, and what nobody may override, when a package would be replaced by another."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.pin import EvidenceRecord, PackageRef, PinnedArtifact, Provenance, Publisher
from broker.trust.certificates import GITHUB, GITLAB
from broker.trust.continuity import ACTIONS, compare, refusals
from broker.trust.versions import older
from tests.trust.attack_table import catches

DAY: Final = 86400
NOW: Final = 1_780_000_000.0
ORG: Final = Publisher(
    issuer=GITHUB, subject="https://github.com/org/repo/.github/workflows/release.yml@refs/tags/v1",
    repository="https://github.com/org/repo", repository_id="1001", owner_id="2002",
    workflow=".github/workflows/release.yml", ref="refs/tags/v1", commit="a" * 40, runner="github-hosted",
    log_index=7, signed_at=int(NOW) - 60 * DAY,
)  # fmt: skip
GOOD: Final = tuple(EvidenceRecord(kind, "verified") for kind in ("signature", "publication", "provenance"))
MAIN: Final = PackageRef("server", "1.0.0", "sha512-a", "node_modules/server", "verified")
LIB: Final = PackageRef("lib", "1.0.0", "sha512-b", "node_modules/lib", "verified")
BUILT: Final = replace(LIB, provenance=Provenance("verified", ORG))
OLDER: Final = replace(
    LIB, version="0.9.0", note="node_modules/server/node_modules/lib", provenance=Provenance("missing")
)
OLD: Final = PinnedArtifact(
    kind="npm", name="server", version="1.0.0", packages=(MAIN, LIB), evidence=GOOD, publisher=ORG,
    maintainers=("ann", "bob"), released="2025-01-01T00:00:00Z",
)  # fmt: skip
NEXT: Final = replace(OLD, version="1.1.0", packages=(replace(MAIN, version="1.1.0", integrity="sha512-c"), LIB))
WHEEL: Final = PackageRef("server", "1.0.0", "sha256:aa", "server-1.0.0-py3-none-any.whl")
PYTHON: Final = replace(
    OLD, kind="pypi", packages=(WHEEL,), evidence=(EvidenceRecord("provenance", "verified"),)
)  # fmt: skip


def by(**changed: Any) -> PinnedArtifact:
    return replace(NEXT, publisher=replace(ORG, **changed))


def records(**states: Any) -> PinnedArtifact:
    changed = tuple(replace(each, state=states.get(each.kind, each.state)) for each in GOOD)
    gone = states.get("provenance", "verified") != "verified"
    return replace(NEXT, evidence=changed, publisher=None if gone else ORG)


def attested(*dependencies: PackageRef) -> PinnedArtifact:
    return replace(OLD, packages=(MAIN, *(dependencies or (BUILT,))))


def by_other(**changed: Any) -> PackageRef:
    return replace(LIB, version="1.1.0", provenance=Provenance("verified", replace(ORG, **changed)))


def told(old: PinnedArtifact | None, new: PinnedArtifact) -> dict[str, str]:
    return {finding.code: finding.action for finding in compare(old, new, now=NOW)}


NEW: Final = {"NEW_VERSION": "consent"}
CASES: Final[Mapping[str, tuple[PinnedArtifact, PinnedArtifact, dict[str, str]]]] = {
    "nothing changed": (OLD, OLD, {}),
    "E01 a new version": (OLD, NEXT, NEW),
    "E02 the attestation is gone": (OLD, records(provenance="missing"), {**NEW, "PROV_DROPPED": "block"}),
    "E02 the statement of publication is gone": (
        OLD, records(publication="missing"), {**NEW, "PROV_DROPPED": "block"}),
    "E02 no record of an attestation": (
        OLD, replace(NEXT, evidence=GOOD[:2], publisher=None), {**NEW, "PROV_UNAVAILABLE": "consent"}),
    "E03 the signature is gone": (OLD, records(signature="missing"), {**NEW, "SIG_DROPPED": "block"}),
    "E03 the signature of a dependency is gone": (
        OLD, replace(NEXT, packages=(NEXT.packages[0], replace(LIB, signature="missing"))),
        {**NEW, "SIG_DROPPED": "block"}),
    "the index cannot say any more": (
        OLD, records(signature="unavailable", provenance="unavailable"),
        {**NEW, "SIG_UNAVAILABLE": "consent", "PROV_UNAVAILABLE": "consent"}),
    "E04 another publisher": (
        OLD, by(repository="https://github.com/evil/repo", repository_id="9", owner_id="666"),
        {**NEW, "PUBLISHER_CHANGED": "block"}),
    "E05 the owner's name was taken over": (OLD, by(owner_id="999"), {**NEW, "PUBLISHER_CHANGED": "block"}),
    "E05 another issuer with the same numbers": (OLD, by(issuer=GITLAB), {**NEW, "PUBLISHER_CHANGED": "block"}),
    "E05 the numbers are gone": (OLD, by(owner_id=""), {**NEW, "PUBLISHER_CHANGED": "block"}),
    "E06 the repository was made anew": (OLD, by(repository_id="5555"), {**NEW, "REPO_CHANGED": "consent"}),
    "E07 another workflow": (
        OLD, by(workflow=".github/workflows/pr.yml"), {**NEW, "WORKFLOW_CHANGED": "consent"}),
    "E08 from a branch": (OLD, by(ref="refs/heads/evil"), {**NEW, "BUILT_FROM_BRANCH": "consent"}),
    "E09 on somebody's own machine": (OLD, by(runner="self-hosted"), {**NEW, "SELF_HOSTED_RUNNER": "consent"}),
    "E10 the repository was renamed": (
        OLD, by(repository="https://github.com/org/renamed"), {**NEW, "REPO_RENAMED": "notify"}),
    "E11 another maintainer": (
        OLD, replace(NEXT, maintainers=("ann", "evil")), {**NEW, "MAINTAINERS_CHANGED": "consent"}),
    "E11 the index names no maintainers now": (OLD, replace(NEXT, maintainers=()), NEW),
    "E12 a fresh release, by its signed time": (
        OLD, by(signed_at=int(NOW) - DAY), {**NEW, "COOLDOWN": "consent"}),
    "E12 a fresh release, by the index's word": (
        replace(OLD, publisher=None, evidence=()),
        replace(NEXT, publisher=None, evidence=(), released="2026-05-28T00:00:00Z"),
        {**NEW, "COOLDOWN": "consent"}),
    "E12 the signed time counts, not the index's word": (OLD, replace(NEXT, released="2026-05-28T00:00:00Z"), NEW),
    "E12 a time to come": (OLD, by(signed_at=int(NOW) + DAY), {**NEW, "COOLDOWN": "consent"}),
    "E15 a new install script": (
        OLD, replace(NEXT, findings=("lib 1.0.0 has a script 'postinstall', which was not run: 'x'",)),
        {**NEW, "NEW_INSTALL_SCRIPT": "consent"}),
    "E15 a new native build": (
        OLD, replace(NEXT, findings=("lib 1.0.0 would build native code; it was not built",)),
        {**NEW, "NEW_INSTALL_SCRIPT": "consent"}),
    "E15 a new .pth import": (
        PYTHON, replace(PYTHON, findings=("lib wants 'x.pth' to run at every start of Python; it does not",)),
        {"NEW_PTH_IMPORT": "consent"}),
    "a script that was there, in a new version": (
        replace(OLD, findings=("lib 1.0.0 has a script 'install', which was not run: 'x'",)),
        replace(NEXT, findings=("lib 1.1.0 has a script 'install', which was not run: 'y'",)), NEW),
    "a package without a hash of its own": (
        OLD, replace(NEXT, findings=("'lib' is bundled inside another package and has no hash of its own",)),
        {**NEW, "BUNDLED": "consent"}),
    "E16 an older version": (NEXT, OLD, {**NEW, "DOWNGRADE": "consent"}),
    "E17 an invalid attestation": (OLD, records(provenance="invalid"), {**NEW, "PROV_INVALID": "block"}),
    "E17 an invalid signature": (OLD, records(signature="invalid"), {**NEW, "SIG_INVALID": "block"}),
    "C02 a version with other bytes": (
        OLD, replace(OLD, packages=(replace(MAIN, integrity="sha512-x"), LIB)), {"VERSION_REPUBLISHED": "block"}),
    "C02 a dependency with other bytes": (
        OLD, replace(OLD, packages=(MAIN, replace(LIB, integrity="sha512-x"))), {"VERSION_REPUBLISHED": "block"}),
    "C02 a wheel with other bytes": (
        PYTHON, replace(PYTHON, packages=(replace(WHEEL, integrity="sha256:bb"),)), {"VERSION_REPUBLISHED": "block"}),
    "another wheel of the same version": (
        PYTHON, replace(PYTHON, packages=(replace(WHEEL, integrity="sha256:bb", note="server-1.0.0-cp311.whl"),)),
        {"NEW_FILE": "consent"}),
    "C13 a new dependency": (
        OLD, replace(NEXT, packages=(*NEXT.packages, PackageRef("evil", "1.0.0", "sha512-e", "x", "verified"))),
        {**NEW, "NEW_DEPENDENCIES": "consent"}),
    "E02 a dependency's attestation is gone": (
        attested(), attested(replace(LIB, version="1.1.0", provenance=Provenance("missing"))),
        {"PROV_DROPPED": "block"}),
    "a dependency's attestation cannot be asked for any more": (
        attested(), attested(replace(LIB, version="1.1.0")), {"PROV_UNAVAILABLE": "consent"}),
    "E04 a dependency by another publisher": (
        attested(), attested(by_other(owner_id="666")), {"PUBLISHER_CHANGED": "block"}),
    "E06 a dependency from another repository": (
        attested(), attested(by_other(repository_id="5555")), {"REPO_CHANGED": "consent"}),
    "E10 a dependency whose repository was renamed": (
        attested(), attested(by_other(repository="https://github.com/org/renamed")), {"REPO_RENAMED": "notify"}),
    "E17 an invalid attestation of a dependency": (
        attested(), attested(replace(BUILT, version="1.1.0", provenance=Provenance("invalid"))),
        {"PROV_INVALID": "block"}),
    "an old version of a dependency that never had one stays beside a new one": (
        attested(BUILT, OLDER), attested(BUILT, OLDER), {}),
    "a second version of a dependency of which nobody said it before": (
        attested(BUILT, OLDER),
        attested(BUILT, replace(OLDER, version="0.9.1", note="node_modules/x/node_modules/lib")), {}),
    "another package altogether": (
        OLD, replace(NEXT, name="other", publisher=replace(ORG, owner_id="9")), {"OTHER_PACKAGE": "consent"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_person_is_told_of(case: str) -> None:
    old, new, expected = CASES[case]
    assert told(old, new) == expected


def test_only_what_is_marked_so_is_beyond_a_yes() -> None:
    findings = compare(OLD, by(owner_id="999", ref="refs/heads/evil"), now=NOW)
    assert [finding.code for finding in refusals(findings)] == ["PUBLISHER_CHANGED"]


def test_a_first_pin_is_told_of_a_fresh_release_and_of_nothing_it_cannot_compare() -> None:
    assert told(None, OLD) == {}
    assert told(None, by(signed_at=int(NOW) - DAY)) == {"COOLDOWN": "consent"}
    assert told(None, records(provenance="invalid")) == {"PROV_INVALID": "block"}
    assert told(None, replace(OLD, publisher=None, released="")) == {}


@catches("H05")
def test_a_clock_that_was_set_back_makes_no_release_old() -> None:
    fresh = by(signed_at=int(NOW))
    for back in (0, DAY, 400 * DAY):
        codes = [finding.code for finding in compare(OLD, fresh, now=NOW - back)]
        assert codes == ["NEW_VERSION", "COOLDOWN"]


def test_a_publisher_without_numbers_is_known_by_its_name() -> None:
    mail = Publisher(issuer="https://accounts.google.com", subject="a@build.test", signed_at=ORG.signed_at)
    old = replace(OLD, publisher=mail)
    assert told(old, replace(NEXT, publisher=mail)) == NEW
    other = replace(mail, subject="b@build.test")
    assert told(old, replace(NEXT, publisher=other)) == {**NEW, "PUBLISHER_CHANGED": "block"}


def test_names_from_outside_reach_a_person_as_plain_text_only() -> None:
    new = by(owner_id="9", repository="https://github.com/evil/\u202erepo\x1b[2J" + "x" * 5000)
    for finding in compare(OLD, replace(new, maintainers=("\x1b[2J",)), now=NOW):
        assert finding.text.isascii() and finding.text.isprintable() and len(finding.text) < 1000


STATES = st.sampled_from(["verified", "missing", "unavailable", "invalid"])
ARTIFACTS = st.builds(
    lambda main, lib, provenance, publisher, version: replace(
        OLD, version=version, publisher=publisher if provenance == "verified" else None,
        packages=(replace(MAIN, version=version, integrity=f"sha512-{version}", signature=main),
                  replace(LIB, signature=lib)),
        evidence=(EvidenceRecord("signature", main), EvidenceRecord("provenance", provenance)),
    ),
    STATES, STATES, STATES,
    st.builds(lambda owner, repository: replace(ORG, owner_id=owner, repository_id=repository),
              st.sampled_from("12"), st.sampled_from("34")),
    st.sampled_from(["1.0.0", "1.1.0"]),
)  # fmt: skip


@given(ARTIFACTS, ARTIFACTS)
def test_what_was_verified_is_never_replaced_by_less_without_a_word(old: PinnedArtifact, new: PinnedArtifact) -> None:
    before, after = ({each.kind: each.state for each in one.evidence} for one in (old, new))
    findings = compare(old, new, now=NOW)
    for kind, state in before.items():
        if state == "verified" and after[kind] != "verified":
            assert any(each.code.startswith("SIG" if kind == "signature" else "PROV") for each in findings)
        if state == "verified" and after[kind] in {"missing", "invalid"}:
            assert refusals(findings)
    if old.publisher and new.publisher and old.publisher.owner_id != new.publisher.owner_id:
        assert "PUBLISHER_CHANGED" in {each.code for each in refusals(findings)}


@given(ARTIFACTS)
def test_an_invalid_proof_is_refused_whatever_was_there_before(new: PinnedArtifact) -> None:
    invalid = any(each.state == "invalid" for each in new.evidence) or new.packages[1].signature == "invalid"
    for old in (None, OLD, new):
        assert bool(refusals(compare(old, new, now=NOW))) >= invalid


@given(ARTIFACTS)
def test_the_same_package_again_is_news_only_if_it_is_invalid(one: PinnedArtifact) -> None:
    assert {finding.code for finding in compare(one, one, now=NOW)} <= {"SIG_INVALID", "PROV_INVALID"}


def test_every_code_has_its_action_and_every_action_its_codes() -> None:
    assert set(ACTIONS.values()) == {"block", "consent", "notify"}


NPM_ORDER: Final = ("1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
                    "1.0.0", "1.0.1-next.1", "1.2.0", "1.10.0", "2.0.0")  # fmt: skip
PYTHON_ORDER: Final = ("1.0.dev1", "1.0a1.dev2", "1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0.post1.dev1",
                       "1.0.post1", "1.1.dev1", "1.2", "1.10", "2026.1.1", "1!0.1")  # fmt: skip


@pytest.mark.parametrize(("kind", "order"), [("npm", NPM_ORDER), ("pypi", PYTHON_ORDER)])
def test_versions_are_older_and_newer_as_their_ecosystem_says(kind: str, order: tuple[str, ...]) -> None:
    for place, one in enumerate(order):
        assert [older(kind, one, other) for other in order] == [place < other for other in range(len(order))]


def test_versions_that_are_the_same_or_cannot_be_read_are_neither_older_nor_newer() -> None:
    for kind, one, other in (("npm", "1.0.0+a", "1.0.0+b"), ("pypi", "1.0", "1.0.0"), ("pypi", "1.0-1", "1.0.post1"),
                             ("npm", "latest", "1.0.0"), ("pypi", "1.0", "x")):  # fmt: skip
        assert not older(kind, one, other) and not older(kind, other, one)
