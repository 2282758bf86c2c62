"""The receipts: searched by anybody who may read, opened and pruned by a person."""

import asyncio
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.audit.index import Wanted
from broker.model import Fact, JsonObject, Origin

FIELDS: Final = tuple(field.name for field in fields(Wanted))
PAGE: Final = 100  # opened bodies of 64 KiB each are as much as one answer should hold


class ReceiptRoutes:
    """What can be asked of the audit log."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {schema.AUDIT.method: self._search, schema.AUDIT_OPEN.method: self._open}

    async def _search(self, _caller: Caller, params: schema.Search) -> schema.Receipts:
        return schema.Receipts(receipts=await self._found(params, params.limit))

    async def _open(self, _caller: Caller, params: schema.Search) -> schema.Receipts:
        """Bodies in clear.  That somebody read them is a receipt of its own."""
        found = await self._found(params, min(params.limit, PAGE))
        keys, audit = self._at.house.audit.keys, self._at.house.audit
        sealed = [entry["seq"] for entry in found if "sealed" in (entry["body"] or ())]
        if sealed:
            body = {"first": sealed[0], "last": sealed[-1], "receipts": len(sealed)}
            audit.append(Origin(), Fact("daemon", "person", target="audit-open", body=body))
        return schema.Receipts(receipts=[keys.opened(entry) for entry in found])

    async def _found(self, params: schema.Search, limit: int) -> list[JsonObject]:
        index = self._at.index
        wanted = Wanted(**{name: getattr(params, name) for name in FIELDS})
        ask = index.page if params.oldest_first else index.last
        return await asyncio.to_thread(ask, wanted, limit)
