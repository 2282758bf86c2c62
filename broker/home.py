"""`home.conf`: how a shim finds the daemon of this home.

Written by a person's own commands only, owner-only.  The shim reads it and nothing else, so neither a client's
environment nor its arguments can point it at another daemon.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from broker.config import Paths, make_folders, paths_under
from broker.errors import ConfigError
from broker.files import read_bounded, write_private

CONF = "home.conf"
SHIM = Path(__file__).with_name("shim.py")


def write_conf(paths: Paths, environment: Mapping[str, str]) -> None:
    """Register this home: where the sockets and the clients' secrets are, and which Python runs the daemon."""
    make_folders(paths)
    facts = {
        "explicit": "1" if paths.explicit else "0",
        "config": str(paths.config),
        "data": str(paths.data),
        "state": str(paths.state),
        "runtime": str(paths.runtime),
        "connect": str(paths.connect_socket),
        "clients": str(paths.config / "clients"),
        "python": sys.executable,
        "session-bus": environment.get("DBUS_SESSION_BUS_ADDRESS", ""),
    }
    if any("\n" in value for value in facts.values()):
        raise ConfigError("a path with a line break cannot be used")
    text = os.fsencode("".join(f"{key}={value}\n" for key, value in facts.items()))  # a path need not be UTF-8
    try:
        if read_bounded(paths.home / CONF) == text:
            return
    except FileNotFoundError:
        pass
    write_private(paths.home / CONF, text)


def read_conf(home: Path) -> Paths:
    """The paths that were registered for this home; a home without `home.conf` is one folder.

    Raises:
        ConfigError: the file belongs to or may be written by somebody else.
    """
    try:
        text = os.fsdecode(read_bounded(home / CONF))
    except FileNotFoundError:
        return paths_under(home)
    facts = os.stat(home / CONF)
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise ConfigError(f"{home / CONF} may be written by others", hint=f"chmod 600 {home / CONF}")
    conf = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
    try:
        return Paths(
            home=home,
            config=Path(conf["config"]),
            data=Path(conf["data"]),
            state=Path(conf["state"]),
            runtime=Path(conf["runtime"]),
            explicit=conf["explicit"] == "1",
        )
    except KeyError as cause:
        raise ConfigError(f"{home / CONF} lacks {cause}", hint="write it anew with: bulkhead up") from cause


def shim_command(paths: Paths, server: str, client: str) -> list[str]:
    """The fast form of `bulkhead connect`, as it stands in a client's configuration."""
    return [sys.executable, "-I", "-S", "-E", str(SHIM), server, "--client", client, "--home", str(paths.home)]
