"""`advisories status|refresh|use`: what is known about packages on this machine."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.cli.environment import caller_environment
from broker.cli.servers import absolute


async def status(args: Namespace, context: Context) -> int:
    """How much is known, and since when."""
    async with context.desk() as desk:
        found = await desk.ask(schema.ADVISORIES, schema.Nothing(), schema.AdvisoryStatus)
    if args.json:
        output.show_json(found.model_dump(mode="json"))
        return DONE
    output.show(found.sentence)
    output.show(
        f"fetched each day from: {', '.join(found.sources) or 'nowhere; name a source with: advisories use URL'}"
    )
    return DONE


async def refresh(args: Namespace, context: Context) -> int:
    """Take in advisories from a file, an address, or the configured sources."""
    source = args.source
    if source and "://" not in source:
        source = absolute(source)
    request = schema.AdvisoryRefresh(source=source, environment=caller_environment(context.environment))
    async with context.desk() as desk:
        done = await desk.ask(schema.ADVISORIES_REFRESH, request, schema.AdvisoryRefreshed, progress=output.progress)
    if args.json:
        output.show_json(done.model_dump(mode="json"))
        return DONE
    output.show(f"{done.taken} new or changed advisories; now {done.sentence}")
    if done.unreadable:
        output.show(f"note: {done.unreadable} records could not be read and were left out")
    return DONE


async def use(args: Namespace, context: Context) -> int:
    """Name where advisories are fetched from each day."""
    async with context.desk() as desk:
        await desk.ask(schema.ADVISORIES_USE, schema.AdvisoryUse(sources=args.sources), schema.Nothing)
    output.show("fetched each day from: " + (", ".join(args.sources) or "nowhere"))
    return DONE
