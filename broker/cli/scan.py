"""`scan`: advice on tool definitions, of a file or of a registered server.  It decides nothing."""

from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.trust.definitions import Definition, read_definitions
from broker.trust.scan import Advice, scan

Others = Mapping[str, str]


async def command(args: Namespace, context: Context) -> int:
    """Exit 0: nothing found; 1: at least one definition is suspect or to be rejected."""
    if _is_file(args.tools):
        definitions: Iterable[Definition] = read_definitions(Path(args.tools))
        others: Others = {}
    else:
        definitions, others = await _registered(args.tools, context)
    verdicts: Counter[str] = Counter()
    for definition, advice in advise(list(definitions), others):
        verdicts[advice.verdict] += 1
        if args.json:
            output.show_line(_document(definition, advice))
        elif advice.verdict != "clean":
            _show(definition, advice)
    total = verdicts.total()
    if args.json:
        counts = {verdict: verdicts[verdict] for verdict in ("clean", "suspect", "reject")}
        output.show_line({"summary": {"tools": total, **counts}})
    else:
        output.show(f"{total} tools: {verdicts['suspect']} suspect, {verdicts['reject']} to be rejected")
    return NO if verdicts["suspect"] or verdicts["reject"] else DONE


def advise(definitions: list[Definition], others: Others) -> Iterator[tuple[Definition, Advice]]:
    """Advice on each: the tools of one server know each other, and `others` are tools of the servers beside it."""
    own: defaultdict[str, set[str]] = defaultdict(set)
    for definition in definitions:
        own[definition.server].add(str(definition.tool["name"]))
    for definition in definitions:
        yield definition, scan(definition.tool, own[definition.server], others)


def _is_file(name: str) -> bool:
    """A server's name has neither slash nor ending."""
    return "/" in name or bool(Path(name).suffix) or Path(name).exists()


async def _registered(name: str, context: Context) -> tuple[list[Definition], Others]:
    async with context.desk() as desk:
        found = await desk.ask(schema.DEFINITIONS, schema.Name(name=name), schema.Definitions)
    definitions = [Definition(str(tool.get("name", "")), name, tool) for tool in found.tools]
    return definitions, found.others


def _document(definition: Definition, advice: Advice) -> dict[str, object]:
    return {
        "id": definition.id,
        "server": definition.server,
        "tool": definition.tool["name"],
        "verdict": advice.verdict,
        "findings": [
            {"check": found.check, "where": found.where, "evidence": found.evidence, "meaning": found.meaning}
            for found in advice.findings
        ],
    }


def _show(definition: Definition, advice: Advice) -> None:
    server = f"{definition.server}: " if definition.server else ""
    output.show(f"{advice.verdict}: {server}{definition.tool['name']}")
    for found in advice.findings:
        output.show(f"  {found.meaning} ({found.check}, {found.where}): {found.evidence}")
