"""What a person set apart: servers that never meet in one session (R2), and the only tools of a client or session.

Both only ever take away.  A wall looks at what was read, not at what is said, so no wording gets around it; and where
it cannot be told on which side something lies, it lies on both.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Final

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from broker.errors import PolicyError
from broker.model import Call, ClientName, Decision, SessionId, Verdict

WALL_RULE: Final = "R2"
LIMIT_RULE: Final = "limit"
MAX_WALLS: Final = 64
MAX_LIMITS: Final = 256
MAX_MEMBERS: Final = 256
WHOLE: Final = frozenset({"", "*"})
"""Scopes of a read that may be of any part of its server."""

_EVERY: Final = SessionId("")

UNKNOWN: Final = "?"
"""The server of a read that cannot be understood any more: it may be any."""

_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=512, strip_whitespace=True)]


@dataclass(frozen=True, slots=True)
class Wall:
    """Classes of which a session reads from one only.

    A member is the shell pattern of servers (`bank`, `tax-*`), or one part of a server: `github:acme/private`.
    """

    name: str
    classes: Mapping[str, tuple[str, ...]]

    def sides(self, server: str, scope: str, mark: Callable[[str], str]) -> frozenset[str]:
        """The classes that this part of a server lies in, or may lie in."""
        return frozenset(
            name for name, members in self.classes.items() if any(_holds(one, server, scope, mark) for one in members)
        )


@dataclass(frozen=True, slots=True)
class Limit:
    """All that a client, or one session of it, may use: `SERVER`, or `SERVER/TOOL`, as shell patterns."""

    id: str
    client: ClientName
    tools: tuple[str, ...]
    session: SessionId = _EVERY

    def concerns(self, client: str, session: str) -> bool:
        return self.client == client and self.session in ("", session)

    def permits(self, server: str, method: str, target: str) -> bool:
        """A pattern with a tool names that tool, and its tasks, and nothing else of its server; without a method, any
        pattern of the server will do."""
        for pattern in self.tools:
            name, slash, tool = pattern.partition("/")
            if fnmatchcase(server, name):
                named = method == "tools/call" and fnmatchcase(target, tool)
                if not slash or named or method == "" or method.startswith("tasks/"):
                    return True
        return False


@dataclass(frozen=True, slots=True)
class Walls:
    """All of them, as agreed."""

    walls: tuple[Wall, ...] = ()
    limits: tuple[Limit, ...] = ()

    def apart(self, one: str, other: str) -> str:
        """The name of a wall that stands between two servers; empty for none."""
        for wall in self.walls:
            here, there = (wall.sides(server, "", lambda _: "") for server in (one, other))
            if any(a != b for a in here for b in there):
                return wall.name
        return ""

    def crossing(
        self, server: str, scope: str, reads: Iterable[tuple[str, str]], mark: Callable[[str], str]
    ) -> Decision | None:
        """Why a session that made `reads` (server and marked scope of each) may have nothing of this part of a server.

        `mark` makes of a scope what stands in a read.
        """
        if not self.walls:
            return None
        known = tuple(reads)
        for wall in self.walls:
            here = wall.sides(server, scope, mark)
            if len(here) > 1:
                reason = f"parts of {server} stand on both sides of the wall {wall.name}, and this does not say which"
                return Decision(Verdict.DENY, WALL_RULE, reason, (f"wall {wall.name}: {', '.join(sorted(here))}",))
            for other, part in known if here else ():
                there = wall.sides(other, part, mark) - here
                if there:
                    (side,), far = here, min(there)
                    reason = (
                        f"this session has read from {other} ({far}), and the wall {wall.name} keeps {side} apart "
                        f"from it; to use {server}: begin a new session (bulkhead session new)"
                    )
                    return Decision(Verdict.DENY, WALL_RULE, reason, (f"wall {wall.name}: {far} | {side}",))
        return None

    def beyond(self, client: str, session: str, server: str, method: str = "", target: str = "") -> Decision | None:
        """Why this is not among what the client or session is limited to.  Without a method: nothing of the server."""
        for limit in self.limits:
            if limit.concerns(client, session) and not limit.permits(server, method, target):
                whose = "this session" if limit.session else client
                return Decision(Verdict.DENY, LIMIT_RULE, f"{whose} is limited to other tools (limit {limit.id})")
        return None


def _holds(member: str, server: str, scope: str, mark: Callable[[str], str]) -> bool:
    pattern, _, part = member.partition(":")
    if server != UNKNOWN and not fnmatchcase(server, pattern):
        return False
    return not part or scope in WHOLE or server == UNKNOWN or mark(part) == scope


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _WallText(_Strict):
    name: _Name
    classes: dict[_Name, Annotated[list[_Word], Field(min_length=1, max_length=MAX_MEMBERS)]]


class _LimitText(_Strict):
    id: _Name
    client: _Name
    session: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    tools: Annotated[list[_Word], Field(max_length=MAX_MEMBERS)]


class _WallsText(_Strict):
    version: Annotated[int, Field(ge=1, le=1)]
    wall: Annotated[list[_WallText], Field(max_length=MAX_WALLS)] = []
    limit: Annotated[list[_LimitText], Field(max_length=MAX_LIMITS)] = []


def parse_walls(data: bytes, source: str) -> Walls:
    """Read walls and limits.

    Raises:
        PolicyError: it is not TOML, has an unknown key or a wrong value, a name stands twice, or a wall has one side.
    """
    try:
        document = _WallsText.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise PolicyError(
            f"{source}: {key!r} is not acceptable: {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None
    except (ValueError, RecursionError) as cause:
        raise PolicyError(f"{source} is not TOML: {cause}") from cause
    for what, names in (("wall", [wall.name for wall in document.wall]), ("limit", [one.id for one in document.limit])):
        if len(set(names)) < len(names):
            raise PolicyError(f"{source}: two of its {what}s have one name")
    for wall in document.wall:
        if len(wall.classes) < 2:
            raise PolicyError(f"{source}: the wall {wall.name} has no two sides", hint=HINT)
        members = [member for side in wall.classes.values() for member in side]
        if len(set(members)) < len(members):
            raise PolicyError(f"{source}: something stands on both sides of the wall {wall.name}", hint=HINT)
    return Walls(
        tuple(Wall(wall.name, {side: tuple(some) for side, some in wall.classes.items()}) for wall in document.wall),
        tuple(
            Limit(one.id, ClientName(one.client), tuple(one.tools), SessionId(one.session)) for one in document.limit
        ),
    )


HINT: Final = "bulkhead wall add NAME CLASS=SERVER,... CLASS=SERVER,..."


def format_walls(walls: Walls) -> bytes:
    """The text of walls and limits."""
    limits = []
    for one in walls.limits:
        row = {"id": one.id, "client": one.client, "session": one.session, "tools": list(one.tools)}
        limits.append({key: value for key, value in row.items() if value != ""})
    made = [{"name": one.name, "classes": {side: list(some) for side, some in one.classes.items()}}
            for one in walls.walls]  # fmt: skip
    return tomli_w.dumps({"version": 1, "wall": made, "limit": limits}).encode("utf-8")


def permitted(walls: Walls, call: Call) -> Decision | None:
    """Why a call is beyond the limits of its client or session."""
    if call.origin == "server":  # what a server asks for is the policy's matter, where the server may be used at all
        return walls.beyond(call.client, call.session, call.server)
    return walls.beyond(call.client, call.session, call.server, call.method, call.target)
