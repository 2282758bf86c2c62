"""`add`, `servers`, `show`, `remove`, `enable`, `disable`, `grant`, `pin`."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import labels, output
from broker.cli.boxes import chosen_limits
from broker.cli.context import DONE, NO, USAGE, Context
from broker.cli.environment import caller_environment
from broker.cli.network import LookedInto, secret_place
from broker.cli.network_arguments import FORM
from broker.cli.sign_ins import Attending, agreed_to, chosen
from broker.errors import DeskError
from broker.model import State
from broker.sandbox.hosts import PUBLIC, HostRules
from broker.secrecy import looks_secret
from broker.vault.references import named

LEAVES = "it may also leave new files there that tools run by themselves (told when it ends), such as .vscode or .envrc"
EVERY_HOST = "every public host"
KEEPS: Mapping[State, str] = {
    "server": "it keeps a folder of its own from run to run, one for all its links",
    "session": "it keeps a folder of its own for each session of a client",
}
SOCKETS = "may make unix sockets in its sandbox, which only its own processes reach (and is granted no folders then)"


async def add(args: Namespace, context: Context) -> int:
    """Register, resolve, verify, show exactly what will run, ask, pin, start once to pin the catalog."""
    if args.bundle is not None:
        output.complain(DeskError("--bundle takes the place of a command", hint="bulkhead add NAME --bundle FILE.mcpb"))
        return USAGE
    try:
        env = dict(_pair(text) for text in args.env)
        references = named(args.secret)
    except ValueError:
        hint = "bulkhead add NAME --env KEY=VALUE --secret KEY=keychain:NAME -- COMMAND"
        output.complain(DeskError("--env takes NAME=VALUE, and --secret NAME=REFERENCE", hint=hint))
        return USAGE
    try:
        places = [secret_place(text) for text in args.inject]
    except ValueError:
        output.complain(DeskError("--inject takes four words", hint=f'--inject "{FORM}"'))
        return USAGE
    limits, vouched = chosen_limits(args), labels.vouched(args)
    if vouched is None:
        return USAGE
    async with context.desk() as desk:
        agreed = await add_server(
            desk,
            args.name,
            args.command,
            context.environment,
            env=env,
            references=references,
            read=[absolute(path) for path in args.read],
            write=[absolute(path) for path in args.write],
            hosts=HostRules.of(args.host).texts,
            yes=args.yes,
            dev=args.dev,
            allow=args.allow,
            state=args.state,
            limits=limits,
            inspection=LookedInto(args.rule, places) if args.inspect or args.rule or places else None,
            build=args.build,
            show=output.aside if args.json else output.show,
            attending=Attending(context, yes=args.yes, sign_in=chosen(args)),
        )
        if agreed is None:
            return NO
        if not args.json:
            _show_agreed(agreed)
        await labels.after_add(desk, args, vouched)
    if args.json:
        output.show_json(agreed.model_dump(mode="json"))
    else:
        output.show(f"connect a client with: bulkhead connect {args.name}")
    return DONE


async def add_server(
    desk: DeskClient,
    name: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    env: Mapping[str, str],
    read: Sequence[str],
    write: Sequence[str],
    yes: bool,
    references: Mapping[str, str] = MappingProxyType({}),
    hosts: Sequence[str] = (),
    connect: Sequence[str] = (),
    show: Callable[[str], None] = output.show,
    dev: bool = False,
    allow: Sequence[str] = (),
    state: State | None = None,
    limits: Mapping[str, str] = MappingProxyType({}),
    build: bool = False,
    attending: Attending | None = None,
    inspection: LookedInto | None = None,
) -> schema.Agreed | None:
    """The whole way of one server; None if the person said no.  `show` is told everything a yes is about.

    `yes` is no answer to whether something may be built: that is a question of its own, which `build` answers.
    """
    prepare = schema.Prepare(
        name=name, argv=list(argv), environment=caller_environment(environment), dev=dev, settings=dict(env)
    )
    proposal = await desk.ask(schema.PREPARE, prepare, schema.Proposal, progress=output.progress)
    for line in proposal.lines:
        show(line)
    for warning in proposal.warnings:
        show(f"note: {warning}")
    elsewhere = argv[0].startswith(("https://", "http://"))
    if env:
        show(f"it will be given these {'headers' if elsewhere else 'variables'}: {', '.join(sorted(env))}")
    if hidden := sorted(name for name, value in env.items() if elsewhere or looks_secret(name, value)):
        show(f"its secrets go to the vault, and to nobody but it: {', '.join(hidden)}")
    for variable, reference in references.items():
        held = " (the server holds it then)" if reference.startswith("host:") else ""
        show(f"it will be given {variable}, looked up at each start: {reference}{held}")
    reads, writes = list(read), list(write)
    for path in _left(proposal.paths, {*reads, *writes}):
        answer = "r" if yes else output.ask(f"may it see {path}? r = read, w = read and write, n = no", "rwn")
        if answer != "n":
            (reads if answer == "r" else writes).append(path)
    for path in reads:
        show(f"it will see {path} (read only)")
    for path in writes:
        show(f"it will see and change {path}; {LEAVES}")
    for host in hosts:
        show(f"it may reach {EVERY_HOST if host == PUBLIC else host}, and may tell it whatever it is told")
    for line in inspection.lines if inspection is not None else ():
        show(f"its connections are looked into: {line}")
    needs = {"unix-sockets": SOCKETS}
    for need in proposal.needs:
        show(f"it {needs[need]}: Bulkhead's own label of this package says that it needs that")
    for need in sorted(set(allow) - set(proposal.needs)):
        show(f"it {needs[need]}")
    for line in proposal.builds:
        show(line)
    build = bool(proposal.builds) and (build or (not yes and output.ask("may that code run, to build it?") == "y"))
    if proposal.unbuilt and not build:
        raise DeskError(f"{name} has to be built before it can run, which needs a yes of its own",
                        hint="the same with --build, if you trust these authors", code="unbuilt")  # fmt: skip
    of_label = proposal.state != "none" and state is None and not proposal.replaces  # chosen for its name, otherwise
    if of_label:
        state = proposal.state
    if state is not None and state != "none":
        show(KEEPS[state] + (f": {proposal.keeps} (so says Bulkhead's own label of this package)" if of_label else ""))
    if limits:
        show(f"its own limits: {', '.join(f'{flag} {text}' for flag, text in limits.items())}")
    if not yes and output.ask(f"run this as {name}?") != "y":
        show("not added")
        return None
    agree = schema.Agree(
        id=proposal.id,
        digest=proposal.digest,
        read=reads,
        write=writes,
        hosts=list(hosts),
        env=dict(env),
        references=dict(references),
        connect=list(connect),
        build=build,
        unix_sockets="unix-sockets" in {*allow, *proposal.needs},
        state=state,
        limits=dict(limits),
        sign_in=attending.sign_in if attending else None,
        **(inspection.asked if inspection is not None else {}),
    )
    return await agreed_to(desk, agree, attending)


async def servers(args: Namespace, context: Context) -> int:
    async with context.desk() as desk:
        found = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
    if args.json:
        output.show_json([server.model_dump(mode="json") for server in found])
        return DONE
    rows = [
        (
            s.name,
            _state(s),
            s.artifact or "-",
            s.version or "-",
            s.tree[:12] or "-",
            str(len(s.tools)),
        )
        for s in found
    ]
    output.show_table(("NAME", "STATE", "PACKAGE", "VERSION", "TREE", "TOOLS"), rows)
    return DONE


def _state(server: schema.ServerView) -> str:
    """In one word or two, the worst first."""
    if server.malware:
        return "known malware"
    if not server.enabled:
        return "disabled"
    vulnerable = server.vulnerabilities and server.state == "pinned" and not server.development
    return "vulnerable" if vulnerable else server.development.partition(",")[0] or server.state


async def show(args: Namespace, context: Context) -> int:
    """One server: its pin, its grants, everything it advertises."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
    matching = [server for server in found if server.name == args.name]
    if not matching:
        raise DeskError(f"there is no server {args.name}", hint="bulkhead servers", code="unknown")
    server = matching[0]
    if args.json:
        output.show_json(server.model_dump(mode="json"))
        return DONE
    output.show(f"{server.name}: {server.state}{'' if server.enabled else ', disabled'}")
    output.show(f"  line         {' '.join(server.argv)}")
    output.show(f"  package      {server.artifact} {server.version} ({server.kind}, {server.packages} packages)")
    output.show(f"  tree         {server.tree}")
    if server.development:
        output.show(f"  trust        {server.development}")
    output.show(f"  interpreter  {server.interpreter or '-'}")
    output.show(f"  pinned       {server.pinned}")
    output.show(f"  reads        {', '.join(server.read) or '-'}")
    output.show(f"  writes       {', '.join(server.write) or '-'}")
    output.show(f"  reaches      {', '.join(server.hosts) or 'no network'}")
    for line in server.network:
        output.show(f"  inspected    {line}")
    for denied in server.blocked:
        output.show(
            f"  blocked      {output.line(denied.target)} (to allow it: bulkhead allow {server.name} {denied.grant})"
        )
    output.show(f"  variables    {', '.join(server.env) or '-'}")
    for hit in (*server.malware, *server.vulnerabilities):
        output.show(f"  advisory     {output.line(hit)}")
    for finding in server.findings:
        output.show(f"  finding      {output.line(finding)}")
    for change in server.changes:
        output.show(f"  drift        {output.line(change)}")
    for tool in server.tools:
        output.show(f"  tool {output.line(tool.name)} ({tool.state}): {output.line(tool.description, 160)}")
    for prompt in server.prompts:
        output.show(f"  prompt {output.line(prompt)}")
    for resource in server.resources:
        output.show(f"  resource {output.line(resource)}")
    return DONE


