"""What a Seatbelt profile allows and denies, asked of its text: nothing here has run on macOS."""

import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SandboxError
from broker.model import ImageRoot, Limits, Mount, SandboxSpec, ServerName
from broker.sandbox.seatbelt import KEYCHAIN_SERVICES, PROGRAM, SESSION_SERVICES, Profile, canonical, profile, quoted
from tests.sandbox.sbpl import Deed, allows, read

HOME, TMP = Path("/var/folders/x/link/home"), Path("/tmp/link")
CODE, DOCS, PROJECT = Path("/Users/ann/store/tree"), Path("/Users/ann/docs"), Path("/Users/ann/project")
SPEC = SandboxSpec(
    server=ServerName("notes"),
    argv=(f"{CODE}/bin/node", "server.js"),
    env={},
    cwd=PROJECT,
    mounts=(Mount(DOCS, DOCS), Mount(PROJECT, PROJECT, writable=True), Mount(CODE, CODE)),
    limits=Limits(),
)


def can(found: Profile, operation: str, path: str = "", *, name: str = "", remote: str = "", target: str = "") -> bool:
    return allows(found.text, dict(found.parameters), Deed(operation, path, name, remote, target))


@pytest.fixture(scope="module")
def box() -> Profile:
    return profile(SPEC, HOME, TMP)


@pytest.mark.parametrize(
    "path",
    [
        *("/Users/ann/.ssh/id_rsa", "/Users/ann/Library/Keychains/login.keychain-db", "/Users/ann", "/Users"),
        *("/private/etc/passwd", "/private/etc/master.passwd", "/Library/Keychains/System.keychain", "/Volumes/usb/x"),
        *("/Users/ann/project2/file", "/Users/ann/docs.old", "/private/tmp/other", "/private/var/run/docker.sock"),
        *("/private/var/folders/x/other/home/token", "/Applications/A.app/Contents/x", "/dev/disk0", "/dev/tty"),
    ],
)
def test_what_nobody_granted_is_neither_read_nor_written(box: Profile, path: str) -> None:
    assert not can(box, "file-read-data", path) and not can(box, "file-write-create", path)
    assert not can(box, "process-exec", path)


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        (f"{DOCS}/a.txt", False),
        (f"{CODE}/server.js", False),
        (f"{PROJECT}/src/main.py", True),
        ("/private/var/folders/x/link/home/cache", True),
        ("/private/tmp/link/file", True),
        ("/usr/lib/libSystem.B.dylib", False),
        ("/System/Library/Frameworks/Security.framework/Security", False),
    ],
)
def test_grants_are_read_and_only_writable_ones_and_its_own_places_written(
    box: Profile, path: str, writable: bool
) -> None:
    assert can(box, "file-read-data", path)
    for operation in ("file-write-data", "file-write-create", "file-write-unlink", "file-write-mode"):
        assert can(box, operation, path) is writable


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".git/hooks/pre-commit",
            ".git/config",
            ".git",
            "deep/down/.git/hooks/x",
            ".GIT/hooks/x",
            ".vscode/tasks.json",
        ),
        *(".mcp.json", ".envrc", "sub/.Envrc", ".claude/settings.json", ".zshrc"),
    ],
)
def test_what_runs_by_itself_is_not_written_in_a_writable_grant_however_it_is_spelt(box: Profile, name: str) -> None:
    assert can(box, "file-read-data", f"{PROJECT}/{name}")
    for operation in ("file-write-data", "file-write-create", "file-write-unlink"):
        assert not can(box, operation, f"{PROJECT}/{name}")
    assert can(box, "file-write-create", f"{PROJECT}/.gitignore")
    assert can(box, "file-write-create", f"{PROJECT}/my.envrc")


def test_a_granted_folder_is_not_moved_away_itself(box: Profile) -> None:
    assert not can(box, "file-write-unlink", str(PROJECT))


def test_a_repository_granted_by_name_is_written_but_for_what_git_runs() -> None:
    git = PROJECT / ".git"
    found = profile(replace(SPEC, mounts=(*SPEC.mounts, Mount(git, git, writable=True))), HOME, TMP)
    assert can(found, "file-write-create", f"{git}/objects/ab/cd") and can(found, "file-write-data", f"{git}/HEAD")
    for name in ("hooks/post-commit", "config", "Config", "commondir", "info/attributes"):
        assert not can(found, "file-write-create", f"{git}/{name}")


def test_a_folder_for_reading_inside_one_for_writing_stays_for_reading() -> None:
    inner = PROJECT / "vendor"
    found = profile(replace(SPEC, mounts=(*SPEC.mounts, Mount(inner, inner))), HOME, TMP)
    assert can(found, "file-read-data", f"{inner}/x") and not can(found, "file-write-data", f"{inner}/x")


