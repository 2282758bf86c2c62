"""Servers whose live catalog is not the pinned one, until a person looks.

Kept in memory only: a drift that is still there is found again at the server's next start.
"""

import hashlib
import json
from dataclasses import dataclass

from broker.errors import DeskError
from broker.model import ServerName
from broker.protocol import catalog as catalogs
from broker.protocol.catalog import Catalog, Change
from broker.registry import Registry


@dataclass(frozen=True, slots=True)
class Drift:
    """What changed, and the catalog that would be agreed to.  `digest` names both."""

    changes: tuple[Change, ...]
    live: Catalog
    digest: str


class DriftBook:
    """The open drifts, one a server."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._drifts: dict[ServerName, Drift] = {}

    def note(self, server: ServerName, changes: tuple[Change, ...], live: Catalog) -> None:
        """A link found its server changed.  Views of another era or client kind that drifted before stay noted."""
        known = self._drifts.get(server)
        views = {**(known.live.views if known else {}), **live.views}
        lines = {*(known.changes if known else ()), *changes}
        ordered = tuple(sorted(lines, key=lambda change: (change.what, change.name, change.kind, change.fields)))
        merged = Catalog(views)
        told = json.dumps([[c.kind, c.what, c.name, list(c.fields)] for c in ordered])
        digest = hashlib.sha256(f"{catalogs.digest(merged)}\n{told}".encode()).hexdigest()
        self._drifts[server] = Drift(ordered, merged, digest)

    def of(self, server: str) -> Drift | None:
        return self._drifts.get(ServerName(server))

    def all(self) -> dict[ServerName, Drift]:
        return dict(self._drifts)

    def forget(self, server: str) -> None:
        """The server was removed or pinned anew."""
        self._drifts.pop(ServerName(server), None)

    def shown(self, server: str, digest: str) -> Drift:
        """The drift a person saw.

        Raises:
            DeskError: there is no such drift, or it is no longer the one that was shown.
        """
        drift = self.of(server)
        if drift is None or self._registry.pin(server) is None:
            raise DeskError(f"{server} has not drifted", hint="bulkhead review", code="unknown")
        if drift.digest != digest:
            raise DeskError(f"{server} changed again since you looked", hint="bulkhead review", code="replaced")
        return drift

    def accept(self, server: str, digest: str) -> Catalog:
        """A person agreed to the live catalog: it becomes the pinned one, and is returned.

        Raises:
            DeskError: as for `shown`.
        """
        drift, pin = self.shown(server, digest), self._registry.pin(server)
        assert pin is not None
        agreed = self._registry.catalog(server)
        self._registry.put_pin(pin, Catalog({**agreed.views, **drift.live.views}))
        self.forget(server)
        return drift.live
