"""The receipts: searched by anybody who may read, opened and pruned by a person."""

import asyncio
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Final

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.audit.index import Wanted
from broker.audit.prune import prune
from broker.model import Fact, JsonObject, Origin

FIELDS: Final = tuple(field.name for field in fields(Wanted))
PAGE: Final = 100  # opened bodies of 64 KiB each are as much as one answer should hold


def opened(premises: Premises, found: list[JsonObject]) -> list[JsonObject]:
    """Bodies in clear.  That somebody read them is a receipt of its own."""
    keys, audit = premises.house.audit.keys, premises.house.audit
    sealed = [entry["seq"] for entry in found if "sealed" in (entry["body"] or ())]
    if sealed:
        body = {"first": sealed[0], "last": sealed[-1], "receipts": len(sealed)}
        audit.append(Origin(), Fact("daemon", "person", target="audit-open", body=body))
    return [keys.opened(entry) for entry in found]


class ReceiptRoutes:
    """What can be asked of the audit log."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.AUDIT.method: self._search,
            schema.AUDIT_OPEN.method: self._open,
            schema.AUDIT_PRUNE.method: self._prune,
        }

    async def _search(self, _caller: Caller, params: schema.Search) -> schema.Receipts:
        return schema.Receipts(receipts=await self._found(params, params.limit))

    async def _open(self, _caller: Caller, params: schema.Search) -> schema.Receipts:
        found = await self._found(params, min(params.limit, PAGE))
        return schema.Receipts(receipts=opened(self._at, found))

    async def _prune(self, _caller: Caller, params: schema.Prune) -> schema.PrunedView:
        """On record before anything is gone."""
        audit, folder = self._at.house.audit, self._at.paths.audit
        if not params.dry_run:
            asked = params.model_dump(mode="json")
            await audit.append_durable(
                Origin(), Fact("daemon", "person", target="audit-prune", body=asked, durable=True)
            )
        work = partial(prune, older_than=params.older_than, keep=params.keep, dry_run=params.dry_run)
        done = await asyncio.to_thread(work, folder, audit.keys, params.classes)
        if not params.dry_run:
            await asyncio.to_thread(self._at.index.forget)
        return schema.PrunedView(entries=done.entries, bytes=done.bytes, segments=done.segments)

    async def _found(self, params: schema.Search, limit: int) -> list[JsonObject]:
        index = self._at.index
        wanted = Wanted(**{name: getattr(params, name) for name in FIELDS})
        ask = index.page if params.oldest_first else index.last
        return await asyncio.to_thread(ask, wanted, limit)
