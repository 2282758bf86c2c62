"""The daemon as a service of the user: the files that systemd and launchd read.

Pure text.  The service runs as the user and holds no power that the user's shell does not have.
"""

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from broker.errors import ConfigError

UNIT: Final = "bulkhead.service"
LABEL: Final = "bulkhead"
STOP_SECONDS: Final = 20  # the daemon's own shutdown is bounded by 15


def unit_path(home: Path, environment: Mapping[str, str]) -> Path:
    """Where a user's own units are (systemd.unit(5))."""
    base = environment.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else home / ".config") / "systemd" / "user" / UNIT


def agent_path(home: Path) -> Path:
    """Where a user's own agents are (launchd.plist(5))."""
    return home / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def systemd_unit(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """A user unit that runs `argv` (systemd.service(5)).

    Settings that imply NoNewPrivileges (seccomp filters, RestrictRealtime, LockPersonality) or a mount namespace are
    left out: sandboxes are made by bwrap, which distributions allow namespaces by its own AppArmor profile or set-uid
    bit, and neither would apply any more.

    Raises:
        ConfigError: a word cannot be written into a unit.
    """
    assignments = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(environment.items()))
    return f"""\
[Unit]
Description=Bulkhead, the broker between AI applications and MCP servers
Documentation=man:bulkhead(1)
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=exec
ExecStart={" ".join(_quoted(word) for word in argv)}
{assignments}Restart=on-failure
RestartSec=1
KillMode=mixed
TimeoutStopSec={STOP_SECONDS}
WorkingDirectory=/
UMask=0077
LimitCORE=0
OOMPolicy=continue
Delegate=memory pids cpu

[Install]
WantedBy=default.target
"""


def launchd_agent(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> bytes:
    """A launch agent that runs `argv` (launchd.plist(5))."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(argv),
            "EnvironmentVariables": dict(environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": STOP_SECONDS,
            "WorkingDirectory": "/",
            "Umask": 0o077,
            "HardResourceLimits": {"Core": 0},
            "StandardErrorPath": str(log),
            "ProcessType": "Interactive",
        }
    )


def _quoted(word: str) -> str:
    """A word in a unit: `%` and `$` mean something there, and so do quotes and backslashes."""
    if any(not char.isprintable() for char in word):
        raise ConfigError(f"{word!r} cannot be written into a systemd unit", hint="use a folder with a plain name")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
