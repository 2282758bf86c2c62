"""The honest toy server behaves as real servers do: the same conversation with each tells the same facts.

What a test learns from the toy then holds for the servers people run.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.model import Era, JsonObject
from tests.fakes import script
from tests.fakes.launchers import node_environment, npx, uvx
from tests.fakes.raw_client import MODERN, PREFIX, RawClient

pytestmark = pytest.mark.registry

DOWNLOAD_WITHIN = 180.0  # a cold cache and a slow line


@dataclass(frozen=True, slots=True)
class Example:
    """A real server, a tool of it that works, and the toy's nearest counterpart."""

    argv: Callable[[Path], list[str]]
    call: Callable[[Path], tuple[str, JsonObject]]


TIME = Example(lambda _: uvx("mcp-server-time"), lambda _: ("get_current_time", {"timezone": "UTC"}))
FILES = Example(
    lambda folder: npx("@modelcontextprotocol/server-filesystem", folder),
    lambda folder: ("read_text_file", {"path": str(folder / "note")}),
)
TOY = Example(
    lambda _: [sys.executable, "-I", str(script("honest"))],
    lambda folder: ("read_file", {"path": str(folder / "note")}),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "note").write_text("ahoy")
    return tmp_path.resolve()


def kinds(values: JsonObject) -> dict[str, str]:
    return {key: type(value).__name__ for key, value in values.items()}


def opening_facts(client: RawClient, era: Era) -> JsonObject:
    response = client.open(era, within=DOWNLOAD_WITHIN)
    result = response["result"]
    identity = result["serverInfo"] if era == "legacy" else result["_meta"][PREFIX + "serverInfo"]
    return {
        "envelope": sorted(response),
        "result": {key: kind for key, kind in kinds(result).items() if key != "instructions"},  # optional, and told so
        "version": result.get("protocolVersion") or result["supportedVersions"],
        "identity": {key for key in kinds(identity) if key in ("name", "version")},
        "tools": isinstance(result["capabilities"]["tools"], dict),
    }


def list_facts(client: RawClient) -> JsonObject:
    result = client.request("tools/list")["result"]
    tools = result["tools"]
    return {
        "result": kinds(result),
        "every tool has": set.intersection(*(set(tool) for tool in tools)) & {"name", "description", "inputSchema"},
        "schemas are objects": {tool["inputSchema"]["type"] for tool in tools},
        "annotations are hints": {key.endswith("Hint") for tool in tools for key in tool["annotations"]},
    }


def call_facts(client: RawClient, name: str, arguments: JsonObject) -> JsonObject:
    result = client.call(name, arguments)["result"]
    optional = ("structuredContent", "isError")  # not every tool has the first; absent and false mean the same
    return {
        "result": {key: kind for key, kind in kinds(result).items() if key not in optional},
        "error": result.get("isError", False),
        "content": [sorted(item) for item in result["content"]],
    }


def refusal_facts(client: RawClient) -> JsonObject:
    unknown = client.request("nope/nope")
    client.passed_over.clear()
    client.notify("notifications/nope")
    client.tools()
    return {
        "envelope": sorted(unknown),
        "unknown method": unknown["error"]["code"],
        "answers to an unknown notification": client.passed_over,
    }


def facts(example: Example, era: Era, folder: Path) -> JsonObject:
    """One whole conversation."""
    with RawClient(example.argv(folder), env=node_environment(), cwd=folder) as client:
        opening = opening_facts(client, era)
        listed = list_facts(client)
        called = call_facts(client, *example.call(folder))
        refused = refusal_facts(client)
        client.leave()
        return {"opening": opening, "list": listed, "call": called, "refusals": refused, "exit": client.wait(within=10)}


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_toy_converses_like_the_time_server_in_both_eras(era: Era, folder: Path) -> None:
    assert facts(TOY, era, folder) == facts(TIME, era, folder)


def test_the_toy_converses_like_the_filesystem_server_which_is_legacy_only(folder: Path) -> None:
    assert facts(TOY, "legacy", folder) == facts(FILES, "legacy", folder)
    with RawClient(FILES.argv(folder), env=node_environment(), cwd=folder) as client:
        client.era = "modern"
        refusal = client.request("server/discover", within=DOWNLOAD_WITHIN)["error"]
        assert refusal["code"] == -32601


def era_lock(example: Example, folder: Path) -> list[tuple[int, object]]:
    """What a server says to the era it was not opened in, and to a version nobody knows."""
    answers: list[JsonObject] = []
    with RawClient(example.argv(folder)) as client:
        client.open("legacy", within=DOWNLOAD_WITHIN)
        client.era = "modern"
        answers.append(client.request("server/discover")["error"])
    with RawClient(example.argv(folder)) as client:
        client.open("modern", within=DOWNLOAD_WITHIN)
        client.era = "legacy"
        answers.append(client.request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})["error"])
        answers.append(client.request("tools/list")["error"])
        client.era = "modern"
        answers.append(client.request("ping")["error"])
        answers.append(client.request("tools/list", {"_meta": {PREFIX + "protocolVersion": "1900-01-01"}})["error"])
    return [(answer["code"], supported(answer)) for answer in answers]


def supported(error: JsonObject) -> object:
    data = error.get("data")
    return data.get("supported") if isinstance(data, dict) else None


def test_the_toy_locks_its_era_like_the_time_server(folder: Path) -> None:
    locked = era_lock(TOY, folder)
    assert locked == era_lock(TIME, folder)
    assert locked == [(-32600, None), (-32022, [MODERN]), (-32602, None), (-32601, None), (-32022, [MODERN])]
