"""The last words on a link: whoever still waits hears why nothing will come."""

from broker.edges import Edges
from broker.endpoints.stdio import LineEndpoint
from broker.outbox import Outbox
from broker.protocol.batches import Batches
from broker.protocol.effects import Forward, ForwardBatch, Record
from broker.protocol.events import Closing


async def say_goodbye(conversation: Batches, edges: Edges, outbox: Outbox, client: LineEndpoint, reason: str) -> None:
    """Recorded first, like everything; else it is not said, and whatever kept the record from being made is raised."""
    for effect in conversation.receive(Closing(reason)):
        if isinstance(effect, Record) and effect.fact.durable:
            await edges.record_durably(effect.fact, effect.turn)
        elif isinstance(effect, Record):
            edges.record(effect.fact, effect.turn)
        elif isinstance(effect, Forward) and effect.to == "client":
            outbox.put(client, effect.message)
        elif isinstance(effect, ForwardBatch) and effect.to == "client":
            outbox.put(client, effect.messages)
    outbox.send()
