"""Servers people use, from the registries, through the whole of Bulkhead: nothing a client needs is lost."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import TextContent

from broker.model import Era, JsonObject
from tests.e2e.conftest import FILE, documents
from tests.e2e.running import Running
from tests.fakes.raw_client import LEGACY, MODERN, RawClient

pytestmark = [pytest.mark.sandbox, pytest.mark.registry]

SDK_WITHIN: Final = 30.0
ABLE: Final[JsonObject] = {"sampling": {}, "elicitation": {"form": {}}, "roots": {}}


@dataclass(frozen=True, slots=True)
class Example:
    """A call that works, and a word of its answer."""

    server: str
    tool: str
    arguments: JsonObject
    word: str


def example(home: Running, server: str) -> Example:
    plan = str(documents(home) / FILE)
    return {
        "files": Example("files", "read_text_file", {"path": plan}, "thursday"),
        "everything": Example("everything", "get-sum", {"a": 2, "b": 3}, "5"),
        "time": Example("time", "get_current_time", {"timezone": "UTC"}, '"timezone": "UTC"'),
    }[server]


@pytest.fixture
def link(real: Running) -> Iterator[RawClient]:
    """An open conversation with the server that can do everything."""
    with real.connect("everything", real.newcomer("everything"), capabilities=ABLE) as client:
        client.open()
        yield client


# --- listed and called ------------------------------------------------------------------------------------------------


@pytest.mark.claim("C13", "C03")
@pytest.mark.parametrize(
    ("server", "era"), [("files", "legacy"), ("everything", "legacy"), ("time", "legacy"), ("time", "modern")]
)
def test_a_real_server_is_listed_without_running_and_starts_at_its_first_call(
    real: Running, server: str, era: Era
) -> None:
    wanted = example(real, server)
    client = real.newcomer(server)
    with real.connect(server, client) as link:
        opening = link.open(era)["result"]
        agreed = {tool.name for tool in real.desk.server(server).tools}
        listed = {tool["name"] for tool in link.tools()}
        assert wanted.tool in listed <= agreed
        assert (opening["protocolVersion"] == LEGACY) if era == "legacy" else (MODERN in opening["supportedVersions"])
        before = real.desk.link(server, client)
        assert (before.state, before.pid, before.calls) == ("ready", 0, 0)

        assert wanted.word in link.call_text(wanted.tool, wanted.arguments)
        after = real.desk.link(server, client)
        assert after.state == "running"
        assert after.pid > 0
        assert after.tier == real.desk.status().tier
        link.leave()
        assert link.wait() == 0
        assert link.errors() == ""


@pytest.mark.parametrize("server", ["files", "everything"])
def test_a_client_that_asks_an_older_server_what_it_speaks_can_go_on_in_either_era(real: Running, server: str) -> None:
    wanted = example(real, server)
    with real.connect(server, real.newcomer(server)) as link:
        assert link.open("modern")["result"]["supportedVersions"] == [MODERN]
        assert link.open("legacy")["result"]["protocolVersion"] == LEGACY
        assert wanted.word in link.call_text(wanted.tool, wanted.arguments)


@pytest.mark.claim("C02")
@pytest.mark.parametrize("mode", ["auto", "legacy", MODERN])
@pytest.mark.parametrize("server", ["files", "time", "everything"])
def test_the_python_sdk_lists_and_calls_a_real_server_in_every_mode(real: Running, server: str, mode: str) -> None:
    wanted = example(real, server)
    argv = real.shim(server, real.newcomer(server))
    spoken = "legacy" if mode == "legacy" else "modern"  # whatever the server speaks itself

    async def converse() -> tuple[str, set[str], list[str]]:
        parameters = StdioServerParameters(command=argv[0], args=argv[1:])
        async with asyncio.timeout(SDK_WITHIN), Client(stdio_client(parameters), mode=mode) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool(wanted.tool, wanted.arguments)
            return client.protocol_version, tools, [i.text for i in result.content if isinstance(i, TextContent)]

    version, tools, texts = asyncio.run(converse())
    assert version == (MODERN if spoken == "modern" else LEGACY)
    assert wanted.tool in tools
    assert wanted.word in "".join(texts)


# --- what a session needs besides calls -------------------------------------------------------------------------------


def test_progress_of_a_real_server_reaches_the_client_before_the_result(link: RawClient) -> None:
    arguments = {"duration": 0.4, "steps": 4}
    result = link.call("trigger-long-running-operation", arguments, meta={"progressToken": "mine"})["result"]
    assert "completed" in result["content"][0]["text"]
    progress = [m["params"] for m in link.passed_over if m["method"] == "notifications/progress"]
    assert [(each["progressToken"], each["progress"]) for each in progress] == [("mine", n) for n in (1, 2, 3, 4)]


def test_a_cancelled_call_of_a_real_server_is_never_answered_and_nothing_else_stops(
    real: Running, link: RawClient
) -> None:
    assert "5" in link.call_text("get-sum", {"a": 2, "b": 3})
    arguments = {"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 2}}
    cancelled = link.start_request("tools/call", arguments)
    link.notify("notifications/cancelled", {"requestId": cancelled, "reason": "changed my mind"})
    other = {"duration": 1.2, "steps": 2}
    assert "completed" in link.call_text("trigger-long-running-operation", other)
    assert cancelled not in [message.get("id") for message in link.passed_over]
    sent = real.desk.receipts(server="everything", kind="notification")
    assert any(entry["method"] == "notifications/cancelled" for entry in sent)


def test_resources_and_their_updates_of_a_real_server_pass(link: RawClient) -> None:
    first = link.request("resources/list")["result"]["resources"][0]["uri"]
    templates = link.request("resources/templates/list")["result"]["resourceTemplates"]
    assert "demo://resource/dynamic/text/{resourceId}" in [each["uriTemplate"] for each in templates]
    assert link.request("resources/read", {"uri": first})["result"]["contents"][0]["uri"] == first
    made = link.request("resources/read", {"uri": "demo://resource/dynamic/text/7"})["result"]["contents"][0]
    assert "7" in made["text"]
    assert link.request("resources/subscribe", {"uri": first})["result"] == {}
    link.passed_over.clear()
    link.call("toggle-subscriber-updates")
    news = [m["params"]["uri"] for m in link.passed_over if m["method"] == "notifications/resources/updated"]
    assert news or link.receive()["params"]["uri"] == first
    assert link.request("resources/unsubscribe", {"uri": first})["result"] == {}


def test_prompts_and_completion_of_a_real_server_pass(link: RawClient) -> None:
    names = {prompt["name"] for prompt in link.request("prompts/list")["result"]["prompts"]}
    assert {"args-prompt", "completable-prompt"} <= names
    prompt = link.request("prompts/get", {"name": "args-prompt", "arguments": {"city": "Oslo"}})["result"]
    assert "Oslo" in prompt["messages"][0]["content"]["text"]
    wanted = {
        "ref": {"type": "ref/prompt", "name": "completable-prompt"},
        "argument": {"name": "department", "value": "E"},
    }
    assert link.request("completion/complete", wanted)["result"]["completion"]["values"] == ["Engineering"]


def test_log_messages_of_a_real_server_pass(link: RawClient) -> None:
    assert link.request("logging/setLevel", {"level": "debug"})["result"] == {}
    link.call("toggle-simulated-logging")
    messages = [m for m in link.passed_over if m["method"] == "notifications/message"] or [link.receive()]
    assert messages[0]["params"]["level"] in {
        "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency",
    }  # fmt: skip


def test_what_a_real_server_asks_of_its_client_is_asked_by_policy(real: Running, link: RawClient) -> None:
    form = link.start_request("tools/call", {"name": "trigger-elicitation-request", "arguments": {}})
    real.desk.approve(real.desk.question(server="everything", kind="call"))
    question = next_request(link)
    assert question["method"] == "elicitation/create"
    link.answer(question["id"], {"action": "decline"})
    assert "declined" in str(link.answer_to(form)["result"])

    sampling = {"name": "trigger-sampling-request", "arguments": {"prompt": "hello", "maxTokens": 10}}
    wish = link.start_request("tools/call", sampling)
    held = real.desk.question(server="everything", kind="call")
    assert "ask your model" in held.what
    assert "hello" in held.detail
    real.desk.approve(held)
    question = next_request(link)
    assert question["method"] == "sampling/createMessage"
    words = {"role": "assistant", "content": {"type": "text", "text": "so be it"}, "model": "none"}
    link.answer(question["id"], words)
    assert "so be it" in str(link.answer_to(wish)["result"])


def next_request(link: RawClient) -> JsonObject:
    """The server's next request; news on the way do not matter here."""
    while True:
        message = link.receive()
        if "id" in message and "method" in message:
            return message


@pytest.mark.claim("C22")
def test_a_real_server_sees_nothing_of_the_environment_and_changes_only_what_it_was_granted(
    real: Running, link: RawClient
) -> None:
    seen = link.call_text("get-env")
    assert str(real.user) not in seen
    assert str(real.paths.home) not in seen
    assert "BULKHEAD" not in seen
    with real.connect("files", real.newcomer("files")) as files:
        files.open()
        written = files.call("write_file", {"path": str(documents(real) / "new.txt"), "content": "x"})["result"]
        assert written["isError"], "its argument was granted to be read, not to be written"
        assert not (documents(real) / "new.txt").exists()


# --- refused before anything runs -------------------------------------------------------------------------------------


def test_a_package_that_does_not_exist_is_refused_and_named(real: Running) -> None:
    done = real.bulkhead("add", "nothing", "--yes", "--", "npx", "-y", "@mcp-bulkhead/there-is-no-such-package")
    assert done.returncode == 1
    assert "there-is-no-such-package" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("try: ")
    assert "nothing" not in real.bulkhead("servers").stdout


def test_the_real_packages_are_as_pinned(real: Running) -> None:
    done = real.bulkhead("verify", "--offline")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("as pinned") == 3
