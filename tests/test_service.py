"""The daemon as a service: what the files say, and that they are put in place and taken away whole."""

import json
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import broker.cli
from broker.errors import ConfigError
from broker.service import agent_path, launchd_agent, systemd_unit, unit_path

ARGV = ["/opt/my tools/python3", "-I", "-m", "broker.daemon", "--home", '/home/a"b/100%/$x']
FAKE = """#!/bin/sh
echo "$*" >> "$0.said"
case "$*" in *is-active*) test -e "$0.on" ;; *disable*) rm -f "$0.on" ;; *enable*) : > "$0.on" ;; esac
"""


def unquoted(line: str) -> str:
    """What systemd reads out of one quoted word (systemd.syntax(7), systemd.unit(5) on specifiers)."""
    assert line[0] == line[-1] == '"'
    return line[1:-1].replace("$$", "$").replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\")


def test_a_unit_runs_the_very_command_and_lets_go_of_the_whole_tree_in_order() -> None:
    unit = systemd_unit(ARGV, {"HOME": "/home/user", "PATH": "/usr/bin:/bin"})
    assert 'ExecStart="/opt/my tools/python3" "-I" "-m" "broker.daemon" "--home" "/home/a\\"b/100%%/$$x"\n' in unit
    assert 'Environment="HOME=/home/user"\nEnvironment="PATH=/usr/bin:/bin"\n' in unit
    assert "KillMode=mixed\n" in unit
    assert "Delegate=memory pids cpu\n" in unit
    assert "NoNewPrivileges" not in unit


@given(st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_any_word_comes_back_from_a_unit_as_it_was(word: str) -> None:
    [line] = [line for line in systemd_unit([word], {}).splitlines() if line.startswith("ExecStart=")]
    assert unquoted(line.removeprefix("ExecStart=")) == word


@pytest.mark.parametrize("word", ["a\nb", "a\x00b", "a\u202eb"])
def test_a_word_that_would_begin_another_line_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="cannot be written into a systemd unit"):
        systemd_unit([word], {})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "bulkhead.service"
    text = systemd_unit([sys.executable, "-c", "pass"], {"HOME": "/"})
    unit.write_text(text.replace("Documentation=man:bulkhead(1)\n", ""))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert "bulkhead.service" not in checked.stderr, checked.stderr


def test_an_agent_runs_the_very_command_and_is_started_anew_only_after_a_failure() -> None:
    agent = plistlib.loads(launchd_agent(ARGV, {"HOME": "/Users/user"}, Path("/Users/user/log")))
    assert (agent["ProgramArguments"], agent["KeepAlive"]) == (ARGV, {"SuccessfulExit": False})
    assert (agent["EnvironmentVariables"], agent["Umask"]) == ({"HOME": "/Users/user"}, 0o077)


def test_the_files_are_where_the_systems_look_for_a_users_own() -> None:
    home = Path("/home/user")
    assert str(unit_path(home, {})) == "/home/user/.config/systemd/user/bulkhead.service"
    assert str(unit_path(home, {"XDG_CONFIG_HOME": "/x"})) == "/x/systemd/user/bulkhead.service"
    assert str(unit_path(home, {"XDG_CONFIG_HOME": "x"})) == "/home/user/.config/systemd/user/bulkhead.service"
    assert str(agent_path(home)) == "/home/user/Library/LaunchAgents/bulkhead.plist"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and a `systemctl` that writes down what it is told; its folder is returned."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(FAKE)
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    for name, value in {
        "HOME": tmp_path / "h",
        "BULKHEAD_HOME": tmp_path / "b",
        "PATH": f"{tools}:/usr/bin:/bin",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tools


def test_a_service_is_installed_shown_and_taken_away_again(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = machine.parent / "h/.config/systemd/user/bulkhead.service"
    assert broker.cli.main(["service", "install"]) == 0
    assert f'"--home" "{machine.parent / "b"}"' in unit.read_text()
    capsys.readouterr()

    assert broker.cli.main(["service", "status", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"manager": "systemd", "file": str(unit), "installed": True, "current": True, "active": True}

    unit.write_text(unit.read_text() + "# mine\n")
    assert broker.cli.main(["service", "status"]) == 1
    assert "write it anew with: bulkhead service install" in capsys.readouterr().out

    assert broker.cli.main(["service", "uninstall"]) == 0
    assert not unit.exists()
    assert broker.cli.main(["service", "uninstall"]) == 0
    told = (machine / "systemctl.said").read_text().splitlines()
    assert [line for line in told if "is-active" not in line] == [
        "--user daemon-reload",
        "--user enable --now bulkhead.service",
        "--user disable --now bulkhead.service",
        "--user daemon-reload",
    ]


def test_a_machine_without_a_service_manager_is_said_and_nothing_is_written(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(machine.parent / "nothing"))
    assert broker.cli.main(["service", "install"]) == 4
    assert "try: without a service a client's first connection starts the daemon" in capsys.readouterr().err
    assert not (machine.parent / "h").exists()


def test_a_manager_that_refuses_is_quoted_with_the_way_back(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    assert broker.cli.main(["service", "install"]) == 4
    said = capsys.readouterr().err
    assert "failed: Failed to connect to bus" in said
    assert "take it back with: bulkhead service uninstall" in said
