"""The daemon in one look, and everything as it changes."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from broker import __version__
from broker.api import schema, views
from broker.api.premises import Premises
from broker.api.routes.people import People
from broker.api.routes.servers import Servers
from broker.api.wire import Caller, Handler
from broker.sandbox.tiers import STARTS_NOTHING

RECEIPTS_SHOWN: Final = 200
WATCH_SECONDS: Final = 0.1  # changes are gathered for so long; a person does not see faster
REFRESH_SECONDS: Final = 1.0  # receipts are appended without a word to anybody
MAX_PAGE: Final = 1000


class Overview:
    """What a person watches."""

    def __init__(self, premises: Premises, people: People, servers: Servers) -> None:
        self._at = premises
        self._people = people
        self._servers = servers

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.STATUS.method: self._status,
            schema.WATCH.method: self._watch,
            schema.STOP.method: self._stop,
        }

    async def _status(self, _caller: Caller, _params: schema.Nothing) -> schema.Statuses:
        return schema.Statuses(status=self._status_now())

    def _status_now(self) -> schema.Status:
        at, house = self._at, self._at.house
        sessions = at.sessions.all()
        return schema.Status(
            version=__version__,
            pid=os.getpid(),
            uptime=time.monotonic() - at.started,
            home=str(at.paths.home),
            tier=at.tier.shown,
            tier_note=at.tier.reason if at.tier.name not in STARTS_NOTHING else f"{at.tier.reason}; {at.tier.fix}",
            limits=at.limits,
            keychain=at.keychain,
            vault=house.vault.standing.text,
            presence=at.presence,
            sessions=len(sessions),
            links=sum(len(session.links) for session in sessions),
            questions=len(house.consent.open()),
            servers=len(house.registry.servers()),
            policy=house.policy.current.name,
            policy_problem=at.agreed.problem or house.policy.problem or house.audit.failure,
            drifted_documents=[str(document.path) for document in at.agreed.drifted()],
            receipts=house.audit.seq,
        )

    async def _watch(self, caller: Caller, _params: schema.Nothing) -> schema.Nothing:
        with self._at.news.watching():
            await self._tell(caller)
        return schema.Nothing()

    async def _tell(self, caller: Caller) -> None:
        """A snapshot, then only what differs from what was last said."""
        status, questions, sessions = self._status_now(), self._people.questions_now(), self._people.sessions_now()
        servers, grants = self._servers.now(), self._people.grants_now()
        applications, alerts, vitals = self._applications_now(), self._alerts_now(), self._vitals_after(0.0)
        receipts = await asyncio.to_thread(self._at.index.tail, RECEIPTS_SHOWN)
        seen = receipts[-1]["seq"] if receipts else 0
        sampled = vitals[-1].at if vitals else 0.0
        caller.event(
            schema.Snapshot(
                status=status, questions=questions, sessions=sessions, servers=servers, grants=grants,
                receipts=receipts, applications=applications, alerts=alerts, vitals=vitals,
            )
        )  # fmt: skip
        said: dict[type[schema.Words], Any] = {
            schema.QuestionsChanged: questions,
            schema.SessionsChanged: sessions,
            schema.ServersChanged: servers,
            schema.GrantsChanged: grants,
            schema.StatusChanged: _steady(status),
            schema.ApplicationsChanged: applications,
            schema.AlertsChanged: alerts,
        }
        while True:
            await self._at.news.wait(REFRESH_SECONDS)
            await asyncio.sleep(WATCH_SECONDS)
            now = self._status_now()
            fresh: list[tuple[schema.Words, Any]] = [
                (schema.QuestionsChanged(questions=(found := self._people.questions_now())), found),
                (schema.SessionsChanged(sessions=(runs := self._people.sessions_now())), runs),
                (schema.ServersChanged(servers=(rows := self._servers.now())), rows),
                (schema.GrantsChanged(grants=(held := self._people.grants_now())), held),
                (schema.StatusChanged(status=now), _steady(now)),
                (schema.ApplicationsChanged(applications=(files := self._applications_now())), files),
                (schema.AlertsChanged(alerts=(told := self._alerts_now())), told),
            ]
            for words, value in fresh:
                if said[type(words)] != value:
                    said[type(words)] = value
                    caller.event(words)
            if samples := self._vitals_after(sampled):
                sampled = samples[-1].at
                caller.event(schema.VitalsAdded(vitals=samples))
            while page := await asyncio.to_thread(self._at.index.follow, seen, MAX_PAGE):
                seen = page[-1]["seq"]
                caller.event(schema.ReceiptsAdded(receipts=page))

    def _applications_now(self) -> list[schema.ApplicationView]:
        return [views.application_view(one) for one in self._at.clients.seen]

    def _alerts_now(self) -> list[schema.AlertView]:
        return [views.alert_view(alert) for alert in self._at.house.vitals.alarms.all()]

    def _vitals_after(self, at: float) -> list[schema.VitalView]:
        return [views.vital_view(sample) for sample in self._at.house.vitals.samples if sample.at > at]

    async def _stop(self, _caller: Caller, _params: schema.Nothing) -> schema.Nothing:
        self._at.stop()
        return schema.Nothing()


def _steady(status: schema.Status) -> schema.Status:
    """A status without what changes by itself."""
    return status.model_copy(update={"uptime": 0.0})
