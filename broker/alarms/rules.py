"""When an alert is due, and who hears of it: `alerts.toml`, which counts once a person said yes to it.

Without the document the defaults hold: alerts are shown on the screen and the desktop, and sent nowhere.
"""

import tomllib
from typing import Annotated, Final, Literal, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker.errors import BulkheadError, PolicyError

ALERTS: Final = "alerts.toml"
MAX_ADDRESS: Final = 2048
_HINT: Final = "see the section on alerts in the README"

Rule: TypeAlias = Literal["errors", "denied", "issuer", "drift", "malware", "bypass"]
"""Many errors, many denials, another authorization server, changed definitions, malware, a client that goes past."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Errors(_Strict):
    """Of at least `of` answers of one server within `seconds`, `share` were errors."""

    share: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.5
    of: Annotated[int, Field(ge=1, le=250)] = 10
    seconds: Annotated[float, Field(gt=0, le=3600, strict=False)] = 60.0


class Denied(_Strict):
    """So many calls of one client at one server were denied within `seconds`."""

    calls: Annotated[int, Field(ge=1, le=250)] = 10
    seconds: Annotated[float, Field(gt=0, le=3600, strict=False)] = 60.0


class AlertsText(_Strict):
    """`quiet`: seconds in which the same alert is counted and not told again.  `webhook` hears of each one."""

    version: Annotated[int, Field(ge=1, le=1)]
    webhook: Annotated[str, Field(max_length=MAX_ADDRESS, repr=False)] = ""
    desktop: bool = True
    quiet: Annotated[float, Field(ge=1, le=86_400, strict=False)] = 600.0
    off: Annotated[tuple[Rule, ...], Field(max_length=6, strict=False)] = ()
    errors: Errors = Errors()
    denied: Denied = Denied()


DEFAULTS: Final = AlertsText(version=1)


class Documents(Protocol):
    """Where agreed documents live (`broker.agreed.Agreed`)."""

    def load(self, name: str) -> bytes | None: ...


def parse_alerts(data: bytes, source: str) -> AlertsText:
    """Read the document.

    Raises:
        PolicyError: it is not TOML, a key is unknown or out of bounds, or the webhook's address may not be asked.
    """
    try:
        found = AlertsText.model_validate(tomllib.loads(data.decode()))
        if found.webhook:
            from broker.endpoints.http_reach import origin_of  # loads HTTP, which hardly any home needs for this

            origin_of(found.webhook)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PolicyError(f"{source}: {where!r} is not acceptable: {first['msg'].lower()}", hint=_HINT) from None
    except (ValueError, RecursionError):
        raise PolicyError(f"{source} is not TOML", hint=_HINT) from None
    except BulkheadError as cause:
        raise PolicyError(f"{source}: the webhook: {cause}", hint=cause.hint) from cause
    return found


class AlertRules:
    """The one owner of this document."""

    def __init__(self, documents: Documents | None = None) -> None:
        """Raises `PolicyError` where the document is not acceptable."""
        self._documents = documents
        self.current = self._read()

    def reload(self) -> str:
        """Read it again.  Returns the problem if it is not acceptable; then the old ones stand."""
        try:
            self.current = self._read()
        except BulkheadError as error:
            return str(error)
        return ""

    def _read(self) -> AlertsText:
        data = self._documents.load(ALERTS) if self._documents is not None else None
        return parse_alerts(data, ALERTS) if data is not None else DEFAULTS
