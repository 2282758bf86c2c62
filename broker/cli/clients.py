"""`clients`, `import`, `undo`, `client`, `connect`: the AI applications."""

import asyncio
import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import output
from broker.cli.context import DONE, NO, USAGE, Context
from broker.cli.secrets import vault_key
from broker.cli.servers import add_server
from broker.cli.sign_ins import Attending
from broker.clients import apply as changes
from broker.clients.configs import ClientConfig
from broker.clients.families import FAMILIES, family_of
from broker.clients.found import found_clients, project_configs
from broker.clients.plan import ImportPlan, ServerLine, plan_import, server_name
from broker.clients.rewrite import fast_form
from broker.clients.sealing import UNDO_KEY
from broker.clients.tree import printable
from broker.errors import BulkheadError, ConfigError
from broker.home import CONF, SHIM, shim_command, write_conf
from broker.model import ServerName
from broker.secrecy import secret_arguments
from broker.visit import ALL


async def found(args: Namespace, context: Context) -> int:
    """AI applications on this machine, and which of their entries go through Bulkhead."""
    configs = await asyncio.to_thread(_found, context)
    projects = await asyncio.to_thread(project_configs, Path.cwd(), Path.home())
    if args.json:
        output.show_json(
            [
                {
                    "client": config.client,
                    "label": config.label,
                    "path": str(config.path),
                    "problem": config.problem,
                    "project": config in projects,
                    "entries": [
                        {"name": entry.name, "state": entry.fate, "reason": entry.reason} for entry in config.entries
                    ],
                }
                for config in (*configs, *projects)
            ]
        )
        return DONE
    if not configs:
        known = ", ".join(family.client for family in FAMILIES)
        output.show(f"no client's configuration was found (known: {known})")
    words = {"import": "can be imported", "bulkhead": "goes through Bulkhead"}
    for config in configs:
        output.show(f"{config.client}  {config.path}")
        if config.problem:
            output.show(f"    {config.problem}")
        for entry in config.entries:
            output.show(f"    {entry.name}: {words.get(entry.fate, entry.reason)}")
        for project in config.project_files:
            output.show(f"    {project}: a project's own file; import leaves it alone")
    for config in projects:
        output.show(f"{config.client}  {config.path}  (this folder's own; import leaves it alone)")
        for line in _project_lines(config):
            output.show(f"    {line}")
    return DONE


async def bring(args: Namespace, context: Context) -> int:
    """Move servers in: show, ask, register, then rewrite the client's file.  Exit 1 when something stayed out."""
    configs = _chosen(args.clients, await asyncio.to_thread(_found, context))
    if not configs:
        output.show("no client's configuration was found; see: bulkhead clients")
        return NO
    if args.dry_run:
        for config in configs:
            _show_plan(_plan(config, context, {}))
        return DONE
    complete = True
    for config in await asyncio.to_thread(project_configs, Path.cwd(), Path.home()):
        output.show(f"left alone: {config.path} belongs to this folder's project, not to you")
        for line in _project_lines(config):
            output.show(f"    {line}")
    async with context.desk() as desk:
        for config in configs:
            complete &= await _bring_one(desk, config, args.yes, context)
    return DONE if complete else NO


async def _bring_one(desk: DeskClient, config: ClientConfig, yes: bool, context: Context) -> bool:
    try:
        plan = _plan(config, context, await _registered(desk, config))
    except ConfigError as error:
        output.complain(error)
        return False
    _show_plan(plan)
    if not plan.replacements:
        return True
    if not yes and output.ask(f"move these into Bulkhead and rewrite {config.path}?") != "y":
        output.show("left as it is")
        return False
    await desk.ask(schema.CLIENT_ADD, schema.Name(name=config.client), schema.Nothing)
    ready: set[str] = set()
    for replacement in plan.replacements:
        name = replacement.server
        try:
            if replacement.known:
                connect = schema.Connect(client=config.client, server=name)
                await desk.ask(schema.CONNECT, connect, schema.Nothing)
                ready.add(name)
                continue
            agreed = await add_server(
                desk,
                name,
                replacement.line.argv,
                context.environment,
                env=replacement.line.env,
                read=[],
                write=[],
                yes=yes,
                connect=[config.client],
                show=_shown_without(replacement.line.argv),
                attending=Attending(context, yes=yes, sign_in=schema.SignIn(client=config.client)),
            )
        except BulkheadError as error:
            output.complain(error)
            output.show(f"{name} stays as it is in {config.path}")
            continue
        if agreed is not None:
            ready.add(name)
            for note in agreed.notes:
                output.show(f"{name}: {note}")
            for word, _ in secret_arguments(agreed.server.argv).values():
                output.show(f"{name}: {word} is a secret in its launch line, and stays in it; give it as a variable")
    final = plan.only(ready)
    seal = await desk.ask(schema.UNDO_SEAL, schema.Nothing(), schema.UndoSeal)
    await asyncio.to_thread(changes.apply, final, backups(context), bytes.fromhex(seal.public))
    if final.replacements:
        output.show(f"{config.path} now starts {', '.join(sorted(ready))} through Bulkhead; restart {config.client}")
        output.show(f"take it back with: bulkhead undo {config.client}")
        if not seal.public:
            output.show(f"the copy for that lies in the clear, for you alone, as {seal.why}")
    return len(ready) == len({replacement.server for replacement in plan.replacements})


