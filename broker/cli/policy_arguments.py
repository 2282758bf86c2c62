"""The grammar of what decides: labels, policies, advice on definitions, and recorded sessions."""

import argparse
from collections.abc import Callable

from broker.cli.later import Module

labels, policy, replay, scan = map(Module, ("labels", "policy", "replay", "scan"))


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """`command` makes one command of the whole line."""
    said = command("labels", labels.labels, "what a server's tools do with data: look, accept, change", json=True)
    said.add_argument("name")
    said.add_argument("--accept", action="store_true", help="yes to what is proposed, for these definitions")
    said.add_argument("--set", action="append", default=[], metavar="TOOL=LABELS/CLASS", help="as in search=PU/L")
    said.add_argument("--take-back", action="store_true", help="what was accepted counts no more")

    rules = command("policy", policy.policy, "use or check a policy", json=True)
    rules.add_argument(
        "action",
        choices=[
            "use",
            "check",
            "show",
            "explain",
            "test",
            "learn",
            "subscribe",
            "subscription",
            "pull",
            "unsubscribe",
        ],
    )
    rules.add_argument("name", nargs="?", default="", help="strict, balanced, observe, a file, or whom to subscribe to")
    rules.add_argument("--root", metavar="FILE", default="", help="the root.json of who signs what `subscribe` pulls")
    rules.add_argument("--policy", default="balanced", help="what `explain` asks")
    rules.add_argument("--since", metavar="T", help="what `learn` looks at: a date, or how long ago (2h, 7d)")
    rules.add_argument("--session", default="", metavar="ID", help="what `learn` looks at: one session alone")

    advice = command("scan", scan.command, "advice on tool definitions: hidden text, directives, shadowing", json=True)
    advice.add_argument("tools", metavar="TOOLS", help="a registered server, a tools/list result, or lines of tools")

    again = command("replay", replay.command, "recorded sessions through a policy: what would be held", json=True)
    again.add_argument("traces", metavar="TRACES", help="recorded sessions, or an exported audit log (.jsonl[.gz])")
    again.add_argument("--against", metavar="FILE", help="another policy beside: which calls would go otherwise")
    again.add_argument("--tools", metavar="DEFINITIONS", help="definitions that labels are proposed from")
    again.add_argument("--labels", choices=["proposed", "worst"], default="proposed")
    again.add_argument("--policy", metavar="FILE", default="balanced", help="a file, or a shipped policy")
