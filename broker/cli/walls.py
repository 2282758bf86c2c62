"""`wall`, `limit`: servers that never meet in one session, and the only tools of a client or session."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, Context
from broker.errors import DeskError
from broker.policy.walls import HINT

LIMIT_HINT = "bulkhead limit add CLIENT SERVER SERVER/TOOL ... [--session ID]"


async def wall(args: Namespace, context: Context) -> int:
    """List walls, put one up, or take one down."""
    async with context.desk() as desk:
        if args.action == "add":
            classes = {}
            for word in args.classes:
                side, equals, members = word.partition("=")
                if not equals or side in classes:
                    raise DeskError(f"{word!r:.80} is no class of a wall", hint=HINT, code="usage")
                classes[side] = members.split(",")
            await desk.ask(schema.WALL_ADD, schema.WallView(name=args.name, classes=classes), schema.Nothing)
            output.show(f"the wall {args.name} stands")
            return DONE
        if args.action == "remove":
            await desk.ask(schema.WALL_REMOVE, schema.Name(name=args.name), schema.Nothing)
            output.show(f"the wall {args.name} is gone")
            return DONE
        found = (await desk.ask(schema.WALLS, schema.Nothing(), schema.Walls)).walls
    if args.json:
        output.show_json([one.model_dump(mode="json") for one in found])
        return DONE
    rows = [(one.name, side, ", ".join(members)) for one in found for side, members in one.classes.items()]
    output.show_table(("WALL", "CLASS", "SERVERS"), rows)
    return DONE


async def limit(args: Namespace, context: Context) -> int:
    """List limits, add one, or lift one."""
    if args.action != "list" and not args.name:
        raise DeskError(f"limit {args.action} needs a name", hint=LIMIT_HINT, code="usage")
    async with context.desk() as desk:
        if args.action == "add":
            choice = schema.LimitChoice(client=args.name, tools=args.tools, session=args.session)
            made = await desk.ask(schema.LIMIT_ADD, choice, schema.LimitView)
            output.show(f"{args.name} may use nothing but {', '.join(made.tools) or 'nothing'} (limit {made.id})")
            return DONE
        if args.action == "remove":
            await desk.ask(schema.LIMIT_REMOVE, schema.Name(name=args.name), schema.Nothing)
            output.show(f"lifted {args.name}")
            return DONE
        found = (await desk.ask(schema.WALLS, schema.Nothing(), schema.Walls)).limits
    if args.json:
        output.show_json([one.model_dump(mode="json") for one in found])
        return DONE
    rows = [(one.id, one.client, one.session or "every", ", ".join(one.tools) or "nothing") for one in found]
    output.show_table(("ID", "CLIENT", "SESSION", "ONLY"), rows)
    return DONE
