"""What may register, where answers may go, and what is asked for: the rules, without a network."""

import json
import string
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.passes.applications import Application, Unregistrable, is_redirect, known, registered
from broker.passes.asked import Back, NoAnswer, Refused, fields_of, proves, wanted

KEY = b"k" * 32
ISSUER = "http://127.0.0.1:9/path"
GOOD = {
    "response_type": "code", "client_id": "app", "redirect_uri": "http://127.0.0.1:5/cb", "state": "s",
    "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
    "resource": "notes",
}  # fmt: skip
APP = Application("app", "an editor", ("http://127.0.0.1:7/cb",))


def ask(said: dict[str, str] | str = GOOD) -> object:
    query = said if isinstance(said, str) else urlencode(said)
    return wanted(query, ISSUER, {"app": APP}.get, {"notes": "notes"}.get)


@pytest.mark.parametrize("uri", [
    "http://127.0.0.1:5123/callback", "http://localhost/", "http://[::1]:80/a/b", "http://127.0.0.1",
    "cursor://anysphere.cursor-mcp/oauth/callback", "vscode://an.extension/did-authenticate",
])  # fmt: skip
def test_an_answer_may_go_to_this_machine_or_to_an_application_of_its_own_scheme(uri: str) -> None:
    assert is_redirect(uri)


@pytest.mark.parametrize("uri", [
    "", "https://evil.example/cb", "http://evil.example/cb", "http://127.0.0.1@evil.example/", "http://127.0.0.1.evil.example/",
    "http://localhost:1@evil.example/", "http://127.0.0.1:5/cb#f", "http://127.0.0.1:5/cb?code=x", "http://127.0.0.1:99999999/",
    "http://127.0.0.1\\@evil.example/", "http://127.1/", "http://2130706433/", "http://0.0.0.0/", "http://[::ffff:7f00:1]/",
    "javascript:alert(1)//127.0.0.1", "data:text/html,x", "file:///etc/passwd", "ms-msdt://x", "CURSOR://x", "cursor:x",
    "http://127.0.0.1:5/c b", "http://127.0.0.1:5/\nx", "http://127.0.0.1:5/\u00e9", "http://127.0.0.1/" + "a" * 300,
])  # fmt: skip
def test_an_answer_may_go_nowhere_else(uri: str) -> None:
    assert not is_redirect(uri)
    with pytest.raises(Unregistrable, match="invalid_redirect_uri"):
        registered(json.dumps({"redirect_uris": [uri]}).encode(), KEY)


@pytest.mark.parametrize(("registered_at", "asked", "same"), [
    ("http://127.0.0.1:1/cb", "http://127.0.0.1:65000/cb", True),
    ("http://127.0.0.1/cb", "http://127.0.0.1:65000/cb", True),
    ("http://[::1]:1/cb", "http://[::1]:2/cb", True),
    ("http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb/", False),
    ("http://127.0.0.1:1/cb", "http://127.0.0.1:1/CB", False),
    ("http://127.0.0.1:1/cb", "http://localhost:1/cb", False),
    ("http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb?x=1", False),
    ("cursor://a/b", "cursor://a/c", False),
    ("cursor://a/b", "cursor://a/b", True),
])  # fmt: skip
def test_a_redirect_is_compared_exactly_but_for_the_port_on_this_machine(
    registered_at: str, asked: str, same: bool
) -> None:
    assert Application("a", "", (registered_at,)).takes(asked) is same


def test_a_registration_keeps_nothing_here_and_is_known_again_at_its_own_address_alone() -> None:
    body = {"redirect_uris": ["http://127.0.0.1/cb", "https://elsewhere.example/cb"], "client_name": "an\u202e app\n",
            "token_endpoint_auth_method": "client_secret_basic", "jwks_uri": "https://evil.example"}  # fmt: skip
    application, answer = registered(json.dumps(body).encode(), KEY)
    assert known(application.id, KEY) == application == Application(application.id, "an app", ("http://127.0.0.1/cb",))
    assert known(application.id, b"x" * 32) is None
    assert answer["redirect_uris"] == ["http://127.0.0.1/cb"] and answer["token_endpoint_auth_method"] == "none"
    assert "jwks_uri" not in answer and "client_secret" not in answer


