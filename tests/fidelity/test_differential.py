"""One conversation with a server that has every feature, directly and through Bulkhead: message by message the same.

What is not the same stands in `differences.py` with its reason, and nowhere else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from broker.model import Era
from broker.protocol.versions import OWN_PREFIX
from tests.fidelity.differences import ASKED_BY_BULKHEAD, DIFFERENCES
from tests.fidelity.everything import CONTENTS, WANTED, Everything, catalog
from tests.house import OPEN, housed, pin_server
from tests.peers import ToyServer
from tests.protocol.stage import INITIALIZE, INITIALIZED, notice, request

Json = dict[str, Any]

CLIENT: Final[Json] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"sampling": {"tools": {}}, "elicitation": {"form": {}}, "roots": {}},
    "io.modelcontextprotocol/clientInfo": {"name": "desk", "version": "9", "vendor": 1},
    "io.modelcontextprotocol/logLevel": "debug",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
GIVEN: Final[dict[str, Json]] = {
    "sampling/createMessage": {"role": "assistant", "content": CONTENTS["text"], "model": "m", "vendor": [1]},
    "elicitation/create": {"action": "accept", "content": {"name": "me"}, "vendor": None},
    "roots/list": {"roots": [{"uri": "file:///a", "name": "a", "_meta": {"v": 1}}]},
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Step:
    """What the client says next, once everything before it was answered."""

    name: str
    said: tuple[Json, ...]


def calls(era: Era) -> list[Step]:
    """What both eras have."""
    dress: Json = {"_meta": CLIENT} if era == "modern" else {}
    steps: list[Step] = []

    def say(step: str, method: str, /, **params: Any) -> None:
        meta = {**dress.get("_meta", {}), **params.pop("_meta", {})}
        steps.append(Step(step, (request(len(steps) + 10, method, **params, **({"_meta": meta} if meta else {})),)))

    def call(step: str, tool: str, arguments: Json | None = None, /, **more: Any) -> None:
        say(step, "tools/call", name=tool, arguments=arguments or {}, **more)

    say("list tools", "tools/list")
    say("list the next page", "tools/list", cursor="9")
    say("list prompts", "prompts/list")
    say("list resources", "resources/list")
    say("list templates", "resources/templates/list")
    for kind in CONTENTS:
        call(
            f"say {kind}", f"say-{kind}", {"any": [None, 1.5, "\U0001f6a2"], "vendor": {"": {}}}, vendorParam={"x": []}
        )
    for tool in ("structured", "fails", "breaks"):
        call(tool, tool)
    call("log", "logs", _meta={"vendor/key": {"kept": True}})
    call("progress", "progresses", _meta={"progressToken": "token"})
    call("call nothing", "nothing")
    say("call no method", "made/up")
    say("read", "resources/read", uri="every://1")
    say("read what is not there", "resources/read", uri="other://1")
    say("get a prompt", "prompts/get", name="greet", arguments={"who": "me"})
    argument, context = {"name": "who", "value": "m"}, {"arguments": {"a": "b"}}
    say(
        "complete",
        "completion/complete",
        ref={"type": "ref/prompt", "name": "greet"},
        argument=argument,
        context=context,
    )
    ref = {"type": "ref/resource", "uri": "every://{number}"}
    say("complete a template", "completion/complete", ref=ref, argument=argument)
    call("wait", "waits")
    steps.append(Step("cancel", (notice("notifications/cancelled", requestId=len(steps) + 9, reason="enough"),)))
    call("make a task", "tasked", **({"task": {"ttl": 60000}} if era == "legacy" else {}))
    say("look at a task", "tasks/get", taskId="task-1")
    say("cancel a task", "tasks/cancel", taskId="task-1")
    return steps


def legacy() -> list[Step]:
    steps = [
        Step("open", (INITIALIZE, INITIALIZED)),
        Step("ping", (request("p", "ping"),)),
        Step("set a level", (request("level", "logging/setLevel", level="debug"),)),
        *calls("legacy"),
        Step("list tasks", (request("t1", "tasks/list"),)),
        Step("list more tasks", (request("t2", "tasks/list", cursor="more"),)),
        Step("take a task's result", (request("t3", "tasks/result", taskId="task-1"),)),
        Step("follow", (request("f1", "resources/subscribe", uri="every://1"),)),
        Step("change", (request("f2", "tools/call", name="changes", arguments={}),)),
        Step("follow no more", (request("f3", "resources/unsubscribe", uri="every://1"),)),
        Step("move the roots", (notice("notifications/roots/list_changed"),)),
    ]
    for number, method in enumerate([*WANTED, "ping"], 1):
        asked = request(f"q{number}", "tools/call", name="asks", arguments={"which": number - 1})
        steps.append(Step(f"be asked {method}", (asked,)))
        answer: Json = {"jsonrpc": "2.0", "id": f"ask-{number}", "result": GIVEN.get(method, {})}
        steps.append(Step(f"answer {method}", (answer,)))
    steps.append(Step("be asked again", (request("q8", "tools/call", name="asks", arguments={"which": 2}),)))
    no = {"jsonrpc": "2.0", "id": "ask-5", "error": {"code": -1, "message": "no", "data": {"vendor": 1}}}
    return [*steps, Step("say no", (no,))]


def modern() -> list[Step]:
    follow = {"toolsListChanged": True, "resourceSubscriptions": ["every://1"]}
    steps = [
        Step("open", (request("open", "server/discover", _meta=CLIENT),)),
        *calls("modern"),
        Step("acknowledge", (request("follow", "subscriptions/listen", notifications=follow, _meta=CLIENT),)),
        Step("change", (request("f2", "tools/call", name="changes", arguments={}, _meta=CLIENT),)),
        Step(
            "give a task what it wants",
            (request("u", "tasks/update", taskId="task-1", inputResponses={}, _meta=CLIENT),),
        ),
    ]
    for which, method in enumerate(WANTED):
        asked: Json = {"name": "asks", "arguments": {"which": which}, "_meta": CLIENT}
        steps.append(Step(f"be asked {method}", (request(f"q-{method}", "tools/call", **asked),)))
        given = {"requestState": "\u2028 s==", "inputResponses": {"first": GIVEN[method]}}
        steps.append(Step(f"answer {method}", (request(f"a-{method}", "tools/call", **asked, **given),)))
    return steps


class Everywhere(ToyServer):
    """That server behind the pipes of a link."""

    def __init__(self, era: Era) -> None:
        self.server = Everything(era)
        super().__init__()

    async def _serve(self) -> None:
        while True:
            try:
                message = await self.far.hear(within=3600.0)
            except EOFError:
                return
            await self.far.say(*self.server.receive(message))


def directly(server: Everything, steps: list[Step]) -> dict[str, list[Json]]:
    return {step.name: [said for message in step.said for said in server.receive(message)] for step in steps}


@pytest.mark.claim("C03")
@pytest.mark.parametrize(("era", "steps"), [("legacy", legacy()), ("modern", modern())], ids=["legacy", "modern"])
async def test_nothing_differs_but_what_the_table_says(tmp_path: Path, era: Era, steps: list[Step]) -> None:
    alone = Everything(era)
    expected = directly(alone, steps)
    watched = OPEN.replace(b"[[rule]]", b"holds = false\n[[rule]]")  # what a server wants is asked about elsewhere
    async with housed(tmp_path, toy=lambda: Everywhere(era), policy=watched) as rooms:
        pin_server(rooms, "everything", catalog())
        _, far = rooms.enter("everything")
        for step in steps:
            direct = expected[step.name]
            wanted = DIFFERENCES[step.name].through(direct) if step.name in DIFFERENCES else direct
            await far.say(*step.said)
            heard = [await far.hear() for _ in wanted]
            assert heard == wanted, step.name
        end = request(
            "end", "ping" if era == "legacy" else "server/discover", **({"_meta": CLIENT} if era == "modern" else {})
        )
        await far.say(end)
        assert (await far.hear())["id"] == "end"  # and nothing came beside what was wanted
        (toy,) = rooms.servers
        assert isinstance(toy, Everywhere)
        assert [m for m in toy.server.heard if not _own(m)] == [
            m for m in alone.heard if not _own(m) and not _refused(m)
        ]
        far.close()


def _own(message: Json) -> bool:
    """Said to the server by Bulkhead, of itself or in other words than the client's."""
    return str(message.get("id", "")).startswith(OWN_PREFIX) or message.get("method") in ASKED_BY_BULKHEAD


def _refused(message: Json) -> bool:
    return message.get("method") == "made/up" or message.get("params", {}).get("name") == "nothing"


def test_every_difference_in_the_table_is_one() -> None:
    both = [directly(Everything("legacy"), legacy()), directly(Everything("modern"), modern())]
    for name, difference in DIFFERENCES.items():
        assert any(difference.through(said[name]) != said[name] for said in both), name
        assert difference.reason
