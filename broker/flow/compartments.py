"""Which part of a server a call is about, and whether its arguments make it graver than its tool is.

A scope is taken from arguments alone, never from what a server answers: it does not choose who is told apart.
"""

import re
from dataclasses import replace
from typing import Final

from broker.flow.fingerprint import leaves, plain
from broker.flow.labels import Labels
from broker.model import JsonObject

MAX_SCOPE: Final = 256  # characters

_SENSITIVE = re.compile(
    r"(?:^|[/\\~])\.[a-z][\w.-]*(?:[/\\]|$)|mcp\.json|authorized_keys|id_(?:rsa|ed25519)|crontab|(?:^|/)etc/|"
    r"(?:^|/)(?:makefile|dockerfile|package\.json|pyproject\.toml)$|\.(?:sh|bash|zsh|bat|cmd|ps1|service|plist|desktop)$",
    re.IGNORECASE,
)
"""Paths that other programs run or obey."""


def scope_of(labels: Labels, arguments: JsonObject) -> str:
    """The scope of a call: the values of its scope arguments; empty where none is given."""
    if not labels.scope:
        return ""
    values = [arguments.get(name) for name in labels.scope]
    return "/".join(spelled(str(value)) for value in values if isinstance(value, str | int) and value != "")[:MAX_SCOPE]


def spelled(scope: str) -> str:
    """One spelling for all ways to write a scope."""
    return plain(scope).strip(" /")


def of_arguments(labels: Labels, arguments: JsonObject) -> Labels:
    """The labels of a call with these arguments: a change to a path that programs obey is of class H."""
    if labels.level == "H" or "M" not in labels.flags:
        return labels
    if any(_SENSITIVE.search(leaf.strip()) for leaf in leaves(arguments) if len(leaf) <= 4096):
        return replace(labels, level="H", reason=f"{labels.reason}; and it touches a path that programs obey")
    return labels
