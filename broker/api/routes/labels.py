"""Labels at the desk: what counts for a server, what could be accepted and why, a person's yes, and taking it back."""

from collections.abc import Mapping
from types import MappingProxyType

from broker.api import schema
from broker.api.premises import Premises
from broker.api.wire import Caller, Handler
from broker.errors import ConfigError, DeskError
from broker.flow.label_file import ACCEPTED, Accepted
from broker.flow.labels import Labels, ServerLabels
from broker.labelling import proposed, publisher_of, standing
from broker.model import Origin
from broker.pin import Pin
from broker.registry import Server


class LabelRoutes:
    """What a person decides about labels, bound to the definitions they were shown."""

    def __init__(self, premises: Premises) -> None:
        self._at = premises

    def table(self) -> Mapping[str, Handler]:
        return {
            schema.LABELS.method: self._labels,
            schema.LABELS_ACCEPT.method: self._accept,
            schema.LABELS_TAKE_BACK.method: self._take_back,
        }

    async def _labels(self, _caller: Caller, params: schema.Name) -> schema.LabelsView:
        return self._view(*self._pinned(params.name))

    async def _accept(self, _caller: Caller, params: schema.LabelsAccept) -> schema.LabelsView:
        server, pin = self._pinned(params.name)
        if pin.catalog != params.catalog:
            raise DeskError(f"the definitions of {server.name} changed while you looked",
                            hint=f"look again: bulkhead labels {server.name}", code="replaced")  # fmt: skip
        if pin.launch.dev:
            raise DeskError(f"the code of {server.name} may change from day to day, so no labels are kept for it",
                            hint="pin it without --dev first")  # fmt: skip
        known = proposed(self._at.house, pin)
        for tool in params.tools:
            if tool.name not in known:
                raise DeskError(f"{server.name} has no tool {tool.name!r}", hint=f"bulkhead labels {server.name}",
                                code="unknown")  # fmt: skip
        tools = {
            tool.name: Labels(frozenset(tool.labels), tool.level, tool.reason, tuple(tool.scope))
            for tool in params.tools
        }
        if len(tools) < len(params.tools):
            raise DeskError("a tool was named twice", hint="name each tool once")
        accepted = Accepted(
            publisher_of(pin.artifact), pin.catalog, ServerLabels(source=ACCEPTED, tools=MappingProxyType(tools))
        )
        said = {name: f"{''.join(sorted(one.flags))}/{one.level}" for name, one in tools.items()}
        body = {"catalog": pin.catalog, "tools": said}
        await self._at.did("policy", "labels.accept", server.name, Origin(server=server.name), body)
        self._at.house.registry.put_labels(server.name, accepted)
        return self._changed(server, pin)

    async def _take_back(self, _caller: Caller, params: schema.Name) -> schema.LabelsView:
        server, pin = self._pinned(params.name)
        await self._at.did("policy", "labels.take-back", server.name, Origin(server=server.name))
        self._at.house.registry.drop_labels(server.name)
        return self._changed(server, pin)

    def _changed(self, server: Server, pin: Pin) -> schema.LabelsView:
        self._at.labels_changed(server.name)
        self._at.house.changed()
        return self._view(server, pin)

    def _pinned(self, name: str) -> tuple[Server, Pin]:
        registry = self._at.house.registry
        server, pin = registry.server(name), registry.pin(name)
        if pin is None:
            raise ConfigError(f"{name} is not pinned", hint=f"bulkhead pin {name} --update")
        return server, pin

    def _view(self, server: Server, pin: Pin) -> schema.LabelsView:
        found = standing(self._at.house, server, pin)
        tools = [
            schema.ProposedLabels(
                now=_row(name, found.labels.of("tools/call", name)),
                proposed=_row(name, guess.labels),
                because=list(guess.because),
            )
            for name, guess in proposed(self._at.house, pin).items()
        ]
        return schema.LabelsView(
            name=server.name,
            basis=found.basis,
            source=found.labels.source,
            lapsed=found.lapsed,
            publisher=publisher_of(pin.artifact),
            catalog=pin.catalog,
            tools=tools,
        )


def _row(name: str, labels: Labels) -> schema.ToolLabels:
    flags = [flag for flag in ("P", "U", "E", "M") if flag in labels.flags]
    return schema.ToolLabels(
        name=name, labels=flags, level=labels.level, reason=labels.reason[:500] or "-", scope=list(labels.scope)
    )
