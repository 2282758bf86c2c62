"""`endpoint`: where a client that speaks HTTP finds a server."""

import asyncio
import json
from argparse import Namespace
from pathlib import Path

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.cli.servers import absolute
from broker.files import read_bounded
from broker.visit import ALL


async def endpoint(args: Namespace, context: Context) -> int:
    """Print the address.  The bearer is printed only to a program that asks for JSON, or with `--show`."""
    workspace = absolute(args.workspace) if args.workspace else ""
    asked = schema.Endpoint(
        client=args.client, server=ALL if args.all else args.name, workspace=workspace, signs_in=args.oauth
    )
    async with context.desk() as desk:
        found = await desk.ask(schema.ENDPOINT, asked, schema.EndpointView)
    if args.oauth:
        if args.json:
            output.show_json({"url": found.url, "headers": {}})
        else:
            output.show(found.url)
            output.show("its application signs in by itself; Bulkhead then asks you for the number on its page")
        return DONE
    bearer = json.loads(await asyncio.to_thread(read_bounded, Path(found.file)))["bearer"]
    if args.json:
        output.show_json({"url": found.url, "headers": {"Authorization": f"Bearer {bearer}"}})
        return DONE
    output.show(found.url)
    if args.show:
        output.show(f"Authorization: Bearer {bearer}")
    else:
        output.show(f"its bearer is in {found.file}; print it with --show")
    return DONE
