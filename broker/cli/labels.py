"""`labels`: what the tools of a server do with data, as far as anybody vouches for it; accept, change, take back.

Until somebody vouches for a tool it counts as the worst case, and is asked about after every read elsewhere.
"""

from argparse import Namespace
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import output
from broker.cli.context import DONE, USAGE, Context
from broker.errors import DeskError

_Flag: TypeAlias = Literal["P", "U", "E", "M"]

MEANS: Final[dict[_Flag, str]] = {
    "P": "answers what is private",
    "U": "answers what strangers may have written",
    "E": "tells others what it is told",
    "M": "changes something",
}
CLASSES: Final = {"H": "asked about after reading elsewhere", "L": "not asked about for that alone"}
BASES: Final = {
    "accepted": "you accepted its labels",
    "shipped": "Bulkhead's own label of this package counts",
    "worst": "nobody vouches for it, so every call counts as the worst case",
}
FORM: Final = "--set TOOL=LABELS/CLASS, as in --set search=PU/L (P private, U strangers, E leaves, M changes; H or L)"


async def labels(args: Namespace, context: Context) -> int:
    """Show, or with a yes: accept the proposal (with what `--set` changes), or take back what was accepted."""
    try:
        changed = [_chosen(text) for text in args.set]
    except ValueError:
        output.complain(DeskError("a label could not be read", hint=FORM))
        return USAGE
    async with context.desk() as desk:
        if args.take_back:
            view = await desk.ask(schema.LABELS_TAKE_BACK, schema.Name(name=args.name), schema.LabelsView)
            return _said(view, args, f"taken back: {BASES[view.basis]}")
        view = await desk.ask(schema.LABELS, schema.Name(name=args.name), schema.LabelsView)
        wanted = with_changes(view, changed)
        if args.accept:
            view = await accept(desk, view, wanted)
            return _said(view, args, f"accepted for {len(wanted)} tools of {view.name}")
        if args.json:
            output.show_json(view.model_dump(mode="json"))
            return DONE
        show(view, wanted)
        if changed or any(_vague(tool) for tool in view.tools):
            await offer(desk, view, wanted)
        return DONE


async def offer(desk: DeskClient, view: schema.LabelsView, wanted: list[schema.ToolLabels]) -> None:
    """One key: accept what is shown."""
    if output.ask("accept these labels? y = yes, n = leave it as it is") != "y":
        _say_later(view)
        return
    await accept(desk, view, wanted)
    output.show(f"accepted; to take it back: bulkhead labels {view.name} --take-back")


def _say_later(view: schema.LabelsView) -> None:
    output.show(f"not accepted; later: bulkhead labels {view.name} --accept")
    output.show(f"to change one: bulkhead labels {view.name} --set TOOL=PU/L --accept")


async def offer_after(desk: DeskClient, name: str, *, ask: bool) -> None:
    """After a server was pinned: say where it stands, and on a terminal offer what could be accepted.

    Without `ask` (the command was told to answer its own questions) nothing is accepted: labels only ever loosen.
    """
    view = await desk.ask(schema.LABELS, schema.Name(name=name), schema.LabelsView)
    if not view.tools or not any(_vague(tool) for tool in view.tools):
        return
    wanted = with_changes(view, [])
    show(view, wanted)
    if ask:
        await offer(desk, view, wanted)
    else:
        _say_later(view)


def vouched(args: Namespace) -> list[schema.ToolLabels] | None:
    """What `--label` says, read before anything is done; None, and a complaint, where it cannot be read."""
    try:
        return [_chosen(text) for text in args.label]
    except ValueError:
        output.complain(DeskError("a label could not be read", hint=FORM.replace("--set", "--label")))
        return None