async def undo(args: Namespace, context: Context) -> int:
    """Give configurations back byte for byte; later edits are kept.  Works without the daemon."""
    folder = backups(context)
    wanted = args.clients or list(changes.imported_clients(folder))
    if not wanted:
        output.show("nothing was imported")
        return NO
    whole = True
    key = functools.cache(functools.partial(vault_key, UNDO_KEY, context))
    for name in wanted:
        for done in await asyncio.to_thread(changes.undo, family_of(name).client, folder, key):
            whole &= done.how != "failed"
            output.show(f"{done.path}: {done.how}")
            for note in done.notes:
                output.show(f"    {note}")
    return DONE if whole else NO


async def client(args: Namespace, context: Context) -> int:
    """Clients that may connect at all.  Adding one mints its secret."""
    async with context.desk() as desk:
        if args.action == "list":
            listed = (await desk.ask(schema.CLIENTS, schema.Nothing(), schema.Clients)).clients
            if args.json:
                output.show_json([one.model_dump(mode="json") for one in listed])
            else:
                output.show_table(
                    ("NAME", "SINCE", "ANSWERS", "PROGRAMS"),
                    [(c.name, c.created, "inside too" if c.answers else "-", ", ".join(c.executables)) for c in listed],
                )
            return DONE
        if not args.name:
            output.complain(ConfigError("name the client", hint=f"bulkhead client {args.action} NAME"))
            return USAGE
        if args.action == "answers":
            if args.switch is None:
                output.complain(ConfigError("say on or off", hint=f"bulkhead client answers {args.name} on"))
                return USAGE
            choice = schema.ClientAnswers(name=args.name, on=args.switch == "on")
            await desk.ask(schema.CLIENT_ANSWERS, choice, schema.Nothing)
            where = "inside it too, for once each" if choice.on else "at the desk alone"
            output.show(f"what the policy asks about calls of {args.name} is answered {where}")
            return DONE
        route = schema.CLIENT_ADD if args.action == "add" else schema.CLIENT_REMOVE
        await desk.ask(route, schema.Name(name=args.name), schema.Nothing)
    output.show(f"{'added' if args.action == 'add' else 'removed'} {args.name}")
    if args.action == "add":
        output.show(f"its entries run: {' '.join(shim_command(context.paths, 'NAME', args.name))}")
    return DONE


async def connect(args: Namespace, context: Context) -> int:
    """Become the shim.  Nothing of this process stays but its descriptors."""
    if not await asyncio.to_thread((context.paths.home / CONF).exists):
        write_conf(context.paths, context.environment)
    argv = shim_command(context.paths, ALL if args.all else args.name, args.client)
    os.execve(argv[0], argv, dict(context.environment))  # noqa: S606 - no shell is the point


def backups(context: Context) -> Path:
    """Where configurations are kept as they were before an import."""
    return context.paths.state / "imports"


def _found(context: Context) -> list[ClientConfig]:
    return found_clients(Path.home(), sys.platform, context.environment)


def _chosen(names: list[str], configs: list[ClientConfig]) -> list[ClientConfig]:
    """The wanted clients' files.

    Raises:
        ConfigError: a name is no client we know, or it has no file here.
    """
    for name in names:
        family = family_of(name)
        if not any(config.client == family.client for config in configs):
            raise ConfigError(f"no configuration of {name} was found", hint="bulkhead clients")
    return [config for config in configs if not names or config.client in names]


def _plan(config: ClientConfig, context: Context, registered: dict[ServerName, ServerLine]) -> ImportPlan:
    shim = fast_form(sys.executable, str(SHIM), config.client, str(context.paths.home))
    return plan_import(config, shim, registered)


async def _registered(desk: DeskClient, config: ClientConfig) -> dict[ServerName, ServerLine]:
    """The servers there are; those that an entry is equal to, values included, with that entry's line.

    The daemon compares: a secret's value is known to it alone.
    """
    listed = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
    lines = {ServerName(server.name): ServerLine(()) for server in listed}
    for entry in config.importable:
        if len(entry.argv) <= schema.MAX_WORDS:
            line = schema.Line(argv=list(entry.argv), env=dict(entry.env))
            same = await desk.ask(schema.SAME, line, schema.Names)
            lines |= dict.fromkeys(map(ServerName, same.names), ServerLine(entry.argv, dict(entry.env)))
    return lines


def _project_lines(config: ClientConfig) -> list[str]:
    """What a project's file names; each server of it is a stranger that a person adds by itself."""
    if config.problem:
        return [config.problem]
    ways = {"import": "if you want it: bulkhead add", "bulkhead": "goes through Bulkhead"}
    return [
        f"{printable(entry.name)}: {ways.get(entry.fate, entry.reason)}"
        + (f" {server_name(entry.name)} -- COMMAND, as that file has it" if entry.fate == "import" else "")
        for entry in config.entries
    ]


def _shown_without(argv: Sequence[str]) -> Callable[[str], None]:
    """Show lines, but nothing that looks like a secret in the launch line they are about."""
    hidden = [value for _, value in secret_arguments(argv).values()]

    def show(text: str) -> None:
        for value in hidden:
            text = text.replace(value, "[hidden]")
        output.show(text)

    return show


def _show_plan(plan: ImportPlan) -> None:
    if plan.diff:
        output.show_text(plan.diff.rstrip())
    else:
        output.show(f"{plan.found.path}: nothing to import")
    for entry in plan.left:
        output.show(f"stays: {entry.name}: {entry.reason}")
    for note in plan.notes:
        output.show(f"note: {note}")
    for project in plan.found.project_files:
        output.show(
            f"left alone: {project} belongs to its project, not to you; add its servers by name if you want them"
        )
