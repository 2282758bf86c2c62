"""`audit tail|search|show|verify`."""

import asyncio
from argparse import Namespace

from broker.api import schema
from broker.audit.verify import verify as verify_chain
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.errors import DeskError
from broker.vault.keychain import integrity_key


async def tail(args: Namespace, context: Context) -> int:
    """The last receipts; with --follow, those that come."""
    found = await _search(schema.Search(limit=args.number), context)
    for entry in found:
        _show(entry, args.json)
    if not args.follow:
        return DONE
    async with context.desk() as desk:
        async for event in desk.watch():
            if isinstance(event, schema.ReceiptsAdded):
                for entry in event.receipts:
                    _show(entry, args.json)
    return DONE


async def search(args: Namespace, context: Context) -> int:
    wanted = schema.Search(
        limit=args.number,
        client=args.client,
        server=args.server,
        session=args.session,
        tool=args.tool,
        kind=args.kind,
        rule=args.rule,
        text=args.text,
    )
    for entry in await _search(wanted, context):
        _show(entry, args.json)
    return DONE


async def show(args: Namespace, context: Context) -> int:
    """One receipt, whole, by its number."""
    found = [entry for entry in await _search(schema.Search(limit=10_000), context) if str(entry["seq"]) == args.id]
    if not found:
        raise DeskError(
            f"there is no receipt {args.id} among the last 10000", hint="bulkhead audit tail", code="unknown"
        )
    output.show_json(found[0])
    return DONE


async def verify(args: Namespace, context: Context) -> int:
    """Check the whole chain, with or without a daemon; exit 1 names the first broken link."""
    key = await asyncio.to_thread(integrity_key, context.paths.state, context.paths.home)
    report = await asyncio.to_thread(verify_chain, context.paths.audit, key.key)
    problem = str(report.broken) if report.broken else ""
    if args.json:
        output.show_json({"ok": report.ok, "receipts": report.entries, "vouched": report.vouched, "problem": problem})
    elif report.ok:
        output.show(f"{report.entries} receipts, the chain is whole; {report.vouched} are covered by the checkpoint")
    else:
        output.show(f"the chain is broken: {problem}")
    return DONE if report.ok else NO


async def _search(wanted: schema.Search, context: Context) -> list[dict[str, object]]:
    async with context.desk() as desk:
        return (await desk.ask(schema.AUDIT, wanted, schema.Receipts)).receipts


def _show(entry: dict[str, object], as_json: bool) -> None:
    if as_json:
        output.show_json(entry)
        return
    parts = [str(entry.get(key) or "") for key in ("seq", "time", "client", "server", "kind", "method", "target")]
    verdict = " ".join(str(entry.get(key) or "") for key in ("verdict", "rule"))
    output.show(output.line("  ".join(part for part in [*parts, verdict] if part.strip()), 500))
