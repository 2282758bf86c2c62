"""`audit tail|search|show|export|verify|prune`."""

import asyncio
import json
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from broker.api import schema
from broker.audit.export import FORMATS
from broker.audit.keys import AuditKeys
from broker.audit.older import ENDING, verify_older
from broker.audit.verify import verify as verify_chain
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.errors import ConfigError, DeskError
from broker.vault.keychain import integrity_key

FILTERS: Final = ("client", "server", "session", "tool", "kind", "rule", "verdict", "story", "text")
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
PAGE: Final = 1000
OPENED: Final = 100  # bodies are large
PAUSE: Final = 1.0  # between two looks for receipts that came; nobody reads faster


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
    for entry in await _search(_wanted(args, args.number), context):
        _show(entry, args.json)
    return DONE


async def export(args: Namespace, context: Context) -> int:
    """Every receipt that matches, oldest first, in the words of another tool."""
    write = FORMATS[args.format]
    async for entry in _all(args, context):
        sys.stdout.write(json.dumps(write(entry), separators=(",", ":")) + "\n")
        if args.follow:
            sys.stdout.flush()
    return DONE


async def show(args: Namespace, context: Context) -> int:
    """One receipt, whole and opened, by its number; or the story of one request, hop by hop."""
    if args.id.isdecimal():
        wanted = schema.Search(limit=1, after=int(args.id) - 1, oldest_first=True)
    else:
        wanted = schema.Search(limit=OPENED, story=args.id, oldest_first=True)
    async with context.desk() as desk:
        found = (await desk.ask(schema.AUDIT_OPEN, wanted, schema.Receipts)).receipts
    if args.id.isdecimal():
        found = [entry for entry in found if str(entry["seq"]) == args.id]
    if not found:
        raise DeskError(f"there is no receipt {args.id}", hint="bulkhead audit tail", code="unknown")
    if args.json or args.id.isdecimal():
        for entry in found:
            output.show_json(entry)
        return DONE
    for entry in found:
        _show(entry, as_json=False)
        body = entry.get("body")
        if body:
            output.show("      " + output.line(json.dumps(body), 500))
    return DONE


async def verify(args: Namespace, context: Context) -> int:
    """Check the whole chain, with or without a daemon; exit 1 names the first broken link."""
    paths = context.paths
    key = (await asyncio.to_thread(integrity_key, paths.state, paths.home)).key
    public = AuditKeys(key).public
    report = await asyncio.to_thread(verify_chain, paths.audit, public, paths.audit_witness)
    older = await asyncio.to_thread(verify_older, paths.audit, key)
    problem = str(report.broken) if report.broken else ""
    past = f"in {paths.audit.name}{ENDING}, {older.broken}" if older is not None and older.broken else ""
    if args.json:
        jumps = [{"receipt": seq, "what": what} for seq, what in report.jumps]
        output.show_json({
            "ok": report.ok and not past, "receipts": report.entries, "vouched": report.vouched, "problem": problem,
            "pruned": report.pruned, "older": older.entries if older is not None else 0, "older_problem": past,
            "clock": jumps, "public_key": public.hex(),
        })  # fmt: skip
    elif report.ok:
        output.show(f"{report.entries} receipts, the chain is whole; {report.vouched} are covered by the checkpoint")
        for seq, what in report.jumps:
            output.show(f"receipt {seq}: {what}")
        if report.pruned:
            output.show(f"{report.pruned} receipts were let go; signed stubs stand in for them")
        if older is not None and not past:
            output.show(f"{older.entries} receipts of an older format, in {paths.audit.name}{ENDING}, are whole too")
        output.show(f"signed with {public.hex()}")
    else:
        output.show(f"the chain is broken: {problem}")
    if past and not args.json:
        output.show(f"the older chain is broken: {past}")
    return DONE if report.ok and not past else NO


async def prune(args: Namespace, context: Context) -> int:
    """Let go of old receipts."""
    if args.older_than is None and args.keep is None:
        raise ConfigError("nothing says which receipts are old", hint="bulkhead audit prune --older-than 90d")
    wanted = schema.Prune(
        older_than=moment(args.older_than),
        keep=_bytes(args.keep),
        dry_run=args.dry_run,
        **({"classes": args.classes} if args.classes else {}),
    )
    async with context.desk() as desk:
        done = await desk.ask(schema.AUDIT_PRUNE, wanted, schema.PrunedView)
    if args.json:
        output.show_json(done.model_dump(mode="json"))
    else:
        would = "would be" if args.dry_run else "were"
        output.show(f"{done.entries} receipts of {done.segments} segments {would} let go, {done.bytes} bytes")
    return DONE


def _bytes(text: str | None) -> int | None:
    if not text:
        return None
    number, unit = (text[:-1], SIZES[text[-1]]) if text[-1] in SIZES else (text, 1)
    if not number.isdecimal():
        raise ConfigError(f"{text} is no size", hint="500M, 2G")
    return int(number) * unit


def _wanted(args: Namespace, limit: int) -> schema.Search:
    filters = {name: getattr(args, name) for name in FILTERS}
    return schema.Search(limit=limit, since=moment(args.since), until=moment(args.until), **filters)


def moment(text: str | None) -> float | None:
    """A time as people write it: a date, a date with a time, or how long ago."""
    if not text:
        return None
    if text[-1] in UNITS and text[:-1].isdecimal():
        return time.time() - int(text[:-1]) * UNITS[text[-1]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as cause:
        raise ConfigError(f"{text} is no time", hint="2026-01-31, 2026-01-31T12:00, or 30m, 2h, 7d") from cause


async def _all(args: Namespace, context: Context) -> AsyncIterator[dict[str, object]]:
    """Page by page, so that neither side holds more than one."""
    route, size = (schema.AUDIT_OPEN, OPENED) if args.bodies else (schema.AUDIT, PAGE)
    after = 0
    async with context.desk() as desk:
        while True:
            wanted = _wanted(args, size).model_copy(update={"after": after, "oldest_first": True})
            found = (await desk.ask(route, wanted, schema.Receipts)).receipts
            for entry in found:
                yield entry
            if found:
                after = found[-1]["seq"]
            elif not args.follow:
                return
            else:
                await asyncio.sleep(PAUSE)


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
