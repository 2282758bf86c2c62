"""A task of one era in the words of the other.

Both eras have tasks: the last legacy revision in its core, where the client asks for one and then for its result; the
modern one as an extension, where the server decides and the task brings its own result.  Only words are changed here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from broker.model import JsonObject
from broker.protocol.envelope import meta_of
from broker.protocol.versions import RELATED_TASK_KEY, TASKS

OFFERED: Final[JsonObject] = {"cancel": {}, "requests": {"tools": {"call": {}}}}
"""What a modern server with tasks offers a legacy client.  No list: the modern era has none."""

REVISION: Final = "2025-11-25"
"""The one legacy revision with tasks."""

_MODERN_NAMES: Final[Mapping[str, str]] = MappingProxyType({"ttl": "ttlMs", "pollInterval": "pollIntervalMs"})
_LEGACY_NAMES: Final[Mapping[str, str]] = MappingProxyType({new: old for old, new in _MODERN_NAMES.items()})
_OUTCOME: Final = frozenset({"resultType", "result", "error", "inputRequests"})


def legacy_offers(capabilities: JsonObject) -> bool:
    """Whether a legacy server makes tasks of tool calls."""
    found: Any = capabilities.get("tasks")
    for step in ("requests", "tools", "call"):
        found = found.get(step) if isinstance(found, dict) else None
    return isinstance(found, dict)


def modern_declares(capabilities: JsonObject) -> bool:
    """Whether a modern side has the tasks extension."""
    extensions = capabilities.get("extensions")
    return isinstance(extensions, dict) and TASKS in extensions


def with_extension(capabilities: JsonObject) -> JsonObject:
    """Capabilities that have the tasks extension as well."""
    extensions = capabilities.get("extensions")
    return {**capabilities, "extensions": {**(extensions if isinstance(extensions, dict) else {}), TASKS: {}}}


def modern_task(task: JsonObject) -> JsonObject:
    """A legacy task's state as a modern one's."""
    return {_MODERN_NAMES.get(name, name): value for name, value in task.items()}


def legacy_task(result: JsonObject) -> JsonObject:
    """A modern task's state as a legacy one's, without what it came to.

    A tool that says it failed has failed: only the modern era calls that completed.
    """
    task = {_LEGACY_NAMES.get(name, name): value for name, value in result.items() if name not in _OUTCOME}
    outcome = result.get("result")
    if task.get("status") == "completed" and isinstance(outcome, dict) and outcome.get("isError") is True:
        task["status"] = "failed"
    return task


def related(body: JsonObject, task: str) -> JsonObject:
    """A result or a request, marked with the task it belongs to."""
    return {**body, "_meta": {**meta_of(body), RELATED_TASK_KEY: {"taskId": task}}}


def related_to(params: JsonObject) -> str:
    """The task a legacy message belongs to; empty when it says none."""
    found = meta_of(params).get(RELATED_TASK_KEY)
    task = found.get("taskId") if isinstance(found, dict) else None
    return task if isinstance(task, str) else ""


def unrelated(body: JsonObject) -> JsonObject:
    """A result without that mark."""
    meta = {name: value for name, value in meta_of(body).items() if name != RELATED_TASK_KEY}
    kept = {name: value for name, value in body.items() if name != "_meta"}
    return {**kept, "_meta": meta} if meta else kept
