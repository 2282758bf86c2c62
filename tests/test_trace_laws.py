"""The laws of every session, whatever clients, servers and a person do, in whatever order, through restarts.

T1: an effect after a read of elsewhere, which nobody declassified since, goes only by a yes to exactly it.
T2: no session tells another anything.
T3: no definition reaches a client that was not agreed to.  T4: one yes, one call.

Real conversations, judges and ledgers; only the world around them is played.  What is checked is what came out of them:
every text of a server says where it is from, so the observer needs no ledger to know what was read.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from broker.autonomy import AutonomyBook
from broker.flow.declassify import objection
from broker.flow.labels import Labels, ServerLabels
from broker.flow.store import LabelBook, LedgerStore
from broker.house import House
from broker.judge import Judge
from broker.laws import violations
from broker.manners.book import MannersBook, NoDocuments
from broker.model import Call, ClientName, Decision, Fact, JsonObject, ServerName, SessionId, Verdict
from broker.pin import LaunchRequest, Pin, PinnedArtifact
from broker.policy.store import GrantBook, PolicyStore
from broker.policy.tokens import Tokens
from broker.policy.wall_book import WallBook
from broker.policy.walls import Wall
from broker.protocol.catalog import Catalog
from broker.protocol.conversation import Conversation
from broker.protocol.effects import Ask, Effect, Forward, Launch, Read, Record, Withdraw
from broker.protocol.events import Answered, Event, FromClient, FromServer, Started
from broker.registry import Server
from tests.protocol.stage import INITIALIZE, LEGACY, Stage, changed, error, notice, request, text

pytestmark = pytest.mark.claim("C89")

KEY: Final = b"k" * 32
SERVERS: Final = ("mail", "repos", "bank")
SESSIONS: Final = ("s1", "s2")
TOOLS: Final = tuple({"name": name, "inputSchema": {"type": "object"}} for name in ("read", "send", "note"))
AGREED: Final = changed(LEGACY, tools=TOOLS, prompts=(), resources=(), templates=())
EVIL: Final = {**TOOLS[0], "description": "UNENDORSED"}
LIVE: Final = (AGREED, changed(AGREED, tools=(EVIL, *TOOLS[1:], {**EVIL, "name": "evil"})))
PART: Final = ("repo",)
LABELS: Final = ServerLabels(tools={
    "read": Labels(frozenset({"P", "U"}), "L", scope=PART), "note": Labels(frozenset({"M"}), "L", scope=PART),
    "send": Labels(frozenset({"E", "M"}), "H", scope=PART),
})  # fmt: skip
WALL: Final = Wall("money", {"bank": ("bank",), "post": ("mail",)})


class Drawer:
    """Documents in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        return self.kept.get(name)

    def write(self, name: str, data: bytes) -> None:
        self.kept[name] = data


@dataclass
class Seen:
    """What the observer knows of one session, from messages alone."""

    reads: set[tuple[str, str, str]] = field(default_factory=set)
    walled: set[str] = field(default_factory=set)
    calls: dict[tuple[str, Any], JsonObject] = field(default_factory=dict)
    yeses: list[tuple[str, JsonObject]] = field(default_factory=list)
    grants: set[tuple[str, str]] = field(default_factory=set)


