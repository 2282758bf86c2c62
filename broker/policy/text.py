"""Rules as the text that `document` reads: what is learned is shown, and agreed to, as a policy file."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import tomli_w

from broker.policy.around import DAYS
from broker.policy.conditions import AtTimes, InFolder, Labelled, Often
from broker.policy.evaluate import Rule

UNITS: Final = MappingProxyType({1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"})


def policy_text(name: str, description: str, rules: Iterable[tuple[Rule, str]], *, holds: bool = True) -> str:
    """A whole policy; each rule comes with a sentence that stands above it."""
    head: dict[str, Any] = {"version": 1, "name": name, "description": description}
    if not holds:
        head["holds"] = False
    parts = [tomli_w.dumps(head)]
    for rule, said in rules:
        comment = f"# {_one_line(said)}\n" if said else ""
        lines = "".join(f"{key} = {_value(value)}\n" for key, value in _row(rule).items())
        parts.append(f"{comment}[[rule]]\n{lines}")
    return "\n".join(parts)


def _value(value: Any) -> str:
    """On one line, tables and all."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_value(str(key))} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return tomli_w.dumps({"v": value}).removeprefix("v = ").removesuffix("\n")


def _row(rule: Rule) -> dict[str, Any]:
    effect = rule.verdict.value if rule.mask is None else "mask"
    row: dict[str, Any] = {"name": rule.name, "effect": effect, "reason": rule.reason}
    for key in ("client", "server", "method", "target"):
        if (pattern := getattr(rule, key)) != "*":
            row[key] = pattern
    if rule.origin != "either":
        row["origin"] = rule.origin
    for condition in rule.conditions:
        row |= _condition(condition)
    if rule.mask is not None:
        mask = {"words": rule.mask.words, "fields": rule.mask.fields, "kinds": rule.mask.kinds}
        row["mask"] = {key: list(value) for key, value in mask.items() if value}
        if rule.mask.of != "result":
            row["mask"]["of"] = rule.mask.of
    arguments: dict[str, dict[str, Any]] = {}
    for constraint in rule.arguments:
        wanted = list(constraint.wanted) if isinstance(constraint.wanted, tuple) else constraint.wanted
        arguments.setdefault(constraint.argument, {})[constraint.kind] = wanted
    return row | ({"arguments": arguments} if arguments else {})


def _condition(condition: InFolder | Labelled | AtTimes | Often) -> Mapping[str, Any]:
    match condition:
        case InFolder(folders):
            return {"workspace": list(folders)}
        case Labelled(has, lacks, level):
            said = {"labels": sorted(has), "without": sorted(lacks), "class": level}
            return {key: value for key, value in said.items() if value}
        case AtTimes(days, begins, ends):
            named = {"days": [DAYS[day] for day in days]} if days else {}
            return {**named, "hours": f"{_clock(begins)}-{_clock(ends)}"}
        case Often(rate, beyond):
            return {"beyond" if beyond else "up_to": f"{rate.calls}/{UNITS[rate.seconds]}"}


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)[:400]
