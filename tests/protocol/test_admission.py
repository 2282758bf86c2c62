from broker.model import JsonObject
from broker.protocol import dispatch
from broker.protocol.effects import Effect, Launch, Read
from broker.protocol.events import AdmissionDelayed, Admitted
from tests.protocol.stage import (
    INITIALIZE,
    INITIALIZED,
    READ,
    WRITE,
    Stage,
    call,
    modern,
    notice,
    refusal_of,
    request,
    shape,
)

LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")


def guest() -> Stage:
    return Stage(admitted=False)


def lists(stage: Stage) -> list[JsonObject]:
    make = modern if stage.conversation.era == "modern" else request
    stage.effects.clear()
    stage.client(*(make(method, method) for method in LISTS))
    return [answer["result"] for answer in stage.to_client]


def test_the_handshake_waits_until_somebody_decided() -> None:
    stage = guest()
    effects: list[Effect] = stage.client(INITIALIZE, INITIALIZED, request(2, "tools/list"), call(3))
    assert effects == []
    assert stage.conversation.awaiting
    stage.feed(Admitted(True))
    assert [answer["id"] for answer in stage.to_client] == ["open", 2]
    assert stage.to_client[0]["result"]["instructions"] == "Keep it short"
    assert shape(stage.effects)[-1] == "launch"


def test_a_ping_is_answered_while_the_handshake_waits() -> None:
    stage = guest()
    stage.client(INITIALIZE, request("p", "ping"))
    assert [answer["id"] for answer in stage.to_client] == ["p"]


def test_when_nobody_answers_in_time_the_client_gets_empty_lists_and_no_instructions() -> None:
    stage = guest()
    stage.client(INITIALIZE, INITIALIZED)
    stage.feed(AdmissionDelayed())
    opening = stage.to_client[0]["result"]
    assert "instructions" not in opening
    assert opening["capabilities"]["tools"] == {"listChanged": True}
    assert lists(stage) == [{"tools": []}, {"prompts": []}, {"resources": []}, {"resourceTemplates": []}]
    assert not any(isinstance(effect, Read | Launch) for effect in stage.effects)


def test_a_call_of_a_client_that_is_not_admitted_is_refused_and_says_how_to_allow_it() -> None:
    stage = guest()
    stage.client(INITIALIZE)
    stage.feed(AdmissionDelayed())
    stage.client(call(1), request(2, "resources/read", uri="file:///notes/one"), call(3, "nothing"))
    assert refusal_of(stage.to_client[1]) == (
        "refused by Bulkhead (connection): desk may not use notes: nobody has said yes yet; to allow: bulkhead pending"
    )
    assert stage.to_client[2]["error"]["code"] == 403
    assert "nothing" not in refusal_of(stage.to_client[3])  # a guest learns nothing about which tools there are
    assert stage.judged == []
    assert not any(isinstance(effect, Launch) for effect in stage.effects)


def test_a_late_yes_tells_the_client_that_its_lists_have_changed() -> None:
    stage = guest()
    stage.client(INITIALIZE, INITIALIZED)
    stage.feed(AdmissionDelayed())
    stage.effects.clear()
    effects = stage.feed(Admitted(True))
    assert [message["method"] for message in stage.to_client] == [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    ]
    assert shape(effects) == ["record notification", "to client"] * 3
    assert lists(stage)[0] == {"tools": [WRITE, READ]}


def test_a_late_yes_reaches_a_modern_client_on_its_subscription() -> None:
    stage = guest()
    stage.client(
        modern("d", "server/discover"), modern("l", "subscriptions/listen", notifications={"toolsListChanged": True})
    )
    stage.feed(AdmissionDelayed())
    assert stage.to_client[1]["params"]["notifications"] == {"toolsListChanged": True}
    assert lists(stage)[0]["tools"] == []
    stage.effects.clear()
    stage.feed(Admitted(True))
    assert stage.to_client == [
        notice("notifications/tools/list_changed", _meta={"io.modelcontextprotocol/subscriptionId": "l"})
    ]


def test_a_no_leaves_the_lists_empty_and_says_so() -> None:
    stage = guest()
    stage.client(INITIALIZE)
    stage.feed(Admitted(False))
    assert lists(stage)[0] == {"tools": []}
    stage.client(call(1))
    assert "a person said no" in refusal_of(stage.to_client[-1])
    stage.feed(AdmissionDelayed())
    assert lists(stage)[0] == {"tools": []}


def test_a_no_after_the_delay_tells_nobody_anything() -> None:
    stage = guest()
    stage.client(INITIALIZE)
    stage.feed(AdmissionDelayed())
    assert stage.feed(Admitted(False)) == []


def test_taking_an_admission_back_ends_the_link() -> None:
    stage = Stage().running()
    stage.client(call(1))
    assert shape(stage.feed(Admitted(False))) == ["record result", "to client", "end"]


def test_the_same_answer_twice_is_one_answer() -> None:
    stage = guest()
    stage.client(INITIALIZE)
    stage.feed(Admitted(True))
    assert stage.feed(Admitted(True)) == []
    assert stage.feed(AdmissionDelayed()) == []


def test_a_client_that_floods_while_it_waits_is_refused() -> None:
    stage = guest()
    stage.client(INITIALIZE, *(call(number) for number in range(dispatch.MAX_WAITING)))
    assert [answer["error"]["code"] for answer in stage.to_client] == [429]
    big = guest()
    big.client(*(call(number, text="x" * (4 << 20)) for number in range(5)))
    assert [answer["error"]["code"] for answer in big.to_client] == [429, 429]


def test_an_id_is_not_used_twice_while_the_handshake_waits() -> None:
    stage = guest()
    stage.client(INITIALIZE, request(1, "tools/list"), call(1), request(1, "ping"))
    assert [answer["id"] for answer in stage.to_client] == [None, None]
    stage.feed(Admitted(True))
    assert [answer["id"] for answer in stage.to_client] == [None, None, "open", 1]


def test_what_is_no_message_is_told_at_once_even_while_the_handshake_waits() -> None:
    stage = guest()
    stage.client(INITIALIZE, {"jsonrpc": "2.0"})
    assert [answer["id"] for answer in stage.to_client] == [None]
    stage.feed(Admitted(True))
    assert stage.to_client[-1]["id"] == "open"
