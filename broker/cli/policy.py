"""`policy use|check|show`."""

from argparse import Namespace
from pathlib import Path

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, USAGE, Context
from broker.errors import PolicyError
from broker.files import read_bounded
from broker.policy.document import parse_policy
from broker.policy.store import SHIPPED, shipped


async def policy(args: Namespace, context: Context) -> int:
    """Check a policy, use it from now on, or print a shipped one."""
    if not args.name:
        output.complain(PolicyError("name a policy", hint="bulkhead policy use strict|balanced|observe|FILE"))
        return USAGE
    text = _text(args.name)
    if args.action == "show":
        if args.json:
            output.show_json({"name": args.name, "text": text})
        else:
            output.show_text(text)
        return DONE
    found = parse_policy(text.encode(), args.name)
    if args.action == "check":
        if args.json:
            output.show_json({"name": args.name, "rules": len(found.rules)})
        else:
            output.show(f"{args.name}: {len(found.rules)} rules, no problem")
        return DONE
    async with context.desk() as desk:
        await desk.ask(schema.POLICY_USE, schema.PolicyUse(name=args.name, text=text), schema.Nothing)
    output.show(f"the policy is {args.name} from now on")
    return DONE


def _text(name: str) -> str:
    if name in SHIPPED:
        return shipped(name).decode()
    try:
        return read_bounded(Path(name)).decode()
    except UnicodeDecodeError:
        raise PolicyError(
            f"{name} is not UTF-8 text", hint="bulkhead policy show balanced shows how one looks"
        ) from None
    except FileNotFoundError:
        raise PolicyError(f"there is no policy {name}", hint=f"one of {', '.join(SHIPPED)}, or a file") from None
