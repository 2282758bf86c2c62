"""What changed without a yes, and the policy."""

from collections.abc import Mapping

from broker.api import schema, views
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.errors import DeskError
from broker.files import read_bounded
from broker.model import Origin
from broker.policy.document import parse_policy
from broker.policy.store import GRANTS, POLICY


class Reviews:
    """Drifted catalogs and hand-edited documents, until a person looks."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.REVIEW.method: self._review,
            schema.ACCEPT.method: self._accept,
            schema.POLICY_USE.method: self._policy_use,
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
        if self._at.drifts.of(params.name) is not None:
            live = self._at.drifts.accept(params.name, params.digest)
            for link in self._at.sessions.links(params.name):
                link.drift_accepted(live)
        else:
            self._accept_document(params)
        await self._at.did("policy", "review.accept", params.name, Origin(), {"digest": params.digest})
        return schema.Nothing()

    def _accept_document(self, params: schema.Accept) -> None:
        house = self._at.house
        known = {str(found.path) for found in self._at.agreed.drifted()}
        if params.name not in known:
            raise DeskError(f"{params.name} has not changed", hint="bulkhead review", code="unknown")
        if params.name == POLICY and params.digest:
            parse_policy(read_bounded(self._at.paths.config / POLICY), POLICY)  # a bad one is refused before it counts
        self._at.agreed.accept(params.name, params.digest)
        if params.name == POLICY:
            house.policy.reload()
        if params.name == GRANTS:
            house.grants.reload()

    # --- sessions, clients, grants ---

    async def _policy_use(self, _caller: Caller, params: schema.PolicyUse) -> schema.Nothing:
        self._at.house.policy.use(params.text.encode(), params.name)
        await self._at.did("policy", "policy.use", params.name, Origin())
        return schema.Nothing()
