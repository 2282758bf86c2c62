"""`policy use|check|show|explain|test`."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, USAGE, Context
from broker.cli.policy_fleet import ACTIONS, fleet
from broker.cli.policy_learn import learned
from broker.errors import PolicyError
from broker.files import read_bounded
from broker.policy.document import parse_policy
from broker.policy.explain import Explanation, explain, parse_call, parse_cases
from broker.policy.store import SHIPPED, shipped


async def policy(args: Namespace, context: Context) -> int:
    """Check a policy, use it from now on, or print a shipped one."""
    if args.action == "learn":
        return await learned(args, context)
    if args.action in ACTIONS:
        return await fleet(args, context)
    if not args.name:
        output.complain(PolicyError("name a policy", hint="bulkhead policy use strict|balanced|observe|FILE"))
        return USAGE
    if args.action == "explain":
        return _explain(args)
    if args.action == "test":
        return _test(args)
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


def _explain(args: Namespace) -> int:
    call, around = parse_call(_read(args.name), args.name)
    found = explain(parse_policy(_text(args.policy).encode(), args.policy), call, around)
    if args.json:
        output.show_json(_document(found))
        return DONE
    decision = found.decision
    output.show(f"{decision.verdict.value}: {decision.rule} ({decision.reason})")
    for voice in found.voices:
        lacks = f"; does not hold for {', '.join(voice.unmet)}" if voice.unmet else ""
        output.show(f"  {voice.effect:5}  {voice.rule}{'' if voice.fits else ' (not this call' + lacks + ')'}")
    return DONE


def _document(found: Explanation) -> dict[str, object]:
    return {
        "verdict": found.decision.verdict.value,
        "rule": found.decision.rule,
        "reason": found.decision.reason,
        "masks": list(found.masks),
        "rules": [
            {"rule": v.rule, "verdict": v.effect, "reason": v.reason, "fits": v.fits, "unmet": list(v.unmet)}
            for v in found.voices
        ],
    }


def _test(args: Namespace) -> int:
    """Run the cases of a file, or of every `.toml` file of a folder.  Exit 1 names the first that come out wrong."""
    root = Path(args.name)
    files = sorted(root.glob("*.toml")) if root.is_dir() else [root]
    if not files:
        raise PolicyError(f"{root} holds no case files", hint="a case file is TOML and says what a policy must answer")
    wrong: list[dict[str, str]] = []
    count = 0
    for file in files:
        name, cases = parse_cases(_read(str(file)), str(file))
        beside = file.parent / name
        policy = parse_policy(_text(str(beside) if beside.is_file() else name).encode(), name)
        for case in cases:
            count += 1
            found = explain(policy, case.call, case.around)
            decision = found.decision
            other = decision.verdict is not case.verdict or (case.rule and decision.rule != case.rule)
            if other or set(case.masks) != set(found.masks):
                said = f"{decision.verdict.value} by {decision.rule}{_masked(found.masks)}"
                wanted = f"{case.verdict.value}{' by ' + case.rule if case.rule else ''}{_masked(case.masks)}"
                wrong.append({"file": str(file), "case": case.name, "wanted": wanted, "said": said})
    if args.json:
        output.show_json({"cases": count, "wrong": wrong})
    else:
        for one in wrong:
            output.show(f"{one['file']}: {one['case']}: wanted {one['wanted']}, the policy says {one['said']}")
        output.show(f"{count} cases, {len(wrong)} wrong")
    return NO if wrong else DONE


def _masked(rules: Sequence[str]) -> str:
    return f", masked by {', '.join(sorted(rules))}" if rules else ""


def _read(name: str) -> bytes:
    try:
        return read_bounded(Path(name))
    except FileNotFoundError:
        raise PolicyError(f"there is no file {name}", hint="name a file") from None


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
