"""`policy learn`: from what was let through, the narrowest policy that still allows it; it counts after a yes."""

from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.audit import moment
from broker.cli.context import DONE, NO, Context
from broker.errors import PolicyError


async def learned(args: Namespace, context: Context) -> int:
    """Show the proposal, and on a terminal ask whether it is the policy from now on."""
    async with context.desk() as desk:
        wanted = schema.PolicyLearn(session=args.session, since=moment(args.since))
        found = await desk.ask(schema.POLICY_LEARN, wanted, schema.PolicyLearned)
        if not found.rules:
            hint = "use your servers for a while, or look further back: --since 7d"
            output.complain(PolicyError("no call was let through that rules could be learned from", hint=hint))
            return NO
        if args.json:
            rules = [rule.model_dump(mode="json") for rule in found.rules]
            output.show_json({"policy": found.text, "rules": rules, "left_out": found.left_out})
            return DONE
        output.show_text(found.text)
        for line in found.left_out:
            output.aside(f"not among them: {line}")
        output.aside(
            f"{len(found.rules)} rules for what was seen in {found.seen} calls; whatever else a tool could do is denied"
        )
        if output.ask("use this policy from now on?") == "y":
            await desk.ask(schema.POLICY_USE, schema.PolicyUse(name=found.name, text=found.text), schema.Nothing)
            output.aside("it is the policy from now on; to go back: bulkhead policy use balanced")
        else:
            output.aside("not used; keep it with: bulkhead policy learn > FILE, then: bulkhead policy use FILE")
    return DONE
