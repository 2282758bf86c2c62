"""Laws that hold whatever both sides say, in whatever order, while a person answers or does not."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.model import Call, Decision, JsonObject, Verdict
from broker.protocol.catalog import View
from broker.protocol.effects import Ask, Drift, Effect, End, Forward, Launch, Record, Withdraw
from broker.protocol.events import (
    AdmissionDelayed,
    Admitted,
    Answered,
    DriftAccepted,
    Event,
    FromClient,
    FromServer,
    Garbled,
    NotStarted,
    ServerGone,
    Started,
)
from broker.protocol.frames import encode
from broker.protocol.versions import OWN_PREFIX
from tests.protocol.stage import (
    INITIALIZE,
    INITIALIZED,
    LEGACY,
    MODERN,
    READ,
    WRITE,
    Stage,
    changed,
    error,
    modern,
    notice,
    request,
    result,
)

DRIFTED = {**WRITE, "description": "drifted"}


def judge(asked: Call) -> Decision:
    """What a call asks for decides: `no`, `ask`, or anything else for yes."""
    said = asked.arguments.get("text", asked.arguments.get("uri", ""))
    verdict = {"no": Verdict.DENY, "ask": Verdict.ASK}.get(str(said), Verdict.ALLOW)
    return Decision(verdict, "rule", "reason")


class World:
    """Two peers, a person, and an observer who checks every effect against the laws."""

    def __init__(self, admitted: bool, modern_client: bool) -> None:
        self.stage = Stage(judge=judge, admitted=admitted, live=MODERN if modern_client else LEGACY)
        self.modern = modern_client
        self.launching = self.alive = self.ended = False
        self.own: list[JsonObject] = []
        self.open_ids: set[Any] = set()
        self.sent_up: list[JsonObject] = []
        self.said_down: list[JsonObject] = []
        self.questions: dict[int, Call] = {}
        self.consented: list[JsonObject] = []
        self.agreed = {str(tool["name"]): [tool] for tool in LEGACY.tools}
        self.told: dict[str, JsonObject] = {}
        self.drifted: Drift | None = None
        self.made = 0

    # --- the observer ---

    def feed(self, event: Event) -> None:
        effects = self.stage.feed(event)
        if self.ended:
            assert effects == []
        recorded = False
        for index, effect in enumerate(effects):
            recorded = recorded or isinstance(effect, Record)
            match effect:
                case Forward(to, message):
                    assert recorded, "forwarded unrecorded"
                    encode(message)
                    (self.on_server if to == "server" else self.on_client)(message, event)
                case Launch():
                    assert not self.launching and not self.alive
                    self.launching = True
                case Ask(question, call, decision):
                    assert question not in self.questions
                    assert decision.verdict is Verdict.ASK, "a person is asked about what was decided"
                    self.questions[question] = call
                case Withdraw(question):
                    del self.questions[question]
                case Drift():
                    self.drifted = effect
                case End():
                    assert index == len(effects) - 1
                    self.ended = True

    def on_server(self, message: JsonObject, event: Event) -> None:
        assert self.alive, "a message for a server that does not run"
        if "method" in message and str(message.get("id", "")).startswith(OWN_PREFIX):
            self.own.append(message)
            return
        if message.get("method") == "tools/call":
            assert any(message is each for each in self.sent_up), "not the judged object"
            assert not [each for each in self.own if each["method"].endswith("/list")], "before the comparison"
            name, arguments = message["params"]["name"], message["params"]["arguments"]
            assert name in self.told, "a tool the server does not show"
            assert self.told[name] in self.agreed.get(name, []), "a tool nobody agreed to as it is now"
            assert arguments.get("text") != "no", "a denied call"
            if arguments.get("text") == "ask":  # a yes is for this very call, not for another like it
                assert any(arguments is each for each in self.consented), "a call no person allowed"

    def on_client(self, message: JsonObject, event: Event) -> None:
        if "vendorField" in message:
            assert any(message is each for each in self.said_down), "changed on the way"
        if "method" in message or message["id"] is None:
            return
        assert message["id"] in self.open_ids, "an answer nobody waits for, or a second one"
        self.open_ids.remove(message["id"])
        if isinstance(event, FromServer) and any(message is each for each in self.said_down):
            assert event.message is message or "result" in message

    # --- the peers ---

    def client(self, message: JsonObject) -> None:
        if self.ended:
            return
        self.sent_up.append(message)
        identifier = message.get("id")
        if "method" in message and isinstance(identifier, int | str) and not isinstance(identifier, bool):
            self.open_ids.add(identifier)
        self.feed(FromClient(message))

    def use(self, identifier: Any, method: str, **params: Any) -> None:
        make = modern if self.modern else request
        self.client({**make(identifier, method, **params), "vendorField": self.made})
        self.made += 1

    def server(self, message: JsonObject) -> None:
        if self.alive and not self.ended:
            marked = {**message, "vendorField": self.made}
            self.made += 1
            self.said_down.append(marked)
            self.feed(FromServer(marked))

    def serve(self, view: View | None) -> None:
        """Answer the oldest request of the broker's own, perhaps with other tools than before."""
        if not self.alive or not self.own:
            return
        if view is not None and self.own[0]["method"] == "tools/list":
            self.stage.live = view
        message = self.own.pop(0)
        answer = self.stage.from_view(message)
        if answer is not None:
            if message["method"] == "tools/list":
                self.told = {tool["name"]: tool for tool in answer["result"]["tools"]}
            self.feed(FromServer(answer))

    def serve_all(self) -> None:
        for _ in range(len(self.own) + 20):
            self.serve(None)

    def start(self) -> None:
        if self.launching:
            self.launching, self.alive = False, True
            self.feed(Started())

    def fail(self) -> None:
        if self.launching:
            self.launching = False
            self.feed(NotStarted("no"))

    def stop(self) -> None:
        if self.alive:
            self.alive = False
            self.own.clear()
            self.feed(ServerGone("gone"))

    def accept(self) -> None:
        """A person agrees to the drift that was shown last."""
        if self.drifted is not None:
            (view,) = self.drifted.live.views.values()
            self.agreed = {str(tool["name"]): [tool] for tool in view.tools}
        self.feed(DriftAccepted())

    def person(self, pick: int, yes: bool) -> None:
        if self.questions:
            question = sorted(self.questions)[pick % len(self.questions)]
            call = self.questions.pop(question)
            if yes:
                self.consented.append(call.arguments)
            verdict = Verdict.ALLOW if yes else Verdict.DENY
            self.feed(Answered(question, Decision(verdict, "rule", "said so")))


