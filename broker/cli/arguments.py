"""The grammar of the command line, as one table a reader can hold against the contract."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from broker import __version__
from broker.cli import kept_arguments, network_arguments, policy_arguments
from broker.cli.later import Command, Module
from broker.sandbox.limits import KINDS

answers = Module("answers")
audit = Module("audit")
boxes = Module("boxes")
clients = Module("clients")
daemon = Module("daemon")
demo = Module("demo")
doctor = Module("doctor")
endpoints = Module("endpoints")
learn = Module("learn")
network = Module("network")
review = Module("review")
screen = Module("screen")
servers = Module("servers")
service = Module("service")
sign_ins = Module("sign_ins")
verify = Module("verify")
walls = Module("walls")


def spelled_out(words: Sequence[str]) -> list[str]:
    """`add NAME --bundle FILE` or `--url URL` as the launch line that it stands for; `sandbox learn` as one word."""
    if words[:2] == ["sandbox", "learn"] and words[2:3] not in ([], ["on"], ["off"]):  # a server may have that name
        return ["sandbox-learn", *words[2:]]
    if words[:1] != ["add"] or "--" in words:
        return list(words)
    for at, word in enumerate(words):
        name, equals, file = word.partition("=")
        if name == "--url" and (equals or at + 1 < len(words)):
            return [*words[:at], *words[at + (1 if equals else 2) :], "--", file if equals else words[at + 1]]
        if name == "--bundle" and (equals or at + 1 < len(words)):
            rest = [*words[:at], *words[at + (1 if equals else 2) :]]
            return [*rest, "--", "mcpb", "run", str(Path(file if equals else words[at + 1]).expanduser().resolve())]
    return list(words)


BUILD: Final = "let packages that must be built run their authors' code once, in a sandbox without a network"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="bulkhead", description="The broker that makes MCP servers safe to use on your own machine."
    )
    top.add_argument("--version", action="version", version=f"bulkhead {__version__}")
    commands = top.add_subparsers(dest="command_name", metavar="COMMAND")

    def command(name: str, run: Command, help: str, *, json: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        if json:
            _json(made)
        return made

    up = command("up", daemon.up, "start the daemon", json=True)
    up.add_argument("--foreground", action="store_true", help="stay in this terminal and log there")
    up.add_argument("--http", type=int, metavar="PORT", help="let clients in by HTTP at this port, from now on")
    up.add_argument(
        "--unsafe-no-presence",
        action="store_true",
        help="let answers come without a person (tests and automation; needs BULKHEAD_HOME)",
    )
    command("down", daemon.down, "stop the daemon and every server")
    command("status", daemon.status, "the daemon in one look", json=True)
    command("doctor", doctor.doctor, "what this machine enforces, what is wrong, and what to do", json=True)
    command("demo", demo.demo, "the main job on real servers, in a throw-away home", json=True)

    ui = command("ui", screen.in_browser, "the screen, as `bulkhead` alone opens it; or in a browser on this machine")
    ui.add_argument("--web", action="store_true", help="in a browser, by a link that works once (extra `web`)")
    ui.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: a free one")
    command(
        "clients", clients.found, "AI applications found, and which of their servers go through Bulkhead", json=True
    )
    bring = command("import", clients.bring, "move a client's servers into Bulkhead")
    bring.add_argument(
        "clients", nargs="*", metavar="CLIENT", help="names as `bulkhead clients` shows them; default: all found"
    )
    bring.add_argument("--dry-run", action="store_true", help="show the difference and change nothing")
    bring.add_argument("--yes", action="store_true", help="answer this command's own questions with yes")
    undo = command("undo", clients.undo, "give a client's configuration back as it was")
    undo.add_argument("clients", nargs="*", metavar="CLIENT")
    client = command("client", clients.client, "register, list or remove a client; where its person answers", json=True)
    client.add_argument("action", choices=["add", "list", "remove", "answers"])
    client.add_argument("name", nargs="?", default="")
    client.add_argument("switch", nargs="?", choices=["on", "off"], help="of answers: whether inside the client, too")

    add = command("add", servers.add, "register a server: resolve, verify, show, ask, pin", json=True)
    add.add_argument("name", metavar="NAME")
    add.add_argument("--env", action="append", default=[], metavar="KEY=VALUE", help="a variable for the server")
    add.add_argument("--secret", action="append", default=[], metavar="KEY=REF",
                     help="a variable (or header) from keychain:NAME, file:PATH or command:PROGRAM ...; "
                     "or host:aws[/PROFILE], host:gcloud, host:gh: what that program hands out")  # fmt: skip
    add.add_argument("--read", action="append", default=[], metavar="PATH", help="let it read a file or folder")
    add.add_argument("--write", action="append", default=[], metavar="PATH", help="let it change a file or folder")
    add.add_argument("--host", action="append", default=[], metavar="HOST[:PORT]", help="let it reach a host")
    add.add_argument("--label", action="append", default=[], metavar="TOOL=LABELS/CLASS",
                     help="what a tool does with data, as you know it: search=PU/L")  # fmt: skip
    add.add_argument("--scope", action="append", default=[], metavar="ARG",
                     help="the argument that says which part of the server a call is about")  # fmt: skip
    network_arguments.flags_of_add(add)
    add.add_argument(
        "--allow", action="append", default=[], choices=["unix-sockets"], help="what no server has by itself"
    )
    add.add_argument("--state", choices=["none", "session", "server"], help="what it keeps from run to run")
    _limits(add)
    add.add_argument("--yes", action="store_true", help="answer this command's own questions with yes")
    add.add_argument("--build", action="store_true", help=BUILD)
    add.add_argument("--dev", action="store_true", help="trust a local project while you work on it, for 30 days")
    add.add_argument("--bundle", metavar="FILE.mcpb", help="an MCPB bundle in the place of a command")
    add.add_argument("--url", metavar="URL", help="a server that runs elsewhere; its headers are given with --env")
    _signing_in(add)
    add.add_argument("command", nargs="+", metavar="COMMAND", help="after --, the line a client would run")
    command("servers", servers.servers, "registered servers", json=True)
    show = command("show", servers.show, "one server: its pin, grants and catalog", json=True)
    show.add_argument("name")
    for name, run, text in (
        ("remove", servers.remove, "forget a server"),
        ("enable", servers.enable, "switch a server or tool on: NAME or NAME/TOOL"),
        ("disable", servers.disable, "switch a server or tool off: NAME or NAME/TOOL"),
    ):
        command(name, run, text).add_argument("name")
    _boxes(command)
    grant = command("grant", servers.grant, "let a server see more of your files, or reach more hosts")
    grant.add_argument("name")
    grant.add_argument("--read", action="append", default=[], metavar="PATH")
    grant.add_argument("--write", action="append", default=[], metavar="PATH")
    grant.add_argument("--host", action="append", default=[], metavar="HOST[:PORT]")
    network_arguments.flags_of_grant(grant)
    allow = command("allow", network.allow, "let a server reach hosts: NAME HOST[:PORT]", json=True)
    allow.add_argument("name")
    allow.add_argument("hosts", nargs="+", metavar="HOST[:PORT]")
    blocked = command("blocked", network.blocked, "what servers tried to reach and may not", json=True)
    blocked.add_argument("name", nargs="?", default="")
    inspect = command("inspect", network.inspect, "look into a server's encrypted connections", json=True)
    inspect.add_argument("name")
    network_arguments.flags_of_inspect(inspect)
    check = command("verify", verify.verify, "check the store against the pins now", json=True)
    check.add_argument("names", nargs="*", metavar="NAME")
    check.add_argument("--offline", action="store_true", help="do not ask registries about newer versions")
    check.add_argument(
        "--roots", nargs="?", const="", metavar="URL", help="fetch the newest root of trust first, and then each day"
    )
    check.add_argument("--sbom", metavar="FILE", help="write what the servers consist of, as CycloneDX; - prints it")
    pin = command("pin", servers.pin, "show a pin, or move it with --update", json=True)
    pin.add_argument("name")
    pin.add_argument("--update", action="store_true", help="resolve the line anew and ask")
    pin.add_argument("--yes", action="store_true")
    pin.add_argument("--build", action="store_true", help=BUILD)
    changed = command("review", review.review, "go through what changed without a yes", json=True)
    changed.add_argument("name", nargs="?", default="")
    changed.add_argument("--yes", action="store_true")

    connect = command("connect", clients.connect, "what a client runs: stdio here, the daemon there")
    _one_or_all(connect)
    connect.add_argument("--client", default="local")
    endpoint = command("endpoint", endpoints.endpoint, "a server's address for a client that speaks HTTP", json=True)
    _one_or_all(endpoint)
    endpoint.add_argument("--client", default="local")
    endpoint.add_argument("--workspace", metavar="DIR", default="", help="the folder the client works in")
    endpoint.add_argument("--oauth", action="store_true", help="for a client that insists on signing in: no bearer")
    endpoint.add_argument("--show", action="store_true", help="print the bearer too")

    login = command("login", sign_ins.login, "sign a client in at a server that runs elsewhere", json=True)
    login.add_argument("name")
    _signing_in(login)
    login.add_argument("--paste", action="store_true", help="the browser is elsewhere: paste the address it ends at")
    login.add_argument("--no-browser", action="store_true", help="only print the address")
    login.add_argument("--yes", action="store_true", help="answer this command's own question with yes")
    logout = command("logout", sign_ins.logout, "sign a client out of a server, there too", json=True)
    logout.add_argument("name")
    logout.add_argument("--client", default="local")
    tokens = command("tokens", sign_ins.tokens, "who is signed in where; never a token", json=True)
    tokens.add_argument("--links", action="store_true", help="with the addresses that wait for you")
    kept_arguments.secrets_grammar(command)

    pending = command("pending", answers.pending, "open questions", json=True)
    pending.add_argument("--watch", action="store_true", help="go on: show each question as it comes, and ring")
    pending.add_argument("--answer", action="store_true", help="ask for each answer here, one plain line at a time")
    approve = command("approve", answers.approve, "answer a question with yes")
    approve.add_argument("id")
    approve.add_argument("--number", default="", metavar="NN", help="what the page of a sign-in shows")
    approve.add_argument("--for", dest="lifetime", choices=["once", "session", "always"], default="once")
    command("deny", answers.deny, "answer a question with no").add_argument("id")
    command("grants", answers.grants, "what was allowed for longer than once", json=True)
    revoke = command("revoke", network.revoke, "take a grant back: ID, or hosts of a server: NAME HOST[:PORT]")
    revoke.add_argument("id", metavar="ID|NAME")
    revoke.add_argument("hosts", nargs="*", metavar="HOST[:PORT]")
    command("sessions", answers.sessions, "live sessions and their links", json=True)
    mark = command("declassify", answers.declassify, "mark one read of one session as harmless there", json=True)
    mark.add_argument("read", metavar="READ", help="as `bulkhead sessions` shows it")
    mark.add_argument("--yes", action="store_true", help="answer this command's own question with yes")
    session = command("session", answers.session, "end a session, or let a client begin anew")
    session.add_argument("action", choices=["end", "new"])
    session.add_argument("end", metavar="ID|CLIENT", nargs="?", default="local")

    wall = command("wall", walls.wall, "classes of servers that never meet in one session", json=True)
    wall.add_argument("action", choices=["list", "add", "remove"], nargs="?", default="list")
    wall.add_argument("name", nargs="?", default="")
    wall.add_argument("classes", nargs="*", metavar="CLASS=SERVER,...", help="SERVER, or one part of it: SERVER:SCOPE")
    limit = command("limit", walls.limit, "the only tools that a client, or one session of it, may use", json=True)
    limit.add_argument("action", choices=["list", "add", "remove"], nargs="?", default="list")
    limit.add_argument("name", nargs="?", metavar="CLIENT|ID", default="")
    limit.add_argument("tools", nargs="*", metavar="SERVER[/TOOL]")
    limit.add_argument("--session", metavar="ID", default="", help="this session of the client alone")

    policy_arguments.add(command)

    unit = command("service", service.service, "have the daemon come up with your session", json=True)
    unit.add_argument("action", choices=["install", "uninstall", "status"])

    kept_arguments.advisories_grammar(commands)
    _store(commands)
    _audit(commands)
    return top


def _signing_in(command: argparse.ArgumentParser) -> None:
    command.add_argument("--client", default="local", help="whose sign-in it is at a server elsewhere")
    command.add_argument("--device", action="store_true", help="sign in on another machine, with a code")
    command.add_argument("--resource", metavar="prm|omit|fixed:URI", help="what names the server when signing in")
    command.add_argument("--client-id", metavar="ID", help="a client id that was registered by hand")
    command.add_argument(
        "--client-auth", choices=("basic", "post"), help="how its secret is shown, where the default is not taken"
    )
    command.add_argument("--client-secret", action="store_true", help="its secret, from a prompt or standard input")
    command.add_argument("--client-key", metavar="FILE", help="its private key (PEM): no person is needed then")
    command.add_argument("--issuer", metavar="URL", help="the one authorization server that the client id is for")
    command.add_argument("--client-document", metavar="URL", help="a client id metadata document that you published")


def _limits(command: argparse.ArgumentParser) -> None:
    for kind in KINDS.values():
        command.add_argument(f"--{kind.flag}", metavar="SIZE" if kind.unit == "bytes" else "N", help=kind.meaning)


def _boxes(command: Callable[..., argparse.ArgumentParser]) -> None:
    limits = command("limits", boxes.limits, "how much of the machine a server may use", json=True)
    limits.add_argument("name")
    _limits(limits)
    sandbox = command("sandbox", boxes.sandbox, "how a server is boxed in; off takes it out, by name", json=True)
    sandbox.add_argument("name")
    sandbox.add_argument("mode", nargs="?", choices=["on", "off"])
    sandbox.add_argument("--unix-sockets", choices=["on", "off"], help="let it make unix sockets inside, for itself")
    sandbox.add_argument("--yes", action="store_true", help="answer this command's own question with yes")
    watch = command("sandbox-learn", learn.learn, "`sandbox learn NAME`: watch it, propose paths and hosts", json=True)
    watch.add_argument("name")
    watch.add_argument(
        "--call", nargs=2, action="append", default=[], metavar=("TOOL", "JSON"), help="call it yourself"
    )
    watch.add_argument("--seconds", type=int, choices=range(1, 3601), metavar="N", help="how long; default: 600")
    state = command("state", boxes.state, "what servers keep from run to run", json=True)
    state.add_argument("action", choices=["list", "clear", "use"])
    state.add_argument("name", nargs="?", default="")
    state.add_argument("keep", nargs="?", choices=["none", "session", "server"])


def _store(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    book = commands.add_parser("store", help="what servers run, kept read-only on this machine")
    pages = book.add_subparsers(dest="page", required=True, metavar="gc")
    collect = pages.add_parser("gc", help="remove what no pin names and nothing runs")
    collect.add_argument("--dry-run", action="store_true", help="show what would go, and remove nothing")
    collect.set_defaults(run=verify.collect)
    _json(collect)


def _audit(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    book = commands.add_parser("audit", help="what happened")
    pages = book.add_subparsers(dest="page", required=True, metavar="tail|search|show|export|verify|prune")
    tail = pages.add_parser("tail", help="the last receipts")
    tail.add_argument("-n", dest="number", type=int, default=20)
    tail.add_argument("--follow", action="store_true")
    tail.set_defaults(run=audit.tail)
    search = pages.add_parser("search", help="receipts that match")
    search.add_argument("-n", dest="number", type=int, default=100)
    search.set_defaults(run=audit.search)
    export = pages.add_parser("export", help="receipts for other tools, one object a line")
    export.add_argument("--format", choices=("jsonl", "ocsf", "otlp"), default="jsonl")
    export.add_argument("--bodies", action="store_true", help="with what was said in clear; needs a person")
    export.add_argument("--follow", action="store_true", help="go on with those that come")
    export.set_defaults(run=audit.export)
    for page in (search, export):
        for name in ("client", "server", "session", "tool", "kind", "rule", "verdict", "story", "text"):
            page.add_argument(f"--{name}", default="")
        for name in ("since", "until"):
            page.add_argument(f"--{name}", metavar="TIME", help="2026-01-31, 2026-01-31T12:00, or 30m, 2h, 7d ago")
    show = pages.add_parser("show", help="one receipt by its number, or all of one request by its story")
    show.add_argument("id", metavar="NUMBER|STORY")
    show.set_defaults(run=audit.show)
    prune = pages.add_parser("prune", help="let go of old receipts; what is left still verifies")
    classes = ("messages", "decisions", "network", "daemon")
    prune.add_argument("--class", dest="classes", action="append", choices=classes,
                       help="of these only; may stand several times; without it messages and network")  # fmt: skip
    prune.add_argument("--older-than", metavar="TIME", help="2026-01-31, or 90d ago")
    prune.add_argument("--keep", metavar="SIZE", help="at most so much of them: 500M, 2G")
    prune.add_argument("--dry-run", action="store_true", help="say how much it would be")
    prune.set_defaults(run=audit.prune)
    verify = pages.add_parser("verify", help="check the whole chain")
    verify.set_defaults(run=audit.verify)
    for page in (tail, search, show, export, verify, prune):
        _json(page)


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="print JSON")


def _one_or_all(command: argparse.ArgumentParser) -> None:
    """A server's name, or `--all` for a client that takes one server only: then each keeps a link of its own."""
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", default="")
    which.add_argument("--all", action="store_true", help="every server, as if they were one")
