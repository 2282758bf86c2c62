"""`allow`, `blocked`, `inspect`, and `revoke NAME HOST`: what a server may reach, and how closely that is looked at."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.api import schema
from broker.cli import answers, output
from broker.cli.context import DONE, USAGE, Context
from broker.cli.network_arguments import FORM
from broker.errors import DeskError
from broker.model import Injection, Inspection
from broker.sandbox.hosts import HostRules
from broker.sandbox.inspection import describe


async def allow(args: Namespace, context: Context) -> int:
    """Let a server reach hosts; it has them at once, also while it runs."""
    hosts = list(HostRules.of(args.hosts).texts)
    async with context.desk() as desk:
        await desk.ask(schema.GRANT_PATHS, schema.GrantPaths(name=args.name, hosts=hosts), schema.Nothing)
    if args.json:
        output.show_json({"server": args.name, "allowed": hosts})
    else:
        output.show(
            f"{args.name} may reach {', '.join(hosts)}; a server started without a network: from its next start"
        )
    return DONE


async def revoke(args: Namespace, context: Context) -> int:
    """Take back a grant by its id, or one server's hosts; links of a server that lost a host end."""
    if not args.hosts:
        return await answers.revoke(args, context)
    hosts = list(HostRules.of(args.hosts).texts)
    async with context.desk() as desk:
        await desk.ask(schema.FORBID, schema.Hosts(name=args.id, hosts=hosts), schema.Nothing)
    output.show(f"{args.id} may no longer reach {', '.join(hosts)}; its running links were ended")
    return DONE


async def blocked(args: Namespace, context: Context) -> int:
    """What servers tried to reach and may not, with the narrowest grant that would allow it."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
    if args.name and args.name not in {server.name for server in found}:
        raise DeskError(f"there is no server {args.name}", hint="bulkhead servers", code="unknown")
    rows = [(server.name, view) for server in found if args.name in ("", server.name) for view in server.blocked]
    if args.json:
        output.show_json([{"server": name, **view.model_dump(mode="json")} for name, view in rows])
        return DONE
    output.show_table(
        ("SERVER", "BLOCKED", "TIMES", "TO ALLOW IT"),
        [(name, output.line(v.target), str(v.times), f"bulkhead allow {name} {v.grant}") for name, v in rows],
    )
    return DONE


async def inspect(args: Namespace, context: Context) -> int:
    """Show, set or end the inspection of a server's encrypted connections."""
    try:
        secrets = [secret_place(text) for text in args.secret]
    except ValueError:
        output.complain(DeskError("--secret takes four words", hint=f'--secret "{FORM}"'))
        return USAGE
    if args.off and (args.rule or secrets):
        output.complain(DeskError("--off takes no rules and no secrets", hint=f"bulkhead inspect {args.name} --off"))
        return USAGE
    async with context.desk() as desk:
        if args.on or args.off or args.rule or secrets:
            wanted = schema.Inspect(name=args.name, on=not args.off, rules=args.rule, secrets=secrets)
            await desk.ask(schema.INSPECT, wanted, schema.Nothing)
        found = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
    matching = [server for server in found if server.name == args.name]
    if not matching:
        raise DeskError(f"there is no server {args.name}", hint="bulkhead servers", code="unknown")
    if args.json:
        output.show_json({"server": args.name, "inspected": bool(matching[0].network), "what": matching[0].network})
        return DONE
    for line in matching[0].network or [f"the encrypted connections of {args.name} are not looked into"]:
        output.show(line)
    return DONE


@dataclass(frozen=True, slots=True)
class LookedInto:
    """What `add` was told of an inspection."""

    rules: Sequence[str]
    secrets: Sequence[schema.SecretPlace]

    @property
    def lines(self) -> list[str]:
        """As a person is shown it before a yes."""
        placed = (Injection(s.name, s.header, s.host, tuple(s.method), s.path) for s in self.secrets)
        return describe(Inspection(tuple(self.rules), tuple(placed)))

    @property
    def asked(self) -> dict[str, Any]:
        """As the desk is asked for it."""
        return {"inspect": True, "rules": list(self.rules), "secrets": list(self.secrets)}


def secret_place(text: str) -> schema.SecretPlace:
    """Where a value is put in, as a person writes it.  Raises ValueError."""
    name, header, methods, place = text.split()
    host, slash, path = place.partition("/")
    return schema.SecretPlace(name=name, header=header, host=host, method=methods.split(","), path=slash + path or "/*")