async def after_add(desk: DeskClient, args: Namespace, chosen: list[schema.ToolLabels]) -> None:
    """Keep what a person said of its tools (`--label`, `--scope`), with what counts now for the others; where they said
    nothing, offer what could be accepted."""
    if not (chosen or args.scope):
        if not args.json:
            await offer_after(desk, args.name, ask=not args.yes)
        return
    view = await desk.ask(schema.LABELS, schema.Name(name=args.name), schema.LabelsView)
    found = {tool.now.name: tool.now for tool in view.tools}
    for tool in chosen:
        if tool.name not in found:
            raise DeskError(
                f"{args.name} is pinned, and has no tool {tool.name!r}", hint=f"bulkhead labels {args.name}"
            )
        found[tool.name] = tool.model_copy(update={"scope": found[tool.name].scope})
    wanted = [tool.model_copy(update={"scope": args.scope or tool.scope}) for tool in found.values()]
    kept = await accept(desk, view, wanted)
    if not args.json:
        show(kept, wanted)


async def accept(desk: DeskClient, view: schema.LabelsView, wanted: list[schema.ToolLabels]) -> schema.LabelsView:
    agreed = schema.LabelsAccept(name=view.name, catalog=view.catalog, tools=wanted)
    return await desk.ask(schema.LABELS_ACCEPT, agreed, schema.LabelsView)


def with_changes(view: schema.LabelsView, changed: Iterable[schema.ToolLabels]) -> list[schema.ToolLabels]:
    """What would be accepted: the labels that were accepted before, else the proposal, with what a person changes.

    Raises:
        DeskError: a change is about a tool that the server does not have.
    """
    kept = view.basis == "accepted"
    found = {tool.now.name: tool.now if kept else tool.proposed for tool in view.tools}
    for tool in changed:
        if tool.name not in found:
            raise DeskError(f"{view.name} has no tool {tool.name!r}", hint=f"bulkhead labels {view.name}")
        found[tool.name] = tool.model_copy(update={"scope": found[tool.name].scope})
    return list(found.values())


def show(view: schema.LabelsView, wanted: list[schema.ToolLabels]) -> None:
    """A page that a person can read: first what the tools are sources and ways out of, then each with its evidence."""
    output.show(f"{view.name}: {BASES[view.basis]}" + (f" ({view.lapsed})" if view.lapsed else ""))
    if view.basis != "accepted":
        output.show("what could be accepted, for these definitions of this publisher only; nothing here is proven:")
    for flag, means in MEANS.items():
        names = [tool.name for tool in wanted if flag in tool.labels]
        output.show(f"  {means} ({flag}): {', '.join(names) or 'no tool'}")
    for level, means in CLASSES.items():
        names = [tool.name for tool in wanted if tool.level == level]
        output.show(f"  {means} ({level}): {', '.join(names) or 'no tool'}")
    because = {tool.now.name: tool.because for tool in view.tools}
    for tool in wanted:
        said = "; ".join(f"{what}: {why}" for what, why in because.get(tool.name, [])) or tool.reason
        parts = f" by {', '.join(tool.scope)}" if tool.scope else ""
        output.show(f"  {output.line(tool.name)} {_short(tool)}{parts}: {output.line(said, 400)}")


def _said(view: schema.LabelsView, args: Namespace, text: str) -> int:
    if args.json:
        output.show_json(view.model_dump(mode="json"))
    else:
        output.show(text)
    return DONE


def _vague(tool: schema.ProposedLabels) -> bool:
    """Whether it counts as more than what could be accepted."""
    return set(tool.now.labels) > set(tool.proposed.labels) or (tool.now.level, tool.proposed.level) == ("H", "L")


def _short(tool: schema.ToolLabels) -> str:
    return f"{''.join(tool.labels) or '-'}/{tool.level}"


def _chosen(text: str) -> schema.ToolLabels:
    name, equals, said = text.rpartition("=")
    flags, slash, level = said.partition("/")
    letters: list[_Flag] = [flag for flag in MEANS if flag in flags.upper()]
    if not (name and equals and slash) or len(letters) != len(flags.replace("-", "")) or level.upper() not in CLASSES:
        raise ValueError(text)
    return schema.ToolLabels(
        name=name, labels=letters, level="H" if level.upper() == "H" else "L", reason="a person said so"
    )
