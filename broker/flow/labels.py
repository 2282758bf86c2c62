"""What a call does with data: does its result hold something private, or something strangers wrote; does it let data
leave; does it change anything.

Nothing is believed of a server that it says about itself.  What no label file covers is the worst case in everything,
and a label file is bound to the published package whose code was read, not to a name the user typed.
"""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from broker.errors import PolicyError
from broker.model import Call, State

Flag: TypeAlias = Literal["P", "U", "E", "M"]
"""P: the result is private.  U: strangers may have written the result.  E: what is sent leaves to others.
M: it changes something."""

Need: TypeAlias = Literal["unix-sockets"]
"""What a sandbox gives nobody by itself."""

Level: TypeAlias = Literal["H", "L"]
"""H: held after reading elsewhere.  L: not held by that alone."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one call, and why it has them."""

    flags: frozenset[Flag]
    level: Level
    reason: str = ""
    scope: tuple[str, ...] = ()
    """The arguments whose values say which part of the server it is about; without them, all of it."""


EVERY_HOST: Final = "public:*"
"""As it stands among a server's hosts."""

WORST: Final = Labels(frozenset({"P", "U", "E", "M"}), "H", "nobody vouched for it, so the worst is assumed")


@dataclass(frozen=True, slots=True)
class ServerLabels:
    """What is known of one package.  `source` says where that comes from.

    `added` holds for every call, whatever a label file says: it comes from what the server was granted.  `needs` is
    what it cannot work without in its sandbox; a person sees it before the yes that gives it, and so with the `state`
    it is of no use without: `keeps` says why.
    """

    ecosystem: str = ""
    package: str = ""
    source: str = ""
    tools: Mapping[str, Labels] = field(default_factory=lambda: MappingProxyType({}))
    added: frozenset[Flag] = frozenset()
    needs: frozenset[Need] = frozenset()
    state: State = "none"
    keeps: str = ""

    def of(self, method: str, target: str) -> Labels:
        """The labels of a call: those of its tool, or the worst case for whatever is not listed."""
        labels = self.tools.get(target, WORST) if method == "tools/call" else WORST
        if self.added <= labels.flags:
            return labels
        reason = f"{labels.reason}; and it was granted hosts to reach"
        return Labels(labels.flags | self.added, "H", reason, labels.scope)

    def of_call(self, call: Call) -> Labels:
        return self.of(call.method, call.target)

    def reaching(self, hosts: Collection[str]) -> "ServerLabels":
        """The same with these hosts: what it is told may leave, and on the whole network strangers wrote the rest."""
        more: frozenset[Flag] = frozenset({"E", "U"}) if EVERY_HOST in hosts else frozenset({"E"})
        return replace(self, added=self.added | more) if hosts else self


UNLABELLED: Final = ServerLabels()
"""A server about which nothing is known: the worst case in everything."""


def package_key(ecosystem: str, package: str) -> tuple[str, str]:
    """What label files are found by.  PyPI treats `a_b`, `A.b` and `a-b` as one name; npm does not."""
    return ecosystem, re.sub(r"[-_.]+", "-", package).lower() if ecosystem == "pypi" else package


_Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=214)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ToolText(_Strict):
    name: _Name
    labels: Annotated[list[Flag], Field(max_length=4)]
    level: Annotated[Level, Field(alias="class")]
    reason: _Sentence
    scope: Annotated[list[_Name], Field(max_length=4)] = []


class _LabelsText(_Strict):
    version: Annotated[int, Field(ge=1, le=1)]
    ecosystem: Literal["npm", "pypi"]
    package: _Name
    source: _Sentence
    needs: Annotated[list[Need], Field(max_length=1)] = []
    state: State = "none"
    keeps: _Sentence | None = None
    tool: Annotated[list[_ToolText], Field(min_length=1, max_length=1000)]


def parse_labels(data: bytes, source: str) -> ServerLabels:
    """Read a label file.  `source` names it in errors.

    Raises:
        PolicyError: it is not TOML, has an unknown key or a wrong value, or lists a tool twice.
    """
    try:
        document = _LabelsText.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        why = first["msg"][:1].lower() + first["msg"][1:]
        raise PolicyError(f"{source}: {key!r} is not acceptable: {why}") from None
    except (ValueError, RecursionError) as cause:
        raise PolicyError(f"{source} is not TOML: {cause}") from cause
    tools = {
        tool.name: Labels(frozenset(tool.labels), tool.level, tool.reason, tuple(tool.scope)) for tool in document.tool
    }
    if len(tools) < len(document.tool):
        raise PolicyError(f"{source} lists a tool twice")
    if (document.state == "none") != (document.keeps is None):
        raise PolicyError(f"{source}: 'state' and 'keeps' go together: a person is told why a server keeps something")
    return ServerLabels(
        document.ecosystem,
        document.package,
        document.source,
        MappingProxyType(tools),
        needs=frozenset(document.needs),
        state=document.state,
        keeps=document.keeps or "",
    )
