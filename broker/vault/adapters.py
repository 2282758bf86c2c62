"""Credentials that other programs of this machine hold: what they hand out for a while, never the files they keep.

A reference is `host:PROGRAM[/WHO][#FIELD]`.  Where a program says when its answer ends, one that does not end is
refused: a server that is given it holds it, and could keep it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from broker.errors import ConfigError

_REFERENCE: Final = re.compile(r"([a-z]+)(?:/([A-Za-z0-9][A-Za-z0-9_.@-]{0,127}))?(?:#([A-Za-z]{1,32}))?")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What one program is run with.  `who` goes before the name after the slash; `needed` says that there must be one.

    `variables` are what servers look for; the values are the fields of an answer in JSON, and `ends` the one that says
    until when.  Without fields the answer itself is the value.
    """

    argv: tuple[str, ...]
    who: tuple[str, ...] = ()
    needed: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    ends: str = ""


PROGRAMS: Final[Mapping[str, Adapter]] = {
    "aws": Adapter(
        ("aws", "configure", "export-credentials", "--format", "process"), ("--profile",), ends="Expiration",
        variables={"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey",
                   "AWS_SESSION_TOKEN": "SessionToken"},
    ),
    "gcloud": Adapter(
        ("gcloud", "auth", "print-access-token"), ("--account",), variables={"CLOUDSDK_AUTH_ACCESS_TOKEN": ""}
    ),
    "gh": Adapter(("gh", "auth", "token"), ("--hostname",), variables={"GITHUB_TOKEN": ""}),
    "kube": Adapter(("kubectl", "create", "token"), needed=True, variables={"KUBE_TOKEN": ""}),
}  # fmt: skip


def words_of(text: str) -> tuple[str, ...]:
    """Program, who, and field, as a reference names them; empty for what names none."""
    found = _REFERENCE.fullmatch(text)
    adapter = PROGRAMS.get(found[1]) if found else None
    if found is None or adapter is None or (adapter.needed and not found[2]):
        return ()
    fields = set(adapter.variables.values())
    return (found[1], found[2] or "", found[3] or "") if (found[3] or "") in fields else ()


def line_of(program: str, who: str) -> tuple[str, ...]:
    """The command that prints it."""
    adapter = PROGRAMS[program]
    return (*adapter.argv, *adapter.who, who) if who else adapter.argv


def taken(printed: str, program: str, part: str, now: float) -> tuple[str, float]:
    """The value in what a program printed, and for how many seconds it is good; endless where nobody says.

    Raises:
        ConfigError: it is not what the program should print, or is good for ever or no more.
    """
    adapter = PROGRAMS[program]
    if not adapter.ends:
        return printed, float("inf")
    try:
        said: Any = json.loads(printed)
        value, until = said.get(part), said.get(adapter.ends)
        left = datetime.fromisoformat(until).timestamp() - now if isinstance(until, str) else 0.0
    except (ValueError, AttributeError, RecursionError) as cause:
        raise ConfigError(f"{program} does not print credentials") from cause
    if until is None:
        hint = "sign in to a role or a session with it, and name that: host:PROGRAM/NAME"
        raise ConfigError(f"what {program} has here is good for ever, and is not handed over", hint=hint)
    if not isinstance(value, str) or left <= 0:
        raise ConfigError(f"what {program} prints is good no more", hint=f"sign in to {program} again")
    return value, left
