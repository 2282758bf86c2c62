"""Names that look like another: a warning before a new package is agreed to, never a verdict.

A name is compared with those of well-known MCP packages: read with careless eyes, mistyped by a letter or two, or under
a scope that is not the known one's.
"""

import importlib.resources
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from typing import Final

from broker.errors import TrustError
from broker.model import ArtifactKind
from broker.trust.osv import known_as

NAMES: Final = "known_packages.toml"
_ALIKE: Final = str.maketrans({"1": "l", "0": "o", "5": "s", "3": "e", "4": "a", "7": "t", "8": "b", "9": "g",
                               "i": "l", "|": "l", "!": "l", "_": "-", ".": "-"})  # fmt: skip
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("cl", "d"), ("nn", "m"))
_SHORT: Final = 8  # below it, names of one letter's difference are too many to mean anything
_LONG: Final = 14  # from here on two letters may differ
_OWN_NAME: Final = 10  # a name of this length is seldom found twice by chance
_SCOPE: Final = 6
_COMMON: Final = frozenset({"mcp", "server", "tools", "plugin", "docs", "dev", "cli", "proxy", "sdk", "client"})
"""Words that make no name of one's own: `mcp-server` is found under a hundred scopes."""


class LookAlikes:
    """The well-known names of one ecosystem."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(set(names))
        self._known = set(self._names)
        self._skeletons = {skeleton(name): name for name in self._names}
        self._scopes = sorted({scope for name in self._names if (scope := _parts(name)[0])})
        self._bare: dict[str, str] = {}
        for name in self._names:
            if _parts(name)[0]:
                self._bare.setdefault(_parts(name)[1], name)

    def warning(self, name: str) -> str:
        """Which well-known package the name could be mistaken for; empty if it is one, or looks like none."""
        if name in self._known:
            return ""
        scope, bare = _parts(name)
        twin = self._skeletons.get(skeleton(name)) or self._mistyped(name, scope)
        if twin:
            return f"{name} looks like {twin}, which is another package; check the spelling"
        if scope and scope not in self._scopes and (known := self._scope_like(scope)):
            return f"the scope @{scope} looks like @{known}, which belongs to somebody else; check the spelling"
        twin = self._bare.get(bare, "")
        if twin and len(bare) >= _OWN_NAME and not set(bare.split("-")) <= _COMMON and scope not in self._scopes:
            return f"{name} has the name of the well-known {twin}, but not its scope; check who publishes it"
        return ""

    def _mistyped(self, name: str, scope: str) -> str:
        if len(name) < _SHORT:
            return ""
        allowed = 1 if len(name) < _LONG else 2
        near = (known for known in self._names if _parts(known)[0] == scope)
        return next((known for known in near if distance(name, known, allowed) <= allowed), "")

    def _scope_like(self, scope: str) -> str:
        return next(
            (
                known
                for known in self._scopes
                if len(known) >= _SCOPE
                and (skeleton(scope) == skeleton(known) or distance(scope, known, 1) <= 1 or _joined(scope, known))
            ),
            "",
        )


def shipped() -> dict[ArtifactKind, LookAlikes]:
    """The names that come with Bulkhead.

    Raises:
        TrustError: the file is damaged.
    """
    try:
        text = importlib.resources.files("policies").joinpath(NAMES).read_text("utf-8")
        listed = tomllib.loads(text)
        return {
            "npm": LookAlikes(str(name) for name in listed["npm"]),
            "pypi": LookAlikes(known_as("PyPI", str(name)) for name in listed["pypi"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise TrustError(f"the shipped list {NAMES} is damaged", hint="install Bulkhead again") from cause


def skeleton(name: str) -> str:
    """The name as careless eyes read it: equal for `modelcontextprotocol` and `modelcontextprotoco1`."""
    text = unicodedata.normalize("NFKD", name).lower().translate(_ALIKE)
    for pair, single in _PAIRS:
        text = text.replace(pair, single)
    return re.sub(r"-+", "-", text)


def distance(first: str, second: str, limit: int) -> int:
    """Letters to insert, delete, replace or swap with their neighbour; anything above `limit` is `limit` + 1."""
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    before: list[int] = []
    last = list(range(len(second) + 1))
    for row, letter in enumerate(first, 1):
        here = [row] + [0] * len(second)
        for column, other in enumerate(second, 1):
            here[column] = min(last[column] + 1, here[column - 1] + 1, last[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == second[column - 2] and first[row - 2] == other:
                here[column] = min(here[column], before[column - 2] + 1)
        if min(here) > limit:
            return limit + 1
        before, last = last, here
    return min(last[-1], limit + 1)


def _joined(scope: str, known: str) -> bool:
    return scope.replace("-", "") == known.replace("-", "")


def _parts(name: str) -> tuple[str, str]:
    match = re.fullmatch(r"@([^/]+)/(.+)", name)
    return (match[1], match[2]) if match else ("", name)
