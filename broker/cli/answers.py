"""`pending`, `approve`, `deny`, `grants`, `revoke`, `sessions`, `declassify`: consent without the screen."""

import asyncio
import sys
import time
from argparse import Namespace

from broker.api import schema
from broker.cli import output
from broker.cli.context import DONE, NO, Context
from broker.errors import ConfigError, DeskError


async def pending(args: Namespace, context: Context) -> int:
    """Open questions: once, or as they come; shown, or asked here."""
    if args.answer and not sys.stdin.isatty():
        raise ConfigError("--answer needs a terminal to ask at", hint="bulkhead approve ID, or bulkhead deny ID")
    if args.watch:
        await _follow(args, context)
        return DONE
    async with context.desk() as desk:
        found = (await desk.ask(schema.PENDING, schema.Nothing(), schema.Questions)).questions
    if args.json:
        output.show_json([question.model_dump(mode="json") for question in found])
        return DONE
    if not found:
        output.show("nobody waits for an answer")
    for question in found:
        await _one(question, args, context)
    return DONE


async def _follow(args: Namespace, context: Context) -> None:
    """Each question once, as it comes, until the daemon stops or the person does."""
    seen: set[str] = set()
    async with context.desk() as desk:
        async for event in desk.watch():
            if not isinstance(event, schema.Snapshot | schema.QuestionsChanged):
                continue
            fresh = [question for question in event.questions if question.id not in seen]
            seen = {question.id for question in event.questions}
            for question in fresh:
                if args.json:
                    output.show_line(question.model_dump(mode="json"))
                    continue
                output.ring()
                await _one(question, args, context)


async def _one(question: schema.QuestionView, args: Namespace, context: Context) -> None:
    _show(question)
    if not args.answer:
        return
    ask = "allow it? y once, s for this session, a always, n no"
    letter = await asyncio.to_thread(output.ask, ask, "ysan")
    try:
        lifetime = {"s": "session", "a": "always"}.get(letter, "once")
        await _answer(question.id, letter != "n", lifetime, context)
    except DeskError as error:  # it was answered elsewhere, or its time was over
        output.complain(error)


def _show(question: schema.QuestionView) -> None:
    left = question.deadline - time.time()
    output.show(f"{question.id}  {output.line(question.what)}")
    output.show(f"    client {question.client}, server {question.server}, {left:.0f} s left")
    output.show(f"    why: {output.line(question.why)}")
    for line in question.evidence:
        output.show(f"    > {output.line(line, 300)}")
    if question.reach:
        output.show(f"    always would mean: {output.line(question.reach, 300)}")
    if question.numbered:
        output.show(f"    yes: bulkhead approve {question.id} --number NN, as the page in your browser shows it")
    if question.detail:
        output.show("    in full:")
        for line in output.plain(question.detail, len(question.detail)).splitlines():  # whole: it is asked about
            output.show(f"    > {line}")


async def approve(args: Namespace, context: Context) -> int:
    return await _answer(args.id, True, args.lifetime, context, args.number)


async def deny(args: Namespace, context: Context) -> int:
    return await _answer(args.id, False, "once", context)


async def _answer(wanted: str, allow: bool, lifetime: str, context: Context, number: str = "") -> int:
    """Answer the question as it stands now; the digest makes sure that it is that one."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.PENDING, schema.Nothing(), schema.Questions)).questions
        matching = [question for question in found if question.id == wanted]
        if not matching:
            raise DeskError(f"there is no open question {wanted}", hint="bulkhead pending", code="unknown")
        question = matching[0]
        if allow and question.numbered and not number:
            number = await asyncio.to_thread(output.ask_for, "the number that its page shows")
        answer = schema.Answered.model_validate(
            {"id": question.id, "digest": question.digest, "allow": allow, "lifetime": lifetime, "number": number}
        )
        await desk.ask(schema.APPROVE if allow else schema.DENY, answer, schema.Nothing)
    output.show(f"{'allowed' if allow else 'denied'}: {output.line(question.what)}")
    return DONE


async def grants(args: Namespace, context: Context) -> int:
    """What was allowed for longer than once."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.GRANTS, schema.Nothing(), schema.GrantList)).grants
    if args.json:
        output.show_json([grant.model_dump(mode="json") for grant in found])
        return DONE
    rows = [
        (g.id, g.kind, g.client, g.server, g.target or "-", g.rule or "-", g.lifetime, output.line(g.reach) or "-",
         g.executable or "-")
        for g in found
    ]  # fmt: skip
    output.show_table(("ID", "KIND", "CLIENT", "SERVER", "TARGET", "RULE", "FOR", "REACH", "PROGRAM"), rows)
    return DONE