ids = st.sampled_from([0, 1, "a", "open"])
odd_ids = ids | st.sampled_from([None, True, 1.0, "bulkhead/1", "0"])
words = st.sampled_from(["yes", "no", "ask"])
views = st.sampled_from([None, None, changed(LEGACY, tools=(DRIFTED, READ)), changed(LEGACY, tools=(READ,)), LEGACY])
actions = st.one_of(
    st.tuples(st.just("call"), ids, words),
    st.tuples(st.just("call"), ids, words),
    st.tuples(st.just("read"), ids, words),
    st.tuples(st.just("odd"), odd_ids, st.sampled_from(["tools/list", "ping", "tools/call", "x", "roots/list"])),
    st.tuples(st.just("cancel"), odd_ids),
    st.tuples(st.just("reply"), odd_ids),
    st.tuples(st.just("answer"), odd_ids),
    st.tuples(st.just("answer"), ids),
    st.tuples(st.just("refuse"), ids),
    st.tuples(st.just("input"), ids, st.sampled_from(["elicitation/create", "tools/call"]), words),
    st.tuples(st.just("ask client"), odd_ids, words),
    st.tuples(
        st.just("news"), st.sampled_from(["tools/list_changed", "message", "cancelled", "progress", "x"]), odd_ids
    ),
    st.tuples(st.just("garbage"), st.sampled_from(["client", "server"])),
    st.tuples(st.just("serve"), views),
    st.tuples(st.just("serve all")),
    st.tuples(st.just("start")),
    st.tuples(st.just("up"), views),
    st.tuples(st.just("up"), views),
    st.tuples(st.just("fail")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("person"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("accept")),
    st.tuples(st.just("admit"), st.sampled_from([Admitted(True), Admitted(True), AdmissionDelayed(), Admitted(False)])),
    st.tuples(st.just("wait"), st.integers(1, 5)),
)


def act(world: World, action: tuple[Any, ...]) -> None:
    match action:
        case ("call", identifier, said):
            world.use(identifier, "tools/call", name="write", arguments={"text": said})
        case ("read", identifier, said):
            world.use(identifier, "resources/read", uri=said)
        case ("odd", identifier, method):
            world.client(request(identifier, method, name="write"))
        case ("cancel", identifier):
            world.client(notice("notifications/cancelled", requestId=identifier))
        case ("reply", identifier):
            world.client(result(identifier, roots=[]))
        case ("answer", identifier):
            world.server(result(identifier, content=[]))
        case ("refuse", identifier):
            world.server(error(identifier))
        case ("input", identifier, method, said):
            world.server(result(identifier, inputRequests={"a": {"method": method, "params": {"text": said}}}))
        case ("ask client", identifier, said):
            world.server(request(identifier, "sampling/createMessage", text=said))
        case ("news", method, identifier):
            world.server(notice(f"notifications/{method}", requestId=identifier, progressToken=identifier))
        case ("garbage", who):
            world.feed(Garbled(who, "garbage", error(None, -32700), 9))
        case ("serve", view):
            world.serve(None if world.modern else view)
        case ("serve all",):
            world.serve_all()
        case ("start",):
            world.start()
        case ("up", view):
            world.start()
            if view is not None and not world.modern:
                world.stage.live = view
            world.serve_all()
        case ("fail",):
            world.fail()
        case ("stop",):
            world.stop()
        case ("person", pick, yes):
            world.person(pick, yes)
        case ("accept",):
            world.accept()
        case ("admit", event):
            world.feed(event)
        case ("wait", question):
            effects: list[Effect] = world.stage.conversation.still_waiting(question)
            assert all(isinstance(effect, Record | Forward) for effect in effects)


@settings(max_examples=400, deadline=None)
@given(st.lists(actions, min_size=5, max_size=40), st.booleans(), st.booleans(), st.booleans())
def test_whatever_is_said_nothing_goes_unrecorded_undecided_or_twice(
    said: list[tuple[Any, ...]], admitted: bool, modern_client: bool, running: bool
) -> None:
    world = World(admitted, modern_client)
    if modern_client:
        world.client(modern("hello", "server/discover"))
    else:
        world.client(INITIALIZE)
        world.client(INITIALIZED)
    if running and admitted:
        world.use("first", "tools/call", name="read", arguments={})
        world.start()
        world.serve_all()
    for action in said:
        act(world, action)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab/", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)
methods = st.sampled_from(
    ["initialize", "tools/call", "tools/list", "subscriptions/listen", "logging/setLevel", "resources/read",
     "completion/complete", "notifications/cancelled", "notifications/progress", "notifications/tools/list_changed",
     "sampling/createMessage", "tasks/get"]
)  # fmt: skip
odd_messages = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": st.sampled_from([1, "bulkhead/1", "bulkhead/2", "bulkhead/3"]) | json_values,
        "method": methods | json_values,
        "params": json_values
        | st.fixed_dictionaries(
            {},
            optional={
                "name": st.just("write") | json_values,
                "arguments": json_values,
                "uri": json_values,
                "ref": json_values,
                "level": json_values,
                "notifications": json_values,
                "requestId": json_values,
                "progressToken": json_values,
                "requestState": json_values,
                "_meta": st.just(modern(0, "x")["params"]["_meta"]) | json_values,
            },
        ),
        "result": json_values
        | st.fixed_dictionaries({}, optional={"inputRequests": json_values, "task": json_values, "tools": json_values}),
        "error": json_values,
    },
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.booleans(), odd_messages), max_size=12), st.sampled_from(["new", "legacy", "modern"]))
def test_odd_messages_never_break_a_conversation(said: list[tuple[bool, JsonObject]], before: str) -> None:
    stage = Stage(judge=lambda asked: Decision(Verdict.ASK, "r", "r"))
    if before != "new":
        stage = Stage().running() if before == "legacy" else Stage().running_modern()
    for from_client, message in said:
        if not from_client and before == "new":
            continue
        effects = stage.client(message) if from_client else stage.server(message)
        first = next((effect for effect in effects if not isinstance(effect, End)), None)
        assert first is None or isinstance(first, Record | Withdraw)
        for effect in effects:
            if isinstance(effect, Forward):
                encode(effect.message)
