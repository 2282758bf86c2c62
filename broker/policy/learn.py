"""The narrowest rules that still allow what was seen, each with its evidence.  A person accepts them, or not.

Nothing is ever widened: a learned rule is a rule of the policy in force with more conditions, every rule that asks,
denies or masks stays, and what was asked about or denied is left out and said.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import urlsplit

from broker.model import Call, Decision, Verdict
from broker.policy.constraints import Constraint
from broker.policy.evaluate import CONNECTION, Policy, Rule, evaluate

LEARNED: Final = ("tools/call", "prompts/get", "resources/read", "resources/subscribe")
"""What is learned by name.  Whatever else a policy allows stays allowed."""
OTHERS: Final = (CONNECTION, "completion/complete", "tasks/*", "sampling/createMessage", "elicitation/create",
                 "roots/list")  # fmt: skip
MAX_VALUES: Final = 8  # different values that a person reads in one rule
_SPECIAL: Final = re.compile(r"([*?\[])")


@dataclass(frozen=True, slots=True)
class Seen:
    """One call that was let through, and the number of its receipt."""

    call: Call
    receipt: int


@dataclass(frozen=True, slots=True)
class Learned:
    """Rules with their evidence; those kept from the policy in force come last.

    `new` says how many were learned, `left_out` what was seen and is not allowed.
    """

    rules: tuple[tuple[Rule, str], ...]
    new: int
    left_out: tuple[str, ...]


def learn(seen: Iterable[Seen], policy: Policy, parts: Callable[[Iterable[str]], tuple[str, ...]]) -> Learned:
    """What to allow from now on.  `parts` says which arguments tell what part of a server is meant."""
    groups: dict[tuple[str, str, str, str], list[Seen]] = {}
    left_out: dict[str, None] = {}
    for one in seen:
        call, decision = one.call, evaluate(policy, one.call)
        if call.method not in LEARNED or call.origin != "client":
            continue
        if decision.verdict is Verdict.ALLOW:
            groups.setdefault((call.client, call.server, call.method, call.target), []).append(one)
        else:
            left_out[_left_out(call, decision)] = None
    named = {rule.name: rule for rule in policy.rules}
    rules: list[tuple[Rule, str]] = []
    for number, ((client, server, method, target), calls) in enumerate(sorted(groups.items()), 1):
        basis = named[evaluate(policy, calls[0].call).rule]
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"learned-{number}-{server}-{target}")[:64]
        said = {(each.argument, each.kind) for each in basis.arguments}
        found = _constraints([one.call for one in calls], parts)
        more = [each for each in found if (each.argument, each.kind) not in said]  # what is said stays as it is
        rule = replace(
            basis,
            name=name,
            reason=f"seen at work; {basis.reason}"[:500],
            client=_exactly(client),
            server=_exactly(server),
            method=method,
            target=_exactly(target),
            arguments=(*basis.arguments, *more),
        )
        rules.append((rule, _evidence(calls, more)))
    kept = [(rule, "") for rule in policy.rules for rule in _kept(rule)]
    return Learned((*rules, *kept), len(rules), tuple(left_out))


def _left_out(call: Call, decision: Decision) -> str:
    verb = "asks about" if decision.verdict is Verdict.ASK else "denies"
    return f"{call.server} {call.target}: the policy in force {verb} it ({decision.rule}), and that stays so"


def _kept(rule: Rule) -> list[Rule]:
    """A rule of the policy in force without what it allows of the learned methods."""
    if rule.verdict is not Verdict.ALLOW or rule.mask is not None:
        return [rule]
    if not any(fnmatchcase(method, rule.method) for method in LEARNED):
        return [rule]
    rest = [method for method in OTHERS if fnmatchcase(method, rule.method)]
    return [replace(rule, name=f"{rule.name[:56]}-{number}", method=method) for number, method in enumerate(rest, 1)]


def _evidence(calls: Sequence[Seen], more: Sequence[Constraint]) -> str:
    numbers = [one.receipt for one in calls]
    times = f"{len(calls)} times" if len(calls) > 1 else "once"
    shown = ", ".join(map(str, numbers[:MAX_VALUES])) + (", ..." if len(numbers) > MAX_VALUES else "")
    held = ", ".join(dict.fromkeys(each.argument for each in more))
    return f"seen {times}, receipts {shown}" + (f"; narrowed by {held}" if held else "; any arguments")


def _constraints(calls: Sequence[Call], parts: Callable[[Iterable[str]], tuple[str, ...]]) -> list[Constraint]:
    """What held of the arguments of every one of them: below a folder, at these hosts, of these parts of a server."""
    common = set.intersection(*(set(call.arguments) for call in calls))
    telling = parts(sorted(common))
    found: list[Constraint] = []
    for name in sorted(common):
        values = [call.arguments[name] for call in calls]
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) < len(values):
            continue
        hosts = {_host(text) for text in texts}
        if None not in hosts and len(hosts) <= MAX_VALUES:
            found.append(Constraint(name, "host", tuple(sorted(host for host in hosts if host))))
        elif folder := _folder(texts):
            found.append(Constraint(name, "under", (folder,)))
        elif name in telling and len(set(texts)) <= MAX_VALUES:
            found.append(Constraint(name, "value", tuple(sorted(set(texts)))))
    return found


def _folder(paths: Sequence[str]) -> str:
    """The folder that all of these absolute paths lie in; empty where that is the root, or one is no such path."""
    split = [path.split("/")[1:] for path in paths if path.startswith("/") and not path.startswith("//")]
    if len(split) < len(paths) or any({"..", ".", ""} & set(parts) or "\\" in "".join(parts) for parts in split):
        return ""
    parents = [parts[:-1] for parts in split]
    shared: list[str] = []
    for pieces in zip(*parents, strict=False):
        if len(set(pieces)) > 1:
            break
        shared.append(pieces[0])
    return "/" + "/".join(shared) if shared else ""


def _host(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    return host if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host) else None


def _exactly(name: str) -> str:
    """A pattern that matches this name alone."""
    return _SPECIAL.sub(r"[\1]", name)
