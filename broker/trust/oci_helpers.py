"""Logins that only a helper program of docker or podman knows, asked for as those tools do.

The program is the person's own, named by their settings and found on their PATH.  It is told one registry's name, on
standard input, and has a deadline; what it says is used for that registry and kept nowhere.
"""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import TrustError

EVERY: Final = ""
"""In the place of a registry: all that no other helper is named for."""
SECONDS: Final = 20.0  # one that unlocks a keychain may ask the person first
MAX_ANSWER: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOKEN: Final = "<token>"  # noqa: S105 - what docker writes in the place of a name


def named_helpers(document: Mapping[str, Any]) -> dict[str, str]:
    """The helpers that a settings file names, by registry."""
    listed, store = document.get("credHelpers"), document.get("credsStore")
    found = {str(host): name for host, name in listed.items()} if isinstance(listed, dict) else {}
    if store:
        found[EVERY] = store
    return {host: name for host, name in found.items() if isinstance(name, str) and _NAME.fullmatch(name)}


def ask_helper(helpers: Mapping[str, str], environment: Mapping[str, str], host: str) -> str:
    """The login for a registry (base64 of name and password); empty where no helper knows one.

    Raises:
        TrustError: a helper does not answer in time, or answers with no login.
    """
    name = helpers.get(host) or helpers.get(EVERY)
    program = shutil.which(f"docker-credential-{name}", path=environment.get("PATH", "")) if name else None
    if program is None:
        return ""
    told = {variable: environment[variable] for variable in ("PATH", "HOME", "LANG") if variable in environment}
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, env=told, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        hint = f"try it by hand: echo {host} | docker-credential-{name} get"
        raise TrustError(f"docker-credential-{name} does not say the login of {host}", hint=hint) from cause
    if done.returncode != 0:
        return ""  # how a helper says that it knows none
    try:
        answer = json.loads(done.stdout[:MAX_ANSWER])
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise TrustError(f"docker-credential-{name} answers with no login for {host}") from cause
    if user == _TOKEN:
        hint = "log in with a name and a password or an access token: docker login"
        raise TrustError(f"docker-credential-{name} knows only a session of docker's own for {host}", hint=hint)
    return base64.b64encode(f"{user}:{secret}".encode()).decode()
