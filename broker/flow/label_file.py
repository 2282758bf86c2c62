"""Labels as text: the files that ship with Bulkhead, and those a person accepted for one pinned server.

Both are read strictly: a misspelt key would leave a tool with fewer risks than were meant.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.errors import PolicyError
from broker.flow.labels import Flag, Labels, Level, Need, ServerLabels
from broker.model import State
from broker.toml_text import line_of, read_document

MAX_TOOLS: Final = 1000
ACCEPTED: Final = "accepted by a person"

_Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
_Name = Annotated[str, StringConstraints(min_length=1, max_length=214)]
_Version = Annotated[int, Field(ge=1, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ToolText(_Strict):
    name: _Name
    labels: Annotated[list[Flag], Field(max_length=4)]
    level: Annotated[Level, Field(alias="class")]
    reason: _Sentence
    scope: Annotated[list[_Name], Field(max_length=4)] = []


class _LabelsText(_Strict):
    version: _Version
    ecosystem: Literal["npm", "pypi"]
    package: _Name
    publishers: Annotated[list[_Name], Field(max_length=8)] = []
    source: _Sentence
    needs: Annotated[list[Need], Field(max_length=1)] = []
    state: State = "none"
    keeps: _Sentence | None = None
    stateless: bool = False
    tool: Annotated[list[_ToolText], Field(min_length=1, max_length=MAX_TOOLS)]


class _AcceptedText(_Strict):
    version: _Version
    publisher: Annotated[str, StringConstraints(min_length=1, max_length=8192)]
    catalog: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    tool: Annotated[list[_ToolText], Field(min_length=1, max_length=MAX_TOOLS)]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a person agreed to about the tools of one server.

    It holds for one publisher and for the catalog with this digest: other definitions are another agreement.
    """

    publisher: str
    catalog: str
    labels: ServerLabels


def parse_labels(data: bytes, source: str) -> ServerLabels:
    """Read a label file.  `source` names it in errors.

    Raises:
        PolicyError: it is not TOML, has an unknown key or a wrong value, or lists a tool twice; the line is named.
    """
    document, text = read_document(_LabelsText, data, source, f"correct {source}")
    if (document.state == "none") != (document.keeps is None):
        line = line_of(text, ("state" if document.keeps is None else "keeps",))
        raise PolicyError(
            f"{source}, line {line}: 'state' and 'keeps' go together: a person is told why a server keeps something"
        )
    return ServerLabels(
        document.ecosystem,
        document.package,
        document.source,
        tuple(document.publishers),
        MappingProxyType(_tools(document.tool, text, source)),
        needs=frozenset(document.needs),
        state=document.state,
        keeps=document.keeps or "",
        stateless=document.stateless,
    )


def parse_accepted(data: bytes, source: str) -> Accepted:
    """Read what `format_accepted` wrote.

    Raises:
        PolicyError: it is not TOML, has an unknown key or a wrong value, or lists a tool twice; the line is named.
    """
    document, text = read_document(_AcceptedText, data, source, f"correct {source}, or take the labels back")
    tools = _tools(document.tool, text, source)
    return Accepted(document.publisher, document.catalog, ServerLabels(source=ACCEPTED, tools=MappingProxyType(tools)))


def format_accepted(accepted: Accepted) -> bytes:
    """The text of what a person accepted."""
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "labels": sorted(tool.flags),
            "class": tool.level,
            "reason": tool.reason,
            **({"scope": list(tool.scope)} if tool.scope else {}),
        }
        for name, tool in accepted.labels.tools.items()
    ]
    document = {"version": 1, "publisher": accepted.publisher, "catalog": accepted.catalog, "tool": rows}
    return tomli_w.dumps(document).encode()


def _tools(rows: list[_ToolText], text: str, source: str) -> dict[str, Labels]:
    found: dict[str, Labels] = {}
    for number, row in enumerate(rows):
        if row.name in found:
            raise PolicyError(f"{source}, line {line_of(text, ('tool', number, 'name'))} lists a tool twice")
        found[row.name] = Labels(frozenset(row.labels), row.level, row.reason, tuple(row.scope))
    return found
