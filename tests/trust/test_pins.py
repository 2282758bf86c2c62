"""The pin survives its own text, and a text that says anything else is refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import TrustError
from broker.model import ArtifactKind, ServerName
from broker.pin import (
    EvidenceKind,
    EvidenceRecord,
    EvidenceState,
    Interpreter,
    LaunchRequest,
    PackageRef,
    Pin,
    PinnedArtifact,
    Publisher,
)
from broker.trust.pins import command, describe, from_text, pin_digest, to_text

TREE, OTHER = "a" * 64, "b" * 64
NODE = Interpreter(Path("/usr/bin/node"), "20.1.0", OTHER)
LAUNCH = LaunchRequest(
    argv=("npx", "pkg@1.0.0", "/data/it's mine"), runner="npx", kind="npm", requirement="pkg@1.0.0",
    args=("/data/it's mine",), env=(("ZONE", "UTC"),), paths=("/data/it's mine",), warnings=("look",),
)  # fmt: skip
ARTIFACT = PinnedArtifact(
    kind="npm", name="pkg", version="1.0.0", tree=TREE, entry="node_modules/pkg/index.js", file_count=3, byte_count=12,
    packages=(PackageRef("pkg", "1.0.0", "sha512-x", "node_modules/pkg"),), interpreter=NODE, findings=("odd",),
)  # fmt: skip
PIN = Pin(ServerName("files"), "2026-01-01T00:00:00Z", LAUNCH, ARTIFACT, catalog="c" * 64)
PUBLISHER = Publisher(
    issuer="https://issuer.test", subject="https://forge.test/org/repo/release.yml@refs/tags/v1",
    repository="https://forge.test/org/repo", repository_id="1001", owner_id="2002", workflow="release.yml",
    ref="refs/tags/v1", commit="d" * 40, runner="github-hosted", log_index=7, signed_at=1_780_000_000,
)  # fmt: skip
SIGNED = replace(
    ARTIFACT, publisher=PUBLISHER, packages=(replace(ARTIFACT.packages[0], signature="verified"),),
    evidence=tuple(EvidenceRecord(kind, "verified") for kind in get_args(EvidenceKind)),
)  # fmt: skip

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
PIECES = st.lists(st.text("abc.-_", min_size=1, max_size=5).filter(lambda part: part not in {".", ".."}), min_size=1)
PATHS = PIECES.map(lambda parts: "/" + "/".join(parts))
OPTIONAL = st.none() | TEXT
LAUNCHES = st.builds(
    LaunchRequest, argv=TEXTS.map(lambda words: ("x", *words)), runner=TEXT,
    kind=st.sampled_from(get_args(ArtifactKind)),
    requirement=TEXT, args=TEXTS, bin=OPTIONAL, extra=TEXTS, python=OPTIONAL, registry=OPTIONAL,
    env=st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple), paths=TEXTS, floating=st.booleans(), warnings=TEXTS,
)  # fmt: skip
INTERPRETERS = st.builds(
    Interpreter, path=PATHS.map(Path), version=TEXT, sha256=HASHES, prefix=st.none() | PATHS.map(Path)
)
STATES = st.sampled_from(get_args(EvidenceState))
RECORDS = st.builds(EvidenceRecord, st.sampled_from(get_args(EvidenceKind)), STATES, TEXT)
COUNTS = st.integers(0, 2**63 - 1)
PUBLISHERS = st.builds(Publisher, *[TEXT] * 9, COUNTS, COUNTS)
TREES = st.builds(
    PinnedArtifact, kind=st.sampled_from(["npm", "pypi"]), name=TEXT, version=TEXT, tree=HASHES,
    entry=PIECES.map("/".join), file_count=st.integers(0, 10**6), byte_count=st.integers(0, 10**12),
    packages=st.lists(st.builds(PackageRef, TEXT, TEXT, TEXT, TEXT, STATES), max_size=2).map(tuple),
    interpreter=INTERPRETERS, findings=TEXTS, evidence=st.lists(RECORDS, max_size=3).map(tuple),
    publisher=st.none() | PUBLISHERS, maintainers=TEXTS, released=TEXT,
)  # fmt: skip
PROGRAMS = st.builds(
    lambda path, sha256, kind, interpreter: PinnedArtifact(
        kind=kind, name="x", version="y", entry=path, files=((path, sha256),), interpreter=interpreter
    ),
    PATHS, HASHES, st.sampled_from(["script", "binary"]), INTERPRETERS,
)  # fmt: skip
PINS = st.builds(
    Pin,
    server=TEXT.filter(bool).map(ServerName),
    created=TEXT,
    launch=LAUNCHES,
    artifact=TREES | PROGRAMS,
    catalog=TEXT,
)


@given(PINS)
def test_every_pin_comes_back_from_its_text_unchanged(pin: Pin) -> None:
    again = from_text(to_text(pin))
    assert again == pin
    assert pin_digest(again) == pin_digest(pin)


@given(PINS, PINS)
def test_two_pins_have_one_digest_only_if_they_say_the_same(one: Pin, two: Pin) -> None:
    assert (pin_digest(one) == pin_digest(two)) == (one == two)


def test_the_digest_speaks_of_every_part_of_the_pin() -> None:
    changed = (
        replace(PIN, catalog="d" * 64),
        replace(PIN, launch=replace(LAUNCH, args=("/data",))),
        replace(PIN, launch=replace(LAUNCH, env=())),
        replace(PIN, artifact=replace(ARTIFACT, entry="node_modules/pkg/other.js")),
        replace(PIN, artifact=replace(ARTIFACT, interpreter=replace(NODE, sha256=TREE))),
        replace(PIN, artifact=replace(ARTIFACT, packages=())),
        replace(PIN, artifact=replace(ARTIFACT, packages=SIGNED.packages)),
        replace(PIN, artifact=SIGNED),
        replace(PIN, artifact=replace(SIGNED, publisher=replace(PUBLISHER, owner_id="2003"))),
        replace(PIN, artifact=replace(SIGNED, evidence=())),
    )
    assert len({pin_digest(each) for each in (PIN, *changed)}) == len(changed) + 1


REFUSED: Mapping[str, tuple[Callable[[str], str], str]] = {
    "an unknown key": (lambda text: 'surprise = "x"\n' + text, "pin has an unknown key 'surprise'"),
    "an unknown key deep inside": (
        lambda text: text.replace("[artifact.interpreter]", "[artifact.interpreter]\nx = 1"),
        "artifact.interpreter has an unknown key 'x'",
    ),
    "a missing key": (lambda text: text.replace('runner = "npx"\n', ""), "pin.launch of the pin lacks a key"),
    "another version": (lambda text: text.replace("v = 1\n", "v = 2\n"), "has version 2"),
    "no version": (lambda text: text.replace("v = 1\n", ""), "has version None"),
    "text for a number": (lambda text: text.replace("file_count = 3", 'file_count = "3"'), "must be a number"),
    "a flag for a number": (lambda text: text.replace("file_count = 3", "file_count = true"), "must be a number"),
    "a number for text": (lambda text: text.replace('runner = "npx"', "runner = 1"), "must be text"),
    "text for a flag": (lambda text: text.replace("floating = false", 'floating = "no"'), "must be true or false"),
    "an unknown kind": (lambda text: text.replace('kind = "npm"', 'kind = "docker"'), "must be one of"),
    "a short hash": (lambda text: text.replace(TREE, "abc"), "has no tree hash"),
    "a climbing entry": (
        lambda text: text.replace("node_modules/pkg/index.js", "../../usr/bin/sh"), "entry outside its package"),
    "an absolute entry": (lambda text: text.replace("node_modules/pkg/index.js", "/bin/sh"), "entry outside"),
    "a relative interpreter": (lambda text: text.replace("/usr/bin/node", "node"), "must be an absolute path"),
    "a climbing interpreter": (lambda text: text.replace("/usr/bin/node", "/usr/../tmp/node"), "an absolute path"),
    "an unknown state of a signature": (
        lambda text: text.replace('signature = "unavailable"', 'signature = "fine"'), "must be one of verified"),
    "half a text": (lambda text: text[: len(text) // 2] + "[", "is not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_pin_is_refused_with(case: str) -> None:
    change, reason = REFUSED[case]
    text = to_text(PIN)
    assert change(text) != text
    with pytest.raises(TrustError) as refused:
        from_text(change(text))
    assert reason in str(refused.value)


def test_a_program_pin_is_refused_when_what_runs_is_not_what_is_hashed() -> None:
    artifact = PinnedArtifact("binary", "x", "1", entry="/bin/x", files=(("/bin/x", TREE),))
    good = replace(PIN, artifact=artifact)
    assert from_text(to_text(good)) == good
    for wrong in (
        replace(artifact, entry="/bin/y"),
        replace(artifact, files=()),
        replace(artifact, files=(("/bin/x", "abc"),)),
        replace(artifact, entry="bin/x", files=(("bin/x", TREE),)),
        replace(artifact, tree=TREE),
        replace(artifact, kind="script"),
    ):
        with pytest.raises(TrustError):
            from_text(to_text(replace(PIN, artifact=wrong)))


def test_the_command_is_absolute_and_the_same_that_is_shown() -> None:
    python = Interpreter(Path("/usr/bin/python3"), "3.12.1", OTHER)
    script = PinnedArtifact("script", "s.py", "1", entry="/abs/s.py", files=(("/abs/s.py", TREE),), interpreter=python)
    flags = replace(LAUNCH, kind="script", extra=("-u",), args=("a",))
    wheel = replace(ARTIFACT, kind="pypi", entry="launch.py", interpreter=python)
    binary = PinnedArtifact("binary", "x", "1", entry="/bin/x", files=(("/bin/x", TREE),))
    package = "/opt/bulkhead/package"
    assert command(ARTIFACT, LAUNCH) == (
        "/usr/bin/node", f"{package}/node_modules/pkg/index.js", "/data/it's mine")  # fmt: skip
    assert command(wheel, replace(LAUNCH, args=("a",))) == (
        "/usr/bin/python3", "-I", "-S", "-B", f"{package}/launch.py", "a")  # fmt: skip
    assert command(script, flags) == ("/usr/bin/python3", "-u", "/abs/s.py", "a")
    assert command(binary, replace(LAUNCH, args=("a",))) == ("/bin/x", "a")


def test_a_person_is_told_the_whole_command_what_was_verified_and_what_was_found() -> None:
    long = "/data/" + "x" * 5000
    lines = describe(ARTIFACT, replace(LAUNCH, args=(long,), floating=True))
    assert lines[0] == f"runs: /usr/bin/node /opt/bulkhead/package/node_modules/pkg/index.js {long}"
    text = "\n".join(lines)
    for fact in ("ZONE=UTC", "pkg 1.0.0", "1 packages", "SHA-512", "3 files, 12 bytes", TREE, OTHER, "look", "odd",
                 "until you update", "not verified: who published it"):  # fmt: skip
        assert fact in text


def test_a_person_is_told_who_built_it_or_that_nobody_knows() -> None:
    text = "\n".join(describe(SIGNED, LAUNCH))
    for fact in (
        "verified: built by https://forge.test/org/repo, release.yml", "owner 2002, repository 1001", "2026-05-28",
        "at refs/tags/v1, commit dddd", "log entry 7", "signature on 1 of 1 packages",
    ):  # fmt: skip
        assert fact in text
    assert "not verified" not in text
    for state in ("missing", "unavailable"):
        lacking = replace(ARTIFACT, evidence=(EvidenceRecord("provenance", state, "it answers 404"),))
        (line,) = (line for line in describe(lacking, LAUNCH) if line.startswith("not verified"))
        assert line.startswith("not verified: who published it (") and "it answers 404" in line


def test_names_in_a_certificate_are_shown_as_plain_text() -> None:
    odd = replace(PUBLISHER, repository="https://forge.test/\u202e\x1b[2J", workflow="x" * 5000, ref="a\nverified: b")
    for line in describe(replace(SIGNED, publisher=odd, maintainers=("\x1b[2J",)), LAUNCH):
        assert line.isprintable() and line.isascii() and len(line) < 1000
