"""What servers tried to reach and may not: its rows, and the card that lets one server reach exactly one host.

A card shows what it grants to whom, word for word as it is sent; the desk decides whether a person said it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from textual.content import Content

from broker.api import schema
from ui.known import Known
from ui.present import BLOCK, clock_time, count, untrusted

OWN_NETWORK: Final = "lan:"  # how a grant says that it leads into the user's own network
SIGN: Final = ":blocked:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing a server may not reach yet."""

    server: schema.ServerView
    blocked: schema.BlockedView

    @property
    def grant(self) -> schema.GrantPaths:
        """The narrowest yes there is."""
        return schema.GrantPaths(name=self.server.name, hosts=[self.blocked.grant])

    def still(self, known: Known) -> bool:
        """Whether a yes would be about what was shown: the same bytes under this name, still wanting the same."""
        server = known.server(self.server.name)
        if not known.connected or server is None or (server.tree, server.argv) != (self.server.tree, self.server.argv):
            return False
        if (server.read, server.write) != (self.server.read, self.server.write):
            return False  # the card says what could be sent there
        return any(blocked.grant == self.blocked.grant for blocked in server.blocked)


def wanted_at(known: Known, key: str) -> Wanted | None:
    """What the row with `key` is about; of a server's own row, the newest of what it was denied."""
    _, sign, place = key.partition(SIGN)
    for server in known.servers:
        for blocked in server.blocked:
            if key == server.name or sign + place == key_of(server, blocked):
                return Wanted(server, blocked)
    return None


def key_of(server: schema.ServerView, blocked: schema.BlockedView) -> str:
    return f"{SIGN}{server.name}:{blocked.grant}"


def words_of(server: schema.ServerView) -> Iterator[tuple[str, Content]]:
    """A key and a line for each thing that was denied to it."""
    for blocked in server.blocked:
        words = Content.assemble(
            untrusted(server.name), " was denied ", untrusted(blocked.target).stylize("bold"),
            f", {count(blocked.times, 'time')}  (g allows ", untrusted(blocked.grant), ")",
        )  # fmt: skip
        yield key_of(server, blocked), words


def card(wanted: Wanted, zone: tzinfo | None) -> Content:
    """What a yes would mean."""
    server, blocked = wanted.server, wanted.blocked
    own = blocked.grant.startswith(OWN_NETWORK)
    seen = sorted({*server.read, *server.write})
    facts = (
        ("Server", untrusted(server.name)),
        ("Host", untrusted(blocked.grant, BLOCK).stylize("bold")),
        ("Tried", Content.assemble(
            untrusted(blocked.target), f", {count(blocked.times, 'time')}, last at {clock_time(blocked.last, zone)}"
        )),
        ("Denied", untrusted(blocked.reason)),
        ("Reaches", untrusted(", ".join(server.hosts) or "no host so far", BLOCK)),
    )  # fmt: skip
    lines = [Content.assemble(f"{name:9}", words) for name, words in facts]
    lines.append(Content(""))
    if seen:
        lines.append(Content.assemble("It may read ", untrusted(", ".join(seen), BLOCK), " and could send it there."))
    if own:
        lines.append(Content("This host is in your own network, not on the internet."))
    lines.append(Content("A yes covers this host alone, for every client, until you take it back:"))
    lines.append(Content.assemble("bulkhead revoke ", untrusted(server.name), " ", untrusted(blocked.grant)))
    return Content("\n").join(lines)
