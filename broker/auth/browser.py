"""Opens a vetted address in the user's browser: an argument list, a program by its full path, nothing of a shell.

The environment is built, not inherited: BROWSER could name any command.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.auth.places import Near, place_of
from broker.auth.problems import AuthError

OPENERS: Final = {"linux": "/usr/bin/xdg-open", "darwin": "/usr/bin/open"}
DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
HANDED_ON: Final = (*DISPLAYS, "HOME", "USER", "LOGNAME", "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE")
OPEN_SECONDS: Final = 5.0
MAX_URL: Final = 8192


def command(url: str, environment: Mapping[str, str], platform: str = sys.platform) -> list[str] | None:
    """What would be run; None where there is no screen or nothing that opens one.

    Raises:
        AuthError: the address may not be opened.
    """
    check(url)
    opener = OPENERS.get("linux" if platform.startswith("linux") else platform)
    if opener is None or (platform != "darwin" and not any(environment.get(name) for name in DISPLAYS[:2])):
        return None
    return [opener, url] if Path(opener).exists() else None


def check(url: str) -> None:
    """Refuse an address that a browser or a program in front of it could read as anything else.

    Raises:
        AuthError: it is one.
    """
    head, _, query = url.partition("?")
    place_of(head, Near.THIS_MACHINE, "authorization endpoint")
    plain = all("!" <= character <= "~" and character not in "\"'<>\\^`{|}" for character in query)
    if len(url) > MAX_URL or not plain or "#" in query:
        raise AuthError("address", "authorization endpoint")


def open_url(url: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Open it; false where the person has to do it.  Blocks for at most `OPEN_SECONDS`.

    Raises:
        AuthError: the address may not be opened.
    """
    argv = command(url, environment)
    if argv is None:
        return False
    kept = {name: environment[name] for name in HANDED_ON if name in environment}
    try:
        opener = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**kept, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        return False
    try:
        return opener.wait(OPEN_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True  # a browser in the foreground: it is open, and ends when the person closes it