class World:
    """One daemon with its sessions, and everything that came out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1_000_000.0
        self.drawer = Drawer()
        self.seen = {name: Seen() for name in SESSIONS}
        self.out: dict[str, list[object]] = {name: [] for name in SESSIONS}
        self.entries: list[dict[str, Any]] = []
        self.made = 0
        self.start()

    def start(self) -> None:
        """A daemon begins, with what the last one left on the disk."""
        self.links: dict[tuple[str, str], Link] = {}
        numbers = iter(range(self.made, self.made + 10**6))
        self.made += 1000
        walls = WallBook(self.drawer, str)
        if walls.current.apart("bank", "mail") == "":
            walls.add_wall(WALL)
        house = SimpleNamespace(
            registry=SimpleNamespace(accepted_labels=lambda _: None), labels=LabelBook({}),
            policy=PolicyStore(self.drawer),
            grants=GrantBook(self.drawer, lambda: self.now, lambda: f"g{next(numbers)}"),
            walls=walls, autonomy=AutonomyBook(), manners=MannersBook(NoDocuments()),
            tokens=Tokens(KEY, lambda: self.now),
            ledgers=LedgerStore(self.folder, KEY, lambda: self.now),
        )  # fmt: skip
        self.house = cast(House, house)
        for seen in self.seen.values():  # yeses do not outlive a daemon; what was read does
            seen.yeses.clear()
            seen.grants.clear()

    def link(self, session: str, server: str) -> "Link":
        if (session, server) not in self.links:
            self.links[session, server] = Link(self, session, server)
        return self.links[session, server]


class Link:
    """A conversation with its real judge."""

    def __init__(self, world: World, session: str, server: str) -> None:
        self.world, self.session, self.server = world, session, server
        pin = Pin(
            ServerName(server), "", LaunchRequest((), "program", "binary", ""), PinnedArtifact("binary", server, "")
        )
        own = Server(ServerName(server), ("x",), "")
        self.judge = Judge(world.house, ClientName("desk"), SessionId(session), own, pin, _nothing)
        self.judge.labels = LABELS
        self.stage = Stage(live=AGREED)
        self.stage.conversation = Conversation(
            ClientName("desk"), ServerName(server), SessionId(session), Catalog({"legacy/full": AGREED}),
            self.judge.judge, True, self.judge,
        )  # fmt: skip
        self.questions: dict[int, tuple[Call, Decision]] = {}
        self.late: list[tuple[Call, Decision]] = []
        self.at_server: list[Any] = []
        self.number = 0
        self.starting = False
        self.waiting: list[Event] = []
        self.feed(FromClient(INITIALIZE))
        self.feed(FromClient(notice("notifications/initialized")))

    def feed(self, event: Event) -> None:
        """One event at a time, as a relay does."""
        self.waiting.append(event)
        if len(self.waiting) > 1:
            return
        while self.waiting:
            self.perform(self.stage.feed(self.waiting[0]))
            self.waiting.pop(0)

    def perform(self, effects: list[Effect]) -> None:
        """As a relay does, with the observer looking at every message."""
        for effect in effects:
            match effect:
                case Record(fact):
                    self.world.entries.append(self.entry(fact))
                    if fact.decision is not None:
                        said = fact.decision
                        by = said.rule.partition(":")[0]  # a grant has a name of its own
                        self.world.out[self.session].append((self.server, said.verdict, by, said.evidence))
                case Read():
                    self.note(effect)
                case Ask(question, asked, decision):
                    self.questions[question] = asked, decision
                case Withdraw(question):
                    self.late.append(self.questions.pop(question))
                case Launch():
                    self.starting = True
                case Forward("server", message):
                    self.to_server(message)
                case Forward("client", message):
                    self.to_client(message)

    def entry(self, fact: Fact) -> dict[str, Any]:
        decision = fact.decision
        when = datetime.fromtimestamp(self.world.now, UTC).isoformat()
        return {
            "session": self.session, "server": self.server, "link": f"{self.session}/{self.server}/{id(self)}",
            "client": "desk", "kind": fact.kind, "side": fact.side, "method": fact.method, "target": fact.target,
            "request": fact.request, "digest": fact.digest, "body": fact.body, "time": when,
            "verdict": decision.verdict.value if decision else None, "rule": decision.rule if decision else None,
            "reason": decision.reason if decision else None, "evidence": list(decision.evidence) if decision else [],
        }  # fmt: skip

    def note(self, read: Read) -> None:
        labels, scope = self.judge.labels.of(read.method, read.target), self.judge.scope(
            read.method, read.target, read.arguments)  # fmt: skip
        ledgers = self.world.house.ledgers
        ledgers.note(
            SessionId(self.session), ServerName(self.server), read.method, read.target, labels, read.text, scope
        )

    def to_server(self, message: JsonObject) -> None:
        own = self.stage.from_view(message)
        if own is not None:
            self.feed(FromServer(own))
            return
        if message.get("method") != "tools/call":
            return
        seen, params = self.world.seen[self.session], message["params"]
        here = (self.server, params["arguments"].get("repo", ""))
        given = (self.server, params)
        if given in seen.yeses:
            seen.yeses.remove(given)
        elif params["name"] == "send" and {read[:2] for read in seen.reads} - {here}:
            assert (self.server, "send") in seen.grants, "T1: it went, and nobody had said yes to it"
        sides = {"bank", "mail"} & seen.walled
        assert not (sides and self.server in {"bank", "mail"} - sides), "R2: it went through a wall"
        seen.calls[self.server, message["id"]] = params
        self.at_server.append(message["id"])

    def to_client(self, message: JsonObject) -> None:
        told = json.dumps(message)
        assert "UNENDORSED" not in told, "T3: a definition came through that nobody agreed to"
        for other in SESSIONS:
            if f"<{other}/" in told:
                assert other == self.session, "T2: a session was told what another one read"
                part, _, tool = told.split(f"<{other}/{self.server}/")[1].split(">")[0].partition("/")
                self.world.seen[self.session].reads.add((self.server, part, tool))
                self.world.seen[self.session].walled.add(self.server)
        assert len(self.world.seen[self.session].walled & {"bank", "mail"}) < 2, "R2: both sides of a wall met"

    def says(self, id: Any, words: str) -> JsonObject:
        asked = self.world.seen[self.session].calls.get((self.server, id), {"name": "", "arguments": {}})
        part = asked["arguments"].get("repo", "")
        return text(id, f"{words} <{self.session}/{self.server}/{part}/{asked['name']}>")


async def _nothing(_: Fact) -> None:
    raise AssertionError("nothing is asked here")


def steps_alone(folder: Path, log: list[tuple[Any, ...]], session: str) -> list[object]:
    """What one session would have seen had it been alone."""
    world = World(folder)
    for act, whose, *more in log:
        if whose in ("", session):
            ACTS[act](world, whose, *more)
    return world.out[session]


# --- what can happen -------------------------------------------------------------------------------------------------


def calls(world: World, session: str, server: str, tool: str, repo: str, words: str) -> None:
    link = world.link(session, server)
    link.number += 1
    arguments = {"text": words, **({"repo": repo} if repo else {})}
    link.feed(FromClient(request(link.number, "tools/call", name=tool, arguments=arguments)))


def starts(world: World, session: str, server: str, live: int) -> None:
    link = world.link(session, server)
    if link.starting:
        link.starting, link.stage.live = False, LIVE[live]
        link.feed(Started())


def answers(world: World, session: str, server: str, words: str) -> None:
    link = world.link(session, server)
    if link.at_server:
        link.feed(FromServer(link.says(link.at_server.pop(0), words)))


def fails(world: World, session: str, server: str, words: str) -> None:
    link = world.link(session, server)
    if link.at_server:
        id = link.at_server.pop(0)
        said = link.says(id, words)["result"]["content"][0]["text"]
        link.feed(FromServer(error(id, message=said)))


def tells(world: World, session: str, server: str, words: str) -> None:
    world.link(session, server).feed(
        FromServer(notice("notifications/message", level="info", data=f"{words} <{session}/{server}//>"))
    )


def lists(world: World, session: str, server: str) -> None:
    link = world.link(session, server)
    link.number += 1
    link.feed(FromClient(request(link.number, "tools/list")))


def gives_up(world: World, session: str, server: str) -> None:
    link = world.link(session, server)
    link.feed(FromClient(notice("notifications/cancelled", requestId=link.number)))


def person(world: World, session: str, server: str, allowed: bool, lasting: bool) -> None:
    link = world.link(session, server)
    if link.questions:
        question, (asked, decision) = link.questions.popitem()
    elif link.late:
        question, (asked, decision) = 0, link.late.pop()
    else:
        return
    if not allowed:
        link.feed(Answered(question, Decision(Verdict.DENY, decision.rule, "no", decision.evidence)))
        return
    if lasting:
        world.house.grants.add("call", asked, decision, "session")
        world.seen[session].grants.add((server, asked.target))
    token = world.house.tokens.mint(asked, decision)
    world.seen[session].yeses.append((server, {"name": asked.target, "arguments": asked.arguments}))
    yes = Decision(Verdict.ALLOW, f"person:{decision.rule}", f"allowed (R5 token {token})", decision.evidence)
    if lasting:
        grant = Fact("grant", "person", asked.method, asked.target, digest=asked.digest)
        world.entries.append(link.entry(grant))
    if not question:  # nobody waits any more, and the judge records it itself
        world.entries.append(
            link.entry(Fact("answer", "person", asked.method, asked.target, None, yes, 0, asked.digest))
        )
    link.feed(Answered(question, yes))


def declassifies(world: World, session: str, server: str, tool: str, repo: str) -> None:
    """A person vouches for what one tool brought of one part."""
    ledgers, seen = world.house.ledgers, world.seen[session]
    for read in ledgers.view(SessionId(session)).reads:
        named = (read.server, read.scope, read.target) == (server, ledgers.scope_mark(repo), tool)
        if named and not objection(read):
            body = {"part": read.scope, "method": read.method, "target": read.target}
            fact = Fact("policy", "person", "session.declassify", read.target, body=body)
            world.entries.append(world.link(session, server).entry(fact))
            ledgers.declassify(SessionId(session), read)
            seen.reads.discard((server, repo, tool))


def waits(world: World, _session: str, seconds: int) -> None:
    world.now += seconds


def restarts(world: World, _session: str) -> None:
    world.start()


ACTS: Final[dict[str, Callable[..., None]]] = {one.__name__: one for one in
               (calls, starts, answers, fails, tells, lists, gives_up, person, declassifies, waits,
                restarts)}  # fmt: skip
which = st.sampled_from(SESSIONS)
where = st.sampled_from(SERVERS)
parts = st.sampled_from(("", "one", "two"))
texts = st.sampled_from(("the code of the door is 4471-kx-99", "bo@x.example", "nothing new"))


class Sessions(RuleBasedStateMachine):
    """Two sessions of one daemon, three servers each, and a person."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "together")
        self.log: list[tuple[Any, ...]] = []

    def do(self, act: str, session: str, *more: object) -> None:
        self.log.append((act, session, *more))
        ACTS[act](self.world, session, *more)

    @rule(session=which, server=where, tool=st.sampled_from(("read", "send", "note")), repo=parts, words=texts)
    def a_client_calls(self, session: str, server: str, tool: str, repo: str, words: str) -> None:
        self.do("calls", session, server, tool, repo, words)

    @rule(session=which, server=where, repo=parts, words=texts)
    def a_client_reads(self, session: str, server: str, repo: str, words: str) -> None:
        self.do("calls", session, server, "read", repo, "")
        self.do("starts", session, server, 0)
        self.do("answers", session, server, words)

    @rule(session=which, server=where, repo=parts, words=texts, edited=texts, seconds=st.sampled_from((1, 130)))
    def a_call_comes_again_after_a_late_yes(
        self, session: str, server: str, repo: str, words: str, edited: str, seconds: int
    ) -> None:
        self.do("calls", session, server, "send", repo, words)
        self.do("gives_up", session, server)
        self.do("person", session, server, True, False)
        self.do("waits", "", seconds)
        for again in (edited, words, words):
            self.do("calls", session, server, "send", repo, again)
        self.do("starts", session, server, 0)

    @rule(session=which, server=where, live=st.integers(0, 1))
    def a_server_comes_up(self, session: str, server: str, live: int) -> None:
        self.do("starts", session, server, live)

    @rule(act=st.sampled_from(("answers", "fails", "tells")), session=which, server=where, words=texts)
    def a_server_says_something(self, act: str, session: str, server: str, words: str) -> None:
        self.do(act, session, server, words)

    @rule(act=st.sampled_from(("lists", "gives_up")), session=which, server=where)
    def a_client_lists_or_gives_up(self, act: str, session: str, server: str) -> None:
        self.do(act, session, server)

    @rule(session=which, server=where, allowed=st.booleans(), lasting=st.booleans())
    def a_person_answers(self, session: str, server: str, allowed: bool, lasting: bool) -> None:
        self.do("person", session, server, allowed, lasting)

    @rule(session=which, server=where, repo=parts, words=texts, again=st.booleans())
    def a_person_declassifies(self, session: str, server: str, repo: str, words: str, again: bool) -> None:
        self.a_client_reads(session, server, repo, words)
        self.do("declassifies", session, server, "read", repo)
        if again:
            self.a_client_reads(session, server, repo, words)
        self.do("calls", session, "repos", "send", "", words)
        self.do("starts", session, "repos", 0)

    @rule(seconds=st.sampled_from((1, 70, 130)))
    def time_goes_by(self, seconds: int) -> None:
        self.do("waits", "", seconds)

    @rule()
    def the_daemon_is_killed_and_started_again(self) -> None:
        self.do("restarts", "")

    def teardown(self) -> None:
        try:
            assert list(violations(self.world.entries)) == []
            for session in SESSIONS:
                alone = steps_alone(Path(self.folder.name) / session, self.log, session)
                assert alone == self.world.out[session], "T2: another session made a difference"
        finally:
            self.folder.cleanup()


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.reuse, Phase.generate),  # a long story is told as it is
)