async def remove(args: Namespace, context: Context) -> int:
    return await _named(schema.REMOVE, args.name, f"removed {args.name}", context)


async def enable(args: Namespace, context: Context) -> int:
    return await _named(schema.ENABLE, args.name, f"enabled {args.name}", context)


async def disable(args: Namespace, context: Context) -> int:
    return await _named(schema.DISABLE, args.name, f"disabled {args.name}", context)


async def grant(args: Namespace, context: Context) -> int:
    """Let a server see more of the user's files or reach more hosts, from its next start on."""
    request = schema.GrantPaths(
        name=args.name,
        read=[absolute(path) for path in args.read],
        write=[absolute(path) for path in args.write],
        hosts=list(HostRules.of(args.host).texts),
        listen=[] if args.no_listen else args.listen,
    )
    for port in request.listen or ():
        output.aside(f"programs here, web pages in your browser too, will reach what it listens on at port {port}")
    for path in request.write:
        output.aside(f"it will see and change {path}; {LEAVES}")
    async with context.desk() as desk:
        await desk.ask(schema.GRANT_PATHS, request, schema.Nothing)
    output.show(f"granted; links of {args.name} opened from now on have it")
    return DONE


async def pin(args: Namespace, context: Context) -> int:
    """Show a pin, or move it deliberately to what the line means today."""
    if not args.update:
        return await show(args, context)
    async with context.desk() as desk:
        found = (await desk.ask(schema.SERVERS, schema.Nothing(), schema.Servers)).servers
        matching = [server for server in found if server.name == args.name]
        if not matching:
            raise DeskError(f"there is no server {args.name}", hint="bulkhead servers", code="unknown")
        old = matching[0]
        agreed = await add_server(
            desk,
            args.name,
            old.argv,
            context.environment,
            env={},
            read=old.read,
            write=old.write,
            hosts=old.hosts,
            yes=args.yes,
            dev=bool(old.development),
            build=args.build,
            show=output.aside if args.json else output.show,
        )
        if agreed is None:
            return NO
        if args.json:
            output.show_json(agreed.model_dump(mode="json"))
            return DONE
        moved = f"{old.tree[:12]} -> {agreed.server.version} {agreed.server.tree[:12]}"
        output.show(f"{old.artifact} {old.version} {moved}")
        _show_agreed(agreed)
        await labels.offer_after(desk, args.name, ask=not args.yes)
    return DONE


async def _named(route: schema.Route, name: str, said: str, context: Context) -> int:
    async with context.desk() as desk:
        await desk.ask(route, schema.Name(name=name), schema.Nothing)
    output.show(said)
    return DONE


def _show_agreed(agreed: schema.Agreed) -> None:
    server = agreed.server
    output.show(f"pinned {server.artifact} {server.version}: tree {server.tree[:16]}, {len(server.tools)} tools")
    for note in agreed.notes:
        output.show(f"note: {note}")


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ValueError(text)
    return name, value


def absolute(path: str) -> str:
    """A grant is a real place: links are followed now, once, and the result is what is agreed to."""
    return str(Path(path).expanduser().resolve())


def _left(paths: Sequence[str], known: set[str]) -> list[str]:
    return [path for path in dict.fromkeys(paths) if path not in known and Path(path).expanduser().exists()]
