"""`verify`: the store against the pins, now."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context


async def verify(args: Namespace, context: Context) -> int:
    """Hash every file of every pinned server again.  Exit 1 names what is not as agreed."""
    async with context.desk() as desk:
        request = schema.Verify(names=args.names)
        checks = (await desk.ask(schema.VERIFY, request, schema.Checks, progress=output.progress)).checks
    if args.json:
        output.show_json([check.model_dump(mode="json") for check in checks])
    else:
        for check in checks:
            output.show(f"{check.name}: {check.problem or 'as pinned'}")
    return DONE if all(not check.problem for check in checks) else NO
