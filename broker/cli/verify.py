"""`verify`: the store against the pins, and the pins against the world.  `store gc`: what nobody needs any more."""

from argparse import Namespace
from pathlib import Path

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.cli.environment import caller_environment
from broker.cli.servers import absolute
from broker.files import write_private


async def verify(args: Namespace, context: Context) -> int:
    """Hash every file of every pinned server again.  Exit 1 names what is not as agreed, or what is known to be bad."""
    async with context.desk() as desk:
        request = schema.Verify(
            names=args.names,
            offline=args.offline,
            environment={} if args.offline else caller_environment(context.environment),
            sbom=args.sbom is not None,
        )
        if args.roots is not None:
            wanted = schema.RootsRefresh(source=args.roots, environment=caller_environment(context.environment))
            await desk.ask(schema.ROOTS_REFRESH, wanted, schema.RootsRefreshed, progress=output.progress)
        found = await desk.ask(schema.VERIFY, request, schema.Checks, progress=output.progress)
    if args.sbom == "-":
        output.show_text(found.sbom)
    elif args.sbom is not None:
        write_private(Path(absolute(args.sbom)), found.sbom.encode() + b"\n", mode=0o644)
    if args.json:
        output.show_json([check.model_dump(mode="json") for check in found.checks])
    elif args.sbom != "-":
        for check in found.checks:
            _show(check)
        output.show(f"advisories: {found.advisories}")
        output.show(f"signatures: {found.roots}")
    bad = any(check.problem or check.malware or check.vulnerabilities for check in found.checks)
    return NO if bad else DONE


def _show(check: schema.Check) -> None:
    output.show(f"{check.name}: {check.problem or 'as pinned'}")
    for line in check.evidence:
        output.show(f"  {line}")
    for hit in (*check.malware, *check.vulnerabilities):
        output.show(f"  {hit}")
    if check.malware:
        output.show(
            f"  it is not started any more; bulkhead remove {check.name}, or bulkhead pin {check.name} --update"
        )
    if check.newer:
        output.show(f"  {check.newer} exists; to look at it: bulkhead pin {check.name} --update")
    if check.note:
        output.show(f"  note: {check.note}")


async def collect(args: Namespace, context: Context) -> int:
    """Remove objects of the store that no pin names and nothing runs."""
    async with context.desk() as desk:
        found = await desk.ask(schema.STORE_GC, schema.StoreGc(dry_run=args.dry_run), schema.Collected)
    if args.json:
        output.show_json(found.model_dump(mode="json"))
        return DONE
    verb = "would be removed" if args.dry_run else "removed"
    output.show(f"{len(found.trees)} objects, {found.byte_count} bytes {verb}")
    for tree in found.trees:
        output.show(f"  {tree}")
    if found.spared:
        output.show(f"{found.spared} more were taken in lately and are kept for now")
    return DONE
