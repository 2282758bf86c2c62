"""What a person agreed to about manners: which calls, and how much of what.

Of all that match the strictest counts, in whatever order they stand, so that another one never loosens anything.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import PolicyError
from broker.model import Call

T = TypeVar("T", int, float)
MANNERS: Final = "manners.toml"
MAX_RULES: Final = 256
_HINT: Final = "see the section on manners in the README"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call may use; None is as much as anybody.

    `at_once`: calls of this tool under way on one link.  `seconds` until its answer.  `result_bytes` of that.
    `again`: how often the very same call may come within `within` seconds.  `tries`: how often it is tried again, the
    first time after `wait` seconds.  `kept`: for how many seconds an answer may be given again without asking.
    """

    at_once: int | None = None
    seconds: float | None = None
    result_bytes: int | None = None
    again: int | None = None
    within: float = 60.0
    tries: int = 0
    wait: float = 1.0
    kept: float = 0.0


_FREE: Final = Bounds()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AgainText(_Strict):
    calls: Annotated[int, Field(ge=1, le=10_000)]
    seconds: Annotated[float, Field(gt=0, le=86_400, strict=False)]


class RetryText(_Strict):
    """Only for tools whose agreed definition says that doing it twice does what doing it once does."""

    times: Annotated[int, Field(ge=0, le=5)]
    wait: Annotated[float, Field(ge=0, le=60, strict=False)] = 1.0


class CacheText(_Strict):
    seconds: Annotated[float, Field(ge=0, le=86_400, strict=False)]


class MannerText(_Strict):
    """One `[[manner]]`.  Patterns are shell patterns."""

    client: str = "*"
    server: str = "*"
    tool: str = "*"
    at_once: Annotated[int | None, Field(ge=1, le=256)] = None
    seconds: Annotated[float | None, Field(gt=0, le=86_400, strict=False)] = None
    result_bytes: Annotated[int | None, Field(ge=1)] = None
    again: AgainText | None = None
    retry: RetryText | None = None
    cache: CacheText | None = None

    def matches(self, client: str, server: str, tool: str) -> bool:
        pairs = ((client, self.client), (server, self.server), (tool, self.tool))
        return all(fnmatchcase(name, pattern) for name, pattern in pairs)


class MannersText(_Strict):
    """The whole document."""

    version: Literal[1]
    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    rest: Annotated[float, Field(gt=0, le=3600, strict=False)] = 30.0
    manner: Annotated[tuple[MannerText, ...], Field(max_length=MAX_RULES, strict=False)] = ()

    def bounds(self, call: Call) -> Bounds:
        """What holds for this call."""
        if not self.manner:
            return _FREE
        found = [rule for rule in self.manner if rule.matches(call.client, call.server, call.target)]
        again = [rule.again for rule in found if rule.again is not None]
        tightest = min(again, key=lambda one: one.calls / one.seconds, default=None)
        retries = [rule.retry for rule in found if rule.retry is not None]
        return Bounds(
            _least(rule.at_once for rule in found),
            _least(rule.seconds for rule in found),
            _least(rule.result_bytes for rule in found),
            tightest.calls if tightest else None,
            tightest.seconds if tightest else 60.0,
            _least(retry.times for retry in retries) or 0,
            max((retry.wait for retry in retries), default=1.0),
            _least(rule.cache.seconds for rule in found if rule.cache is not None) or 0.0,
        )


def parse_manners(data: bytes, source: str) -> MannersText:
    """Read the document; `source` names it in errors.

    Raises:
        PolicyError: it is not acceptable.
    """
    try:
        return MannersText.model_validate(tomllib.loads(data.decode("utf-8")))
    except ValidationError as cause:
        fault = cause.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise PolicyError(f"{source}: {where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}", hint=_HINT) from cause
    except ValueError as cause:
        raise PolicyError(f"{source} is not TOML in UTF-8", hint=_HINT) from cause


def _least(values: Iterable[T | None]) -> T | None:
    return min((value for value in values if value is not None), default=None)