@given(st.integers(0, 400), st.sampled_from(string.ascii_letters + string.digits + "-_.=é "))
def test_an_id_with_one_letter_changed_is_nobodys(place: int, letter: str) -> None:
    application, _ = registered(b'{"redirect_uris": ["http://127.0.0.1/cb"], "client_name": "an editor"}', KEY)
    at = place % len(application.id)
    changed = application.id[:at] + letter + application.id[at + 1 :]
    assert (known(changed, KEY) is None) is (changed != application.id)


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b"{}", b'{"redirect_uris": "http://127.0.0.1/"}', b'{"redirect_uris": [1]}', b"\xff",
    b'{"redirect_uris": ["http://127.0.0.1/"], "redirect_uris": []}', b"[" * 100_000,
    json.dumps({"redirect_uris": [f"http://127.0.0.1/{n}" for n in range(9)]}).encode(),
])  # fmt: skip
def test_what_is_no_registration_is_refused(body: bytes) -> None:
    with pytest.raises(Unregistrable):
        registered(body, KEY)


@pytest.mark.parametrize("changed", [
    {"client_id": "other"}, {"client_id": ""}, {"redirect_uri": "http://evil.example/"}, {"redirect_uri": ""},
    {"redirect_uri": "http://127.0.0.1:5/other"}, {"state": "a\r\nb"}, {"state": "x" * 1025},
])  # fmt: skip
def test_nothing_is_sent_where_it_is_not_known_to_belong(changed: dict[str, str]) -> None:
    with pytest.raises(NoAnswer):
        ask({**GOOD, **changed})


def test_a_field_that_stands_twice_is_read_in_no_way() -> None:
    with pytest.raises(NoAnswer):
        ask(urlencode(GOOD) + "&redirect_uri=http%3A%2F%2F127.0.0.1%3A5%2Fcb")


@pytest.mark.parametrize(("changed", "code"), [
    ({"code_challenge_method": "plain"}, "invalid_request"), ({"code_challenge_method": ""}, "invalid_request"),
    ({"code_challenge": ""}, "invalid_request"), ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c="}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"), ({"response_mode": "fragment"}, "invalid_request"),
    ({"request": "ey.ey.x"}, "invalid_request"), ({"resource": "elsewhere"}, "invalid_target"),
    ({"resource": ""}, "invalid_target"),
])  # fmt: skip
def test_the_application_is_told_what_is_wrong_with_its_own_state_and_our_name(
    changed: dict[str, str], code: str
) -> None:
    with pytest.raises(Refused) as no:
        ask({**GOOD, **changed})
    address = no.value.back.with_error(no.value.code)
    assert address == f"http://127.0.0.1:5/cb?error={code}&state=s&iss=http%3A%2F%2F127.0.0.1%3A9%2Fpath"


def test_the_proof_is_the_one_of_the_standard_and_no_other() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert proves(verifier, GOOD["code_challenge"])
    assert not proves(verifier[:-1] + "l", GOOD["code_challenge"])
    assert not proves(GOOD["code_challenge"], GOOD["code_challenge"])  # which is what `plain` would take
    assert not proves("a" * 42, GOOD["code_challenge"]) and not proves("a" * 129, GOOD["code_challenge"])


@given(st.text(max_size=200))
def test_no_text_in_place_of_a_query_does_more_than_be_refused(text: str) -> None:
    try:
        ask(text)
    except (NoAnswer, Refused):
        return
    raise AssertionError("it was taken")


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=50), st.text(max_size=20))
def test_what_is_sent_back_cannot_add_a_field(state: str, code: str) -> None:
    said = fields_of(Back("http://127.0.0.1/", state, ISSUER).with_code(code).partition("?")[2])
    assert said == {"code": code, "state": state, "iss": ISSUER}