async def revoke(args: Namespace, context: Context) -> int:
    async with context.desk() as desk:
        await desk.ask(schema.REVOKE, schema.Name(name=args.id), schema.Nothing)
    output.show(f"revoked {args.id}")
    return DONE


async def sessions(args: Namespace, context: Context) -> int:
    """Live sessions, their links and what they have read."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.SESSIONS, schema.Nothing(), schema.Sessions)).sessions
    if args.json:
        output.show_json([session.model_dump(mode="json") for session in found])
        return DONE
    if not found:
        output.show("no client is connected")
    for session in found:
        output.show(f"{session.id}  {session.client}  {session.root_executable} (pid {session.root_pid})")
        for link in session.links:
            kept = f", limits by {link.limits}" if link.limits else ""
            output.show(f"    {link.server}: {link.state}, {link.calls} calls, tier {link.tier or '-'}{kept}")
        if session.effects:
            output.show(f"    {session.effects} effects, {session.autonomy:.0%} of them without a question")
        for read in session.readings:
            output.show(f"    read {read.id}  {_shown(read)}")
    return DONE


async def session(args: Namespace, context: Context) -> int:
    """End a session: every link of it closes, and what was allowed for it is forgotten.

    `new` does that to every session of a client, and the next one begins with nothing read.
    """
    async with context.desk() as desk:
        if args.action == "new":
            await desk.ask(schema.SESSION_NEW, schema.Name(name=args.end), schema.Nothing)
            output.show(f"the next session of {args.end} begins with nothing read and nothing allowed")
            return DONE
        await desk.ask(schema.SESSION_END, schema.Name(name=args.end), schema.Nothing)
    output.show(f"ended {args.end}")
    return DONE


async def declassify(args: Namespace, context: Context) -> int:
    """One card, and a yes to it: the read it shows holds nothing any more in its session."""
    async with context.desk() as desk:
        found = (await desk.ask(schema.SESSIONS, schema.Nothing(), schema.Sessions)).sessions
        shown = [(one, read) for one in found for read in one.readings if read.id == args.read]
        if not shown:
            hint = "look again: bulkhead sessions"
            raise DeskError(f"no live session has a read {args.read!r:.80}, or more was read since", hint=hint)
        session, read = shown[0]
        if not args.json:
            output.show(f"{session.client} (session {session.id}) has read {_shown(read)}")
            output.show(
                "after a yes nothing is held in this session because of what was read so until now (R3, R4, R7, R8)"
            )
            output.show("what the same call brings later counts again; so does all of it in the client's next session")
        if not args.yes and output.ask("is what was read there harmless? y = yes, n = leave it as it is") != "y":
            output.aside(f"left as it is; to answer without being asked: bulkhead declassify {read.id} --yes")
            return NO
        now = await desk.ask(schema.DECLASSIFY, schema.Declassify(read=read.id), schema.ReadView)
    if args.json:
        output.show_json(now.model_dump(mode="json"))
    else:
        output.show(f"declassified for session {session.id}")
    return DONE


def _shown(read: schema.ReadView) -> str:
    """One read on one line, without a word of what was read."""
    flags = {"P": "private", "U": "written by others"}
    said = ", ".join(word for flag, word in flags.items() if flag in read.labels) or "harmless"
    part = f", part {read.part}" if read.part else ""
    at = time.strftime("%H:%M:%S", time.localtime(read.last))
    kept = "; declassified" if read.clean else ""
    return output.line(
        f"{read.server}: {read.what}{part} [{said}], {read.times} times, last {at}, digest {read.digest}{kept}", 400
    )
