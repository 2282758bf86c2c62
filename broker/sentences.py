"""What a call would do, as a verb and an object: the first thing a person reads of a question."""

from typing import Final

from broker.model import Call

VERBS: Final = {
    "tools/call": "use the tool",
    "resources/read": "read",
    "resources/subscribe": "watch",
    "prompts/get": "use the prompt",
    "completion/complete": "complete",
    "sampling/createMessage": "ask your model something:",
    "elicitation/create": "ask you something:",
    "roots/list": "see your folders:",
}

MAX_TARGET: Final = 200  # characters of a tool's name or a URI in a sentence; the whole of it is in the detail


def sentence(call: Call) -> str:
    """Who wants to do what, where.  A target is text from outside."""
    verb, target = VERBS.get(call.method, "do"), shown(call.target)
    if call.origin == "client":
        return f"{call.client} wants to {verb} {target} of {call.server}"
    return f"{call.server} wants to {verb} {target} (through {call.client})"


def shown(target: str) -> str:
    """A target fit for a sentence: bounded, and what does not print is written out."""
    short = target[:MAX_TARGET]
    return short if short.isprintable() else ascii(short)
