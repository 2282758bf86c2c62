"""Which versions an advisory means, by the rules of its own format."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import TrustError
from broker.trust.osv import Affected, Ecosystem, affects, ecosystems_of, read_record


def record(**fields: Any) -> bytes:
    return json.dumps({"id": "GHSA-1", "modified": "2026-01-01T00:00:00Z", "affected": [], **fields}).encode()


def affected(ecosystem: Ecosystem, *events: tuple[str, str], versions: tuple[str, ...] = ()) -> Affected:
    return Affected(ecosystem, "pkg", versions, (events,) if events else ())


ONE = (("introduced", "1.0.0"), ("fixed", "1.2.0"))
TWICE = (*ONE, ("introduced", "2.0.0"), ("last_affected", "2.1.0"))


@pytest.mark.parametrize(
    ("what", "version", "meant"),
    [
        (affected("npm", *ONE), "0.9.9", False),
        (affected("npm", *ONE), "1.0.0", True),
        (affected("npm", *ONE), "1.1.9", True),
        (affected("npm", *ONE), "1.10.0", False),
        (affected("npm", *ONE), "1.2.0", False),
        (affected("npm", *ONE), "1.2.0-rc.1", True),
        (affected("npm", *ONE), "1.0.0-rc.1", False),
        (affected("npm", ("introduced", "1.0.0-rc.2"), ("fixed", "1.0.0-rc.10")), "1.0.0-rc.9", True),
        (affected("npm", *TWICE), "1.5.0", False),
        (affected("npm", *TWICE), "2.1.0", True),
        (affected("npm", *TWICE), "2.1.1", False),
        (affected("npm", *reversed(TWICE)), "2.0.5", True),
        (affected("npm", ("introduced", "0")), "0.0.1-alpha", True),
        (affected("npm", ("introduced", "0"), ("limit", "3.0.0")), "2.9.9", True),
        (affected("npm", ("introduced", "0"), ("limit", "3.0.0")), "3.0.0", False),
        (affected("npm", ("introduced", "0"), ("limit", "*")), "3.0.0", True),
        (affected("npm", versions=("1.0.16",)), "1.0.16", True),
        (affected("npm", versions=("1.0.16",)), "1.0.15", False),
        (affected("npm", *ONE, versions=("5.0.0",)), "5.0.0", True),
        (affected("PyPI", ("introduced", "1.0"), ("fixed", "1.2")), "1.2.dev1", True),
        (affected("PyPI", ("introduced", "1.0"), ("fixed", "1.2")), "1.2.0", False),
        (affected("PyPI", ("introduced", "1.0rc1"), ("fixed", "1.0")), "1.0rc2", True),
        (affected("PyPI", ("introduced", "0"), ("fixed", "1!0.1")), "99.0", True),
        (affected("PyPI", versions=("1.0",)), "1.0.0", True),
        (affected("npm"), "1.0.0", True),
        (affected("npm", ("introduced", "not a version")), "1.0.0", True),
        (affected("npm", ("surprise", "1.0.0")), "1.0.0", True),
        (affected("npm", *ONE), "not a version", True),
    ],
)
def test_a_version_is_meant_or_not(what: Affected, version: str, meant: bool) -> None:
    assert affects(what, version) is meant


numbers = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)).map(lambda n: ".".join(map(str, n)))


@given(numbers, numbers, numbers)
def test_a_range_holds_what_lies_between_its_ends(low: str, high: str, version: str) -> None:
    def key(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    low, high = sorted((low, high), key=key)
    inside = key(low) <= key(version) < key(high)
    for ecosystem in ("npm", "PyPI"):
        what = Affected(ecosystem, "pkg", (), ((("introduced", low), ("fixed", high)),))
        assert affects(what, version) is inside


def test_a_record_says_whether_it_is_malware_or_was_withdrawn() -> None:
    plain = read_record(record(summary="a  bad\n thing"))
    assert (plain.malware, plain.withdrawn, plain.summary) == (False, False, "a bad thing")
    assert read_record(record(id="MAL-2026-1")).malware
    assert read_record(record(aliases=["MAL-2026-1"])).malware
    assert read_record(record(withdrawn="2026-02-01T00:00:00Z")).withdrawn


def test_names_and_packages_of_other_ecosystems_are_sorted_out() -> None:
    packages = [{"ecosystem": "PyPI", "name": "Some_Package.X"}, {"ecosystem": "crates.io", "name": "serde"}]
    found = read_record(record(affected=[{"package": each, "versions": ["1"]} for each in packages]))
    assert found.affected == (Affected("PyPI", "some-package-x", ("1",)),)


def test_commits_are_no_versions() -> None:
    ranges = [{"type": "GIT", "events": [{"introduced": "0"}]}, {"type": "SEMVER", "events": [{"introduced": "2.0.0"}]}]
    entry = {"package": {"ecosystem": "npm", "name": "pkg"}, "ranges": ranges}
    (found,) = read_record(record(affected=[entry])).affected
    assert (affects(found, "1.0.0"), affects(found, "2.0.0")) == (False, True)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"{}", b'{"id": 7, "modified": "x"}', b'{"id": "../x", "modified": "2026"}',
     b'{"id": "A", "modified": "2026", "affected": [7]}', b'{"id": "A", "modified": 7}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        read_record(data)


def test_the_way_an_integrity_is_written_tells_the_registry() -> None:
    assert ecosystems_of("sha512-AAAA") == ("npm",)
    assert ecosystems_of("sha256:00") == ("PyPI",)
    assert ecosystems_of("md5-00") == ("npm", "PyPI")
