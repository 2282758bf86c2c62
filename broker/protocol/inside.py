"""The question about a held call, put to the person inside the client, where a person turned that on.

Nothing that a server or a model says turns it on, and every word of the question is ours.  An answer counts once, for
the very call that is held, under a name that only this client was told.  A legacy client is asked by a request of its
own, beside the question at the desk; whichever is answered first counts.  A modern one gets the question as the answer
to its call (`input_required`), and makes the call again with what its person said.
"""

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from broker.model import Decision, Fact, JsonObject
from broker.protocol import replies
from broker.protocol.envelope import Request, Response
from broker.protocol.eras import CARRIERS
from broker.protocol.link import Link
from broker.protocol.requests import OpenRequest, Said
from broker.protocol.versions import CLIENT_CAPABILITIES_KEY, OWN_PREFIX, negotiated

METHOD: Final = "elicitation/create"
PREFIX: Final = f"{OWN_PREFIX}ask/"
SINCE: Final = "2025-06-18"  # the first revision with forms; their names sort by age
KEY: Final = "bulkhead"
FIELD: Final = "answer"
YES: Final = "allow this one call"
NO: Final = "deny it"
MAX_OVER: Final = 64  # answers to questions that are over come soon or never


class Inside:
    """The questions of one conversation that its client shows."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._open: dict[str, int] = {}
        self._over: OrderedDict[str, None] = OrderedDict()

    # --- a legacy client ---

    def beside(self, request: OpenRequest, decision: Decision) -> None:
        """Ask the client too, if it may answer and can show a form."""
        link = self._link
        if link.era != "legacy" or link.opening is None or link.agreed is None or link.agreed.opening is None:
            return
        version = negotiated(link.opening.params.get("protocolVersion"), link.agreed.opening["protocolVersion"])
        if version < SINCE or not _shows_forms(link.opening.params.get("capabilities")) or request.call is None:
            return
        offer = link.sight.offer(request.call, decision)
        if offer is None:
            return
        mark, text = offer
        self._open[mark] = request.question
        message: JsonObject = {"jsonrpc": "2.0", "id": PREFIX + mark, "method": METHOD, "params": _form(text)}
        link.send("client", message, _question(request))

    def heard(self, response: Response, size: int) -> tuple[int, Said] | None:
        """The client's answer, and which question it is for; None when it is for none that is open."""
        mark = str(response.id).removeprefix(PREFIX)
        question = self._open.pop(mark, None)
        if question is not None:
            self._link.record(Fact("result", "client", METHOD, METHOD, size=size))
            said = Said(mark, _meant(response.result))
            return (question, said) if said.allowed is not None else None
        if mark in self._over:
            del self._over[mark]
            self._link.record(Fact("result", "client", METHOD, METHOD, size=size, body={"dropped": "it came too late"}))
        else:
            self._link.fault("client", "the client answered a request nobody made", size=size)
        return None

    def over(self, question: int) -> None:
        """Nobody needs the client's answer any more."""
        for mark in [mark for mark, asked in self._open.items() if asked == question]:
            del self._open[mark]
            self._over[mark] = None
            if len(self._over) > MAX_OVER:
                self._over.popitem(last=False)
            message = replies.notification("notifications/cancelled", {"requestId": PREFIX + mark})
            self._link.send("client", message, Fact("notification", "broker", message["method"]))

    # --- a modern client ---

    def instead(self, request: OpenRequest, decision: Decision) -> bool:
        """Answer a held call with the question, if its client may answer it and can show a form; true when it did."""
        link, params = self._link, request.message.get("params", {})
        if link.era != "modern" or request.call is None or request.at_desk or request.method not in CARRIERS:
            return False
        goes_on = params.keys() & {"requestState", "inputResponses"}  # it would have to come again with these
        if goes_on or not _shows_forms(params.get("_meta", {}).get(CLIENT_CAPABILITIES_KEY, {})):
            return False
        offer = link.sight.offer(request.call, decision)
        if offer is None:
            return False
        mark, text = offer
        link.record(_question(request))
        asked: JsonObject = {KEY: {"method": METHOD, "params": _form(text)}}
        body: JsonObject = {"resultType": "input_required", "inputRequests": asked, "requestState": PREFIX + mark}
        link.settle("client", request, replies.result(request.id, body))
        return True


def returned(request: Request) -> tuple[Request, Said] | None:
    """A call that comes again with what its person said, as it was the first time; None where it is no such call."""
    state = request.params.get("requestState")
    if not isinstance(state, str) or not state.startswith(PREFIX):
        return None
    given = request.params.get("inputResponses")
    answer = given.get(KEY) if isinstance(given, dict) else None
    params = {name: value for name, value in request.params.items() if name not in ("requestState", "inputResponses")}
    first = replace(request, params=params, message={**request.message, "params": params})
    return first, Said(state.removeprefix(PREFIX), _meant(answer))


def _form(text: str) -> JsonObject:
    answer: JsonObject = {"type": "string", "title": "May it?", "enum": [NO, YES]}
    return {"message": text, "requestedSchema": {"type": "object", "properties": {FIELD: answer}, "required": [FIELD]}}


def _question(request: OpenRequest) -> Fact:
    digest = request.call.digest if request.call is not None else ""
    return Fact("question", "broker", request.method, request.target, request.id, digest=digest, body={"in": "client"})


def _shows_forms(capabilities: object) -> bool:
    """Whether a client can show a form: what says nothing of modes means forms."""
    found = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    return isinstance(found, dict) and (not found or "form" in found)


def _meant(answer: object) -> bool | None:
    """Yes only where exactly that was chosen; no answer where the form was closed."""
    action = answer.get("action") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or action not in ("accept", "decline"):
        return None
    content = answer.get("content")
    return action == "accept" and isinstance(content, dict) and content.get(FIELD) == YES
