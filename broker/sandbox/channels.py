"""The ways by which servers tell each other something without a message: folders, state, services of this machine.

Labels flow along them.  A server that reads what is private and one that can send something out may each be harmless;
joined by such a way they are one that does both, so a launch that joins them is a question.  Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.model import Grants, ServerName
from broker.sandbox.addresses import address_of, normal
from broker.sandbox.hosts import HostRules


@dataclass(frozen=True, slots=True)
class Seat:
    """A server as the graph sees it: what it was granted, and whether its results may be private.

    Whoever sees files of the user reads what is private, whatever its label says.
    """

    server: ServerName
    grants: Grants
    private: bool = False

    @property
    def reads(self) -> bool:
        """Whether it may hold something private."""
        return self.private or bool(self.grants.read or self.grants.write) or not self.grants.boxed

    @property
    def sends(self) -> bool:
        """Whether it may send something out."""
        return bool(self.grants.hosts) or not self.grants.boxed


@dataclass(frozen=True, slots=True)
class Channel:
    """Data may go from one server to the other, by what `through` names."""

    source: ServerName
    sink: ServerName
    through: str


@dataclass(frozen=True, slots=True)
class Joining:
    """A way from a reader of private data to a server that can send it out, one channel after another."""

    channels: tuple[Channel, ...]

    def __str__(self) -> str:
        first, last = self.channels[0].source, self.channels[-1].sink
        steps = ", then ".join(f"{one.source} to {one.sink} through {one.through}" for one in self.channels)
        return f"what {first} reads could leave through {last}: {steps}"


def channels(seats: Sequence[Seat]) -> tuple[Channel, ...]:
    """Every channel between two of `seats`, each way of its own."""
    return tuple(
        Channel(one.server, other.server, through)
        for one in seats
        for other in seats
        if one.server != other.server and (through := _through(one, other))
    )


def joinings(new: Seat, others: Sequence[Seat]) -> tuple[Joining, ...]:
    """What starting `new` beside `others` joins: for each pair of a reader and a sender the shortest way through `new`.

    A pair that is joined without `new` was asked about before.  A server that both reads and sends is no pair: that
    was agreed to when it was granted both.
    """
    seats = [new, *(seat for seat in others if seat.server != new.server)]
    into: dict[ServerName, list[Channel]] = {}
    for channel in channels(seats):
        into.setdefault(channel.source, []).append(channel)
    found = []
    for reader in seats:
        ways = _ways(reader.server, into)
        for sender in seats:
            way = ways.get(sender.server, ())
            if reader.reads and sender.sends and any(new.server in (one.source, one.sink) for one in way):
                found.append(Joining(way))
    return tuple(found)


def _ways(start: ServerName, into: Mapping[ServerName, Sequence[Channel]]) -> dict[ServerName, tuple[Channel, ...]]:
    """The shortest way from `start` to each server that can be reached."""
    ways: dict[ServerName, tuple[Channel, ...]] = {start: ()}
    edge = [start]
    while edge:
        reached = []
        for here in edge:
            for channel in into.get(here, ()):
                if channel.sink not in ways:
                    ways[channel.sink] = (*ways[here], channel)
                    reached.append(channel.sink)
        edge = reached
    return ways


def _through(source: Seat, sink: Seat) -> str:
    """What `source` may write and `sink` may read; empty for nothing."""
    if not source.grants.boxed and not sink.grants.boxed:
        return "your whole account, in which neither is boxed"
    if not source.grants.boxed and (sink.grants.read or sink.grants.write):
        return f"{(*sink.grants.read, *sink.grants.write)[0]}"
    if not sink.grants.boxed and source.grants.write:
        return f"{source.grants.write[0]}"
    for written in source.grants.write:
        for seen in (*sink.grants.read, *sink.grants.write):
            if _overlap(written, seen):
                return str(max(written, seen, key=lambda path: len(path.parts)))
    shared = _services(source.grants) & _services(sink.grants)
    return f"the service at {min(shared)}" if shared else ""


def _services(grants: Grants) -> set[str]:
    """Services of this machine and its network that were granted: what one puts there another finds."""
    return {
        f"{normal(rule.host)}:{port}"
        for rule in HostRules.of(grants.hosts).rules
        if rule.kind in ("address", "lan") or address_of(rule.host) is not None
        for port in rule.ports
    }


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents
