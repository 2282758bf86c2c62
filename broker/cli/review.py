"""`review`: what changed without a yes, one at a time, with exactly what changed."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context


async def review(args: Namespace, context: Context) -> int:
    """Go through what changed without a yes, one at a time.  Exit code 1 while something is left."""
    left = 0
    async with context.desk() as desk:
        items = (await desk.ask(schema.REVIEW, schema.Nothing(), schema.Review)).items
        wanted = [item for item in items if not args.name or item.name == args.name]
        if args.json:
            output.show_json([item.model_dump(mode="json") for item in wanted])
            return NO if wanted else DONE
        if not wanted:
            output.show("nothing changed without a yes")
        for item in wanted:
            output.show(f"{item.kind} {output.line(item.name)} changed:")
            for change in item.changes:
                output.show(f"  {output.line(change, len(change))}")  # what is cut may be what matters
            if args.yes or output.ask("accept this?") == "y":
                await desk.ask(schema.ACCEPT, schema.Accept(name=item.name, digest=item.digest), schema.Nothing)
                output.show("accepted")
            else:
                left += 1
                output.show("kept as it was agreed to")
    return NO if left else DONE