@pytest.mark.parametrize("service", [*KEYCHAIN_SERVICES, *SESSION_SERVICES, "com.example.anything"])
def test_keychain_clipboard_and_all_other_services_are_out_of_reach(box: Profile, service: str) -> None:
    assert not can(box, "mach-lookup", name=service)
    assert can(box, "mach-lookup", name="com.apple.system.opendirectoryd.libinfo")


def test_a_keychain_stays_closed_even_inside_a_grant() -> None:
    library = Path("/Users/ann/Library")
    found = profile(replace(SPEC, mounts=(Mount(library, library, writable=True),)), HOME, TMP)
    assert can(found, "file-read-data", f"{library}/notes")
    for spelling in ("Keychains", "keychains", "KEYCHAINS"):
        assert not can(found, "file-read-data", f"{library}/{spelling}/login.keychain-db")


def test_the_network_is_the_proxy_and_only_for_a_server_with_hosts(box: Profile) -> None:
    proxy = "localhost:3128"
    assert not can(box, "network-outbound", remote=proxy)
    with_hosts = profile(replace(SPEC, hosts=("api.example.com",)), HOME, TMP)
    assert can(with_hosts, "network-outbound", remote=proxy)
    for elsewhere in ("localhost:22", "*:443", "localhost:31280"):
        assert not can(with_hosts, "network-outbound", remote=elsewhere)
    for operation in ("network-bind", "network-inbound", "system-socket"):
        assert not can(with_hosts, operation, remote=proxy)
    assert not can(with_hosts, "network-outbound", "/private/var/run/mDNSResponder")


def test_unix_sockets_are_made_in_its_own_places_and_only_when_granted(box: Profile) -> None:
    place = "/private/tmp/link/socket"
    assert not can(box, "network-bind", place)
    sockets = profile(replace(SPEC, unix_sockets=True), HOME, TMP)
    assert can(sockets, "network-bind", place) and can(sockets, "network-outbound", place)
    assert not can(sockets, "network-outbound", f"{PROJECT}/agent.sock")


def test_processes_see_and_signal_only_each_other(box: Profile) -> None:
    for operation in ("signal", "process-info-pidinfo"):
        assert can(box, operation, target="same-sandbox") and not can(box, operation, target="others")
    for operation in ("appleevent-send", "iokit-open", "user-preference-read", "nvram-get", "process-exec-interpreter"):
        assert not can(box, operation)
    assert can(box, "sysctl-read", name="hw.ncpu") and not can(box, "sysctl-read", name="kern.procargs2")


def test_the_line_names_the_program_after_the_rules_and_the_places_as_parameters(box: Profile) -> None:
    argv = box.argv(SPEC.argv)
    assert argv[:3] == (PROGRAM, "-p", box.text) and argv[-3:] == ("--", *SPEC.argv)
    given_ = argv[3:-3]
    assert given_[::2] == ("-D",) * (len(given_) // 2)
    assert dict(word.split("=", 1) for word in given_[1::2]) == dict(box.parameters)
    assert "HOME=/private/var/folders/x/link/home" in given_ and "TMP=/private/tmp/link" in given_
    assert str(PROJECT) not in box.text


hostile = st.text(st.sampled_from("()\"\\;#\n'= é" + string.ascii_letters), min_size=1, max_size=20)


@given(hostile)
def test_no_name_of_a_folder_becomes_a_rule(name: str) -> None:
    plain = profile(SPEC, HOME, TMP)
    path = Path("/Users/ann") / name.strip("/")
    mounts = tuple(replace(mount, source=path) if mount.source == DOCS else mount for mount in SPEC.mounts)
    found = profile(replace(SPEC, mounts=mounts), HOME, TMP)
    assert found.text == plain.text
    assert can(found, "file-read-data", f"{path}/x")
    assert not can(found, "file-read-data", "/Users/ann/.ssh/id_rsa")


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_quoted_text_is_read_back_as_it_was(text: str) -> None:
    assert read(f"(x {quoted(text)})") == [["x", text]]


def test_what_cannot_be_quoted_named_or_held_is_refused() -> None:
    for text in ("a\nb", "a\0", "\u202e"):
        with pytest.raises(SandboxError):
            quoted(text)
    for path in ("/", "relative", "/a/../b", "/a\0b"):
        with pytest.raises(SandboxError):
            canonical(Path(path))
    with pytest.raises(SandboxError, match="image"):
        profile(replace(SPEC, image=ImageRoot(CODE)), HOME, TMP)


def test_places_are_named_as_the_kernel_names_them() -> None:
    assert [canonical(Path(p)) for p in ("/tmp/x", "/var/db", "/etc", "/tmpx", "/private/tmp/x", "//tmp/x")] == [
        *("/private/tmp/x", "/private/var/db", "/private/etc", "/tmpx", "/private/tmp/x", "/private/tmp/x"),
    ]
