"""What a server asks its client for in a result or a task: each is a call, judged like the request it stands for."""

from typing import Final

from broker.errors import ProtocolError
from broker.model import Call, JsonObject
from broker.protocol.calls import Names
from broker.protocol.methods import METHODS

MAX_INPUTS: Final = 16  # things one result may ask for; a person has to read each


def inputs_of(names: Names, result: JsonObject) -> list[Call]:
    """What a result asks the client for, in the modern era's `inputRequests` or a task's.

    Raises:
        ProtocolError: it is too much, or nothing a server may ask for.
    """
    task = result.get("task")
    calls: list[Call] = []
    for holder in (result, task if isinstance(task, dict) else {}):
        wanted = holder.get("inputRequests", {})
        if not isinstance(wanted, dict) or len(wanted) + len(calls) > MAX_INPUTS:
            raise ProtocolError("the server's result", "asks for input in a way nobody understands")
        calls += [_input(names, entry) for entry in wanted.values()]
    return calls


def _input(names: Names, entry: object) -> Call:
    name = entry.get("method") if isinstance(entry, dict) else None
    params = entry.get("params", {}) if isinstance(entry, dict) else None
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None or not method.input or not isinstance(name, str) or not isinstance(params, dict):
        raise ProtocolError("the server's result", "asks for something no server may ask for")
    return names.call("server", name, name, params)
