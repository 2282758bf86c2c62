"""`policy subscribe|subscription|pull|unsubscribe`: the policy bundle of an organisation."""

from argparse import Namespace
from pathlib import Path
from typing import Final

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.errors import ConfigError
from broker.files import read_bounded

ACTIONS: Final = ("subscribe", "subscription", "pull", "unsubscribe")


async def fleet(args: Namespace, context: Context) -> int:
    """Choose it, look at it, pull it now, or leave it."""
    async with context.desk() as desk:
        if args.action == "unsubscribe":
            await desk.ask(schema.FLEET_LEAVE, schema.Nothing(), schema.Nothing)
            output.show("the bundle's rules hold no more")
            return DONE
        if args.action == "subscribe":
            wanted = schema.FleetSubscribe(source=args.name or _missing("URL"), root=_root(args.root))
            found = await desk.ask(schema.FLEET_SUBSCRIBE, wanted, schema.FleetView)
        else:
            route = schema.FLEET_REFRESH if args.action == "pull" else schema.FLEET
            found = await desk.ask(route, schema.Nothing(), schema.FleetView)
    if args.json:
        output.show_json(found.model_dump(mode="json"))
    elif not found.source:
        output.show("no policy bundle is subscribed to")
    else:
        output.show(
            output.line(f"{found.source}, version {found.version}: {len(found.rules)} rules hold beside yours", 500)
        )
        if found.problem:
            output.show(output.line(f"the last pull brought nothing: {found.problem}", 500))
    return DONE


def _root(file: str) -> str:
    return read_bounded(Path(file or _missing("--root FILE"))).decode("utf-8", "replace")


def _missing(what: str) -> str:
    raise ConfigError(f"{what} is missing", hint="bulkhead policy subscribe URL --root root.json")
