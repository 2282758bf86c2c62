"""`policy learn`: from what was let through, the narrowest policy that still allows it; it counts after a yes."""

from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any, Final

from broker.api import schema
from broker.api.client import DeskClient
from broker.cli import output
from broker.cli.audit import moment
from broker.cli.context import DONE, NO, Context
from broker.errors import PolicyError
from broker.flow.proposal import scope_arguments
from broker.model import Call, ClientName, ServerName, SessionId
from broker.policy.document import parse_policy
from broker.policy.evaluate import Policy
from broker.policy.learn import LEARNED, Learned, Seen, learn
from broker.policy.store import DEFAULT, shipped
from broker.policy.text import policy_text

NAME: Final = "learned"
PAGE: Final = 100  # opened receipts are large
MAX_SEEN: Final = 20_000


async def learned(args: Namespace, context: Context) -> int:
    """Show the proposal, and on a terminal ask whether it is the policy from now on."""
    async with context.desk() as desk:
        base = await _base(desk)
        seen = [one async for one in _seen(desk, args)]
        found = learn(seen, base, scope_arguments)
        if not found.new:
            hint = "use your servers for a while, or look further back: --since 7d"
            output.complain(PolicyError("no call was let through that rules could be learned from", hint=hint))
            return NO
        text = policy_text(NAME, f"learned from {len(seen)} calls, beside the rules of {base.name}", found.rules)
        parse_policy(text.encode(), NAME)  # what could not be read again is not proposed
        if args.json:
            output.show_json(_document(found, text))
            return DONE
        output.show_text(text)
        for line in found.left_out:
            output.aside(f"not among them: {line}")
        output.aside(
            f"{found.new} rules for what was seen in {len(seen)} calls; whatever else a tool could do is denied"
        )
        if output.ask("use this policy from now on?") == "y":
            await desk.ask(schema.POLICY_USE, schema.PolicyUse(name=NAME, text=text), schema.Nothing)
            output.aside("it is the policy from now on; to go back: bulkhead policy use balanced")
        else:
            output.aside("not used; keep it with: bulkhead policy learn > FILE, then: bulkhead policy use FILE")
    return DONE


async def _base(desk: DeskClient) -> Policy:
    """The policy in force; a policy that holds nothing is no measure, so then the default one."""
    now = await desk.ask(schema.POLICY_NOW, schema.Nothing(), schema.PolicyUse)
    policy = parse_policy(now.text.encode(), now.name)
    return policy if policy.holds else parse_policy(shipped(DEFAULT), f"{DEFAULT}.toml")


async def _seen(desk: DeskClient, args: Namespace) -> AsyncIterator[Seen]:
    """Every call that a client was let make, page by page, the oldest first."""
    after, since = 0, moment(args.since)
    told: set[tuple[object, object]] = set()  # a call that waited for its server was judged twice
    while len(told) < MAX_SEEN:
        wanted = schema.Search(
            limit=PAGE, session=args.session, kind="decision", verdict="allow", since=since, after=after,
            oldest_first=True,
        )  # fmt: skip
        page = (await desk.ask(schema.AUDIT_OPEN, wanted, schema.Receipts)).receipts
        if not page:
            return
        for entry in page:
            request = entry.get("link"), entry.get("request")
            if entry.get("side") == "client" and entry.get("method") in LEARNED and request not in told:
                told.add(request)
                yield Seen(_call(entry), int(entry["seq"]))
        after = int(page[-1]["seq"])


def _call(entry: dict[str, Any]) -> Call:
    body = entry.get("body")
    arguments = body.get("arguments") if isinstance(body, dict) else None
    return Call(
        ClientName(str(entry.get("client") or "")), ServerName(str(entry.get("server") or "")),
        SessionId(str(entry.get("session") or "")), "client", str(entry["method"]), str(entry.get("target") or ""),
        arguments if isinstance(arguments, dict) else {}, str(entry.get("digest") or ""),
    )  # fmt: skip


def _document(found: Learned, text: str) -> dict[str, object]:
    rules = [
        {"name": rule.name, "client": rule.client, "server": rule.server, "method": rule.method,
         "target": rule.target, "evidence": evidence}
        for rule, evidence in found.rules[: found.new]
    ]  # fmt: skip
    return {"policy": text, "rules": rules, "left_out": list(found.left_out)}
