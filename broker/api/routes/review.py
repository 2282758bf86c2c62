"""What changed without a yes."""

from collections.abc import Mapping

from broker.alarms.rules import ALERTS, parse_alerts
from broker.api import schema, views
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.audit.retention import RETENTION, parse_retention
from broker.endpoints.proxy_book import PROXY, parse_proxy
from broker.errors import DeskError
from broker.files import read_bounded, sha256_hex
from broker.links import Link
from broker.manners.rules import MANNERS, parse_manners
from broker.model import Origin, Verdict
from broker.policy.document import parse_policy
from broker.policy.fleet import FLEET, read_subscription
from broker.policy.grants import parse_grants
from broker.policy.store import GRANTS, POLICY
from broker.policy.wall_book import WALLS
from broker.policy.walls import parse_walls


class Reviews:
    """Drifted catalogs and hand-edited documents, until a person looks."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.REVIEW.method: self._review,
            schema.ACCEPT.method: self._accept,
        }

    async def _review(self, _caller: Caller, _params: schema.Nothing) -> schema.Review:
        items = [
            schema.ReviewItem(
                kind="catalog",
                name=server,
                digest=drift.digest,
                changes=[views.change_line(change) for change in drift.changes],
            )
            for server, drift in self._at.drifts.all().items()
        ]
        items += [
            schema.ReviewItem(kind="document", name=str(found.path), digest=found.digest, changes=list(found.diff))
            for found in self._at.agreed.drifted()
        ]
        return schema.Review(items=items)

    async def _accept(self, _caller: Caller, params: schema.Accept) -> schema.Nothing:
        is_catalog = self._at.drifts.of(params.name) is not None
        if is_catalog:
            self._at.drifts.shown(params.name, params.digest)
        else:
            self._check_document(params)
        await self._at.did("policy", "review.accept", params.name, Origin(), {"digest": params.digest})
        if is_catalog:
            live = self._at.drifts.accept(params.name, params.digest)
            self._at.labels_changed(params.name)
            for link in self._at.sessions.links(params.name):
                link.drift_accepted(live)
        else:
            self._at.agreed.accept(params.name, params.digest)
            self._follow(params.name)
        self._at.house.changed()
        return schema.Nothing()

    def _check_document(self, params: schema.Accept) -> None:
        """Refuse a document that could not be read back, before it counts."""
        known = {str(found.path) for found in self._at.agreed.drifted()}
        if params.name not in known:
            raise DeskError(f"{params.name} has not changed", hint="bulkhead review", code="unknown")
        try:
            data = read_bounded(self._at.paths.config / params.name)
        except FileNotFoundError:
            return  # to agree that it is gone needs no reading
        if sha256_hex(data) != params.digest:
            raise DeskError(f"{params.name} changed while you looked", hint="bulkhead review", code="replaced")
        if params.name == POLICY:
            parse_policy(data, POLICY)
        elif params.name == GRANTS:
            parse_grants(data, GRANTS)
        elif params.name == WALLS:
            parse_walls(data, WALLS)
        elif params.name == MANNERS:
            parse_manners(data, MANNERS)
        elif params.name == FLEET:
            _ = read_subscription(data).policy
        elif params.name == ALERTS:
            parse_alerts(data, ALERTS)
        elif params.name == RETENTION:
            parse_retention(data)
        elif params.name == PROXY:
            parse_proxy(data, PROXY)
        else:
            self._at.house.registry.check(params.name, data)

    def _follow(self, document: str) -> None:
        """What the document says from now on holds for what runs already, too."""
        house, sessions = self._at.house, self._at.sessions
        folder, _, file = document.partition("/")
        name = file.removesuffix(".toml").removesuffix(".catalog.json")
        if document in (POLICY, FLEET):
            house.policy.reload()
        elif document == GRANTS:
            self._follow_grants()
        elif document == MANNERS:
            house.manners.reload()
        elif document == ALERTS:
            house.vitals.alarms.rules.reload()
        elif document == PROXY:
            house.proxies.reload()
        elif document == WALLS:
            house.walls.reload()
            self._at.walls_changed()
        elif folder == "servers":
            self._at.server_changed(name)
        elif folder == "labels":
            self._at.labels_changed(name)
        elif folder == "pins":
            for link in sessions.links(name):
                link.end(f"the pin of {name} was changed; connect again")
        elif folder == "clients" and not house.registry.clients.has(name):
            for link in sessions.links():
                if link.client == name:
                    link.end(f"the client {name} was removed")

    def _follow_grants(self) -> None:
        """End the links whose grant is gone; one that a person let in just once never had any."""
        house = self._at.house

        def granted() -> set[Link]:
            policy = house.policy.current
            return {
                link
                for link in self._at.sessions.links()
                if house.grants.connected(link.client, link.server.name, link.session, policy).verdict is Verdict.ALLOW
            }

        before = granted()
        house.grants.reload()
        for link in before - granted():
            link.end("its connection grant was taken out of grants.toml")
