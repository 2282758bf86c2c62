"""`advisories status|refresh|use`: what is known about packages on this machine."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.cli.environment import caller_environment
from broker.cli.servers import absolute

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def grammar(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """The words of the command, beside what it does."""
    book = commands.add_parser("advisories", help="what is known about packages: malware and vulnerabilities")
    pages = book.add_subparsers(dest="page", required=True, metavar="status|refresh|use")
    look = pages.add_parser("status", help="how much is known, and since when")
    look.set_defaults(run=status)
    fetch = pages.add_parser("refresh", help="fetch advisories now")
    fetch.add_argument(
        "--from", dest="source", default="", metavar="FILE|URL", help="an archive of OSV records; default: your sources"
    )
    fetch.set_defaults(run=refresh)
    choose = pages.add_parser("use", help="name the addresses that are fetched each day; none: fetch nothing by itself")
    choose.add_argument("sources", nargs="*", metavar="URL")
    choose.set_defaults(run=use)
    for page in (look, fetch):
        page.add_argument("--json", action="store_true", help="print JSON")


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
