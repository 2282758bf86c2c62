"""What is to be done for a client that sees many servers as one.  Values only; performed in order."""

from dataclasses import dataclass
from typing import TypeAlias

from broker.model import JsonObject, ServerName


@dataclass(frozen=True, slots=True)
class Enter:
    """Open a link to this server; what is said to it next goes there."""

    server: ServerName


@dataclass(frozen=True, slots=True)
class Say:
    """Send this.  `to` is None for the client."""

    to: ServerName | None
    message: JsonObject


Act: TypeAlias = Enter | Say
