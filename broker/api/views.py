"""From the daemon's values to the desk's words."""

from collections.abc import Callable, Iterable
from dataclasses import asdict

from broker.alarms.book import Alert
from broker.alarms.vitals import Sample
from broker.api import schema
from broker.autonomy import Autonomy
from broker.blocked import Blocked, Happened
from broker.clients.watch import Application
from broker.flow.declassify import objection
from broker.flow.ledger import Read
from broker.links import Link
from broker.model import Question
from broker.passes.book import Pass
from broker.policy.grants import Grant
from broker.protocol.catalog import Catalog, Change, View
from broker.registry import Registry, Server
from broker.sandbox.inspection import describe
from broker.sandbox.limits import differing
from broker.sessions import Session
from broker.trust.advisories import Hit
from broker.trust.pins import development

SHORT_ID = 12


def question_view(question: Question) -> schema.QuestionView:
    return schema.QuestionView(
        id=question.id,
        kind=question.kind,
        client=question.client,
        server=question.server,
        session=question.session,
        what=question.what,
        why=question.why,
        digest=question.digest,
        asked=question.asked,
        deadline=question.deadline,
        evidence=list(question.evidence),
        detail=question.detail,
        numbered=question.numbered,
        reach=question.reach,
    )


def reading_view(id: str, read: Read) -> schema.ReadView:
    """One read, without a word of what was read."""
    return schema.ReadView(
        id=id,
        server=read.server,
        what=f"{read.method} {read.target[:80]}",
        part=read.scope,
        labels=[flag for flag in ("P", "U", "E", "M") if flag in read.flags],
        times=read.count,
        last=read.when,
        digest=read.digest[:12],
        clean=read.clean,
        kept=objection(read),
    )


def session_view(
    session: Session, readings: list[schema.ReadView], counted: Autonomy, memory: Callable[[int], int]
) -> schema.SessionView:
    return schema.SessionView(
        id=session.id[:SHORT_ID],
        client=session.client,
        workspace=session.peer.cwd,
        root_pid=session.peer.root_pid,
        root_executable=session.peer.root_executable,
        started=session.started,
        links=[link_view(link, memory) for link in session.links.values()],
        reads=[f"{one.server}: {one.what}{' (declassified)' if one.clean else ''}" for one in readings],
        readings=readings,
        effects=counted.effects,
        questions=counted.questions,
        autonomy=round(counted.share, 3),
    )


def link_view(link: Link, memory: Callable[[int], int]) -> schema.LinkView:
    return schema.LinkView(
        id=link.id,
        server=link.server.name,
        state=link.state,
        tier=link.tier,
        limits=link.limits,
        pid=link.pid,
        calls=link.calls,
        opened=link.opened,
        memory=memory(link.pid),
    )


def application_view(seen: Application) -> schema.ApplicationView:
    return schema.ApplicationView.model_validate(asdict(seen))


def alert_view(alert: Alert) -> schema.AlertView:
    return schema.AlertView.model_validate(asdict(alert))


def vital_view(sample: Sample) -> schema.VitalView:
    return schema.VitalView.model_validate(asdict(sample))


def server_view(
    registry: Registry,
    server: Server,
    drift: tuple[Change, ...],
    drift_digest: str,
    blocked: Iterable[Blocked] = (),
    happened: Iterable[Happened] = (),
    hits: Iterable[Hit] = (),
) -> schema.ServerView:
    """A server with its pin and what it advertises; `drift` is what its live catalog changed, `hits` its advisories."""
    known = tuple(hits)
    pin = registry.pin(server.name)
    if pin is None:
        return schema.ServerView(name=server.name, enabled=server.enabled, state="not pinned", argv=list(server.argv))
    artifact = pin.artifact
    view = widest(registry.catalog(server.name))
    interpreter = artifact.interpreter
    return schema.ServerView(
        name=server.name,
        enabled=server.enabled,
        state="drift" if drift else "pinned",
        argv=list(server.argv),
        kind=artifact.kind,
        artifact=artifact.name,
        version=artifact.version,
        tree=artifact.tree or next((digest for _, digest in (*artifact.folders, *artifact.files)), ""),
        packages=len(artifact.packages),
        catalog=pin.catalog,
        pinned=pin.created,
        interpreter=f"{interpreter.path} {interpreter.version}" if interpreter else "",
        findings=list(artifact.findings),
        tools=_tools(view, drift),
        prompts=[str(prompt.get("name", "")) for prompt in view.prompts],
        resources=[str(resource.get("uri", "")) for resource in view.resources],
        read=[str(path) for path in server.grants.read],
        write=[str(path) for path in server.grants.write],
        hosts=list(server.grants.hosts),
        env=list(server.env),
        network=describe(server.grants.inspection) if server.grants.inspection is not None else [],
        blocked=[
            schema.BlockedView(target=b.target, grant=b.grant, reason=b.reason, times=b.times, last=b.last)
            for b in blocked
        ],
        happened=[schema.HappenedView(text=one.text, times=one.times, last=one.last) for one in happened],
        boxed=server.grants.boxed,
        keeps=server.grants.state,
        limits=differing(server.grants.limits),
        disabled_tools=list(server.disabled_tools),
        changes=[change_line(change) for change in drift],
        drift_digest=drift_digest,
        development=development(artifact),
        malware=[str(hit) for hit in known if hit.malware],
        vulnerabilities=[str(hit) for hit in known if not hit.malware],
    )


def widest(catalog: Catalog) -> View:
    """The view a person is shown: that of the client with the most abilities."""
    for key in ("modern/full", "legacy/full", "modern/empty", "legacy/empty"):
        view = catalog.views.get(key)
        if view is not None and view.refusal is None:
            return view
    return View("legacy")


def change_line(change: Change) -> str:
    fields = f" ({', '.join(change.fields)})" if change.fields else ""
    return f"{change.what} {change.name} {change.kind}{fields}"


def grant_view(grant: Grant) -> schema.GrantView:
    return schema.GrantView(
        id=grant.id,
        kind=grant.kind,
        client=grant.client,
        server=grant.server,
        rule=grant.rule,
        method=grant.method,
        target=grant.target,
        lifetime="session" if grant.lifetime == "session" else "always",
        session=grant.session[:SHORT_ID],
        created=str(int(grant.created)),
        reach=str(grant.reach) if grant.reach is not None else "",
    )


def pass_view(one: Pass) -> schema.GrantView:
    return schema.GrantView(
        id=one.id,
        kind="sign-in",
        client=one.client,
        server=one.server,
        target=one.name,
        lifetime="always",
        created=str(int(one.created)),
        expires=str(int(one.ends)),
    )


def _tools(view: View, drift: tuple[Change, ...]) -> list[schema.ToolView]:
    states = {change.name: change.kind for change in drift if change.what == "tool"}
    tools = [
        schema.ToolView(
            name=str(tool.get("name", "")),
            title=str(tool.get("title", "")),
            description=str(tool.get("description", "")),
            state=states.pop(str(tool.get("name", "")), "agreed"),
        )
        for tool in view.tools
    ]
    return tools + [schema.ToolView(name=name, state=state) for name, state in states.items()]
