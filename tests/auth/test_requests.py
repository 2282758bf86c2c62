"""What is sent to an authorization server, and how its answers are read."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from broker.auth import answers, registration, requests
from broker.auth.callback import Brought, Expected, judged
from broker.auth.metadata import ServerMetadata, read_server
from broker.auth.places import Near, place_of
from broker.auth.problems import PROBLEMS, AuthError, Kind
from broker.auth.registration import ByHand, Registration
from broker.auth.scopes import wanted
from broker.model import JsonObject
from tests.auth.test_places import AS

NOW = 1_000_000.0
REDIRECT = "http://127.0.0.1:4711/cb/abc"
KEPT = Registration("https://as.example", "cid", "dynamic", redirect=REDIRECT)
PROOF = requests.pkce(b"x" * requests.VERIFIER_BYTES)


def server(**more: Any) -> ServerMetadata:
    return read_server({**AS, **more}, "https://as.example", Near.PUBLIC)


# --- becoming known ---


def test_a_registration_by_hand_comes_before_a_document_before_a_dynamic_one_before_a_person() -> None:
    rich = server(client_id_metadata_document_supported=True, registration_endpoint="https://as.example/register")
    document, mine = "https://bulkhead.example/client.json", ByHand("mine", "word")

    def how(metadata: ServerMetadata, by_hand: ByHand | None, document: str, kept: Registration | None) -> str:
        found = registration.known(metadata, kept, by_hand, document, REDIRECT, NOW)
        return found.how if found else "ask"

    assert how(rich, mine, document, KEPT) == "by hand"
    assert how(rich, None, document, KEPT) == "document"
    assert how(rich, None, "", KEPT) == "dynamic"
    assert how(rich, None, "", None) == "ask"
    assert how(server(registration_endpoint="https://as.example/r"), None, document, None) == "ask"
    with pytest.raises(AuthError) as refused:
        how(server(), None, document, None)
    assert refused.value.code == "needs_client_id"


def test_what_belongs_to_one_authorization_server_is_not_shown_to_another() -> None:
    other = server(registration_endpoint="https://as.example/r")
    for kept in (
        Registration("https://other.example", "cid", "dynamic", redirect=REDIRECT),
        Registration("https://as.example", "cid", "dynamic", redirect="http://127.0.0.1:1/cb/abc"),
        Registration("https://as.example", "cid", "dynamic", "client_secret_post", "w", REDIRECT, NOW - 1),
    ):
        assert registration.known(other, kept, None, "", REDIRECT, NOW) is None
    with pytest.raises(AuthError) as refused:
        registration.known(other, None, ByHand("mine", "word", "https://other.example"), "", REDIRECT, NOW)
    assert refused.value.code == "foreign_client_id" and "word" not in repr(refused.value)


def test_a_registration_asks_for_no_scope_and_for_this_redirect_alone() -> None:
    asked = registration.request("claude", REDIRECT, server())
    assert "scope" not in asked and asked["redirect_uris"] == [REDIRECT]
    assert asked["token_endpoint_auth_method"] == "none" and asked["application_type"] == "native"
    offered = server(token_endpoint_auth_methods_supported=["client_secret_post"])
    assert registration.request("claude", REDIRECT, offered)["token_endpoint_auth_method"] == "client_secret_post"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": "invalid_redirect_uri", "error_description": "WORDS"}),
        (500, None),
        (201, None),
        (201, {}),
        (201, {"client_id": 7}),
        (201, {"client_id": ""}),
        (201, {"client_id": "a\r\nb"}),
        (201, {"client_id": "a" * 5000}),
        (201, {"client_id": "a", "redirect_uris": ["https://evil.example/"]}),
        (201, {"client_id": "a", "redirect_uris": REDIRECT + "x"}),
        (201, {"client_id": "a", "client_secret": "a\x1bb"}),
        (201, {"client_id": "a", "token_endpoint_auth_method": "client_secret_post"}),
        (201, {"client_id": "a", "client_secret": "w", "token_endpoint_auth_method": "tls_client_auth"}),
    ],
)
def test_a_registration_that_cannot_be_used_is_none(status: int, said: JsonObject | None) -> None:
    with pytest.raises(AuthError) as refused:
        registration.read(status, said, "https://as.example", REDIRECT, NOW)
    assert "WORDS" not in str(refused.value)


def test_a_registration_is_kept_with_its_secret_hidden_and_its_end() -> None:
    said = {"client_id": "a", "client_secret": "word", "client_secret_expires_at": NOW + 9, "redirect_uris": [REDIRECT]}
    found = registration.read(201, said, "https://as.example", REDIRECT, NOW)
    assert (found.method, found.expires) == ("client_secret_basic", NOW + 9) and "word" not in repr(found)


# --- what is sent ---


def test_the_browser_is_sent_with_pkce_state_and_resource_whatever_the_endpoint_has_in_its_query() -> None:
    endpoint = place_of("https://as.example/a?tenant=1&state=evil&redirect_uri=https://evil.example", Near.PUBLIC, "x")
    url = requests.authorization(endpoint, KEPT, ("a", "b"), "https://mcp.example/mcp/", "s" * 43, PROOF)
    assert url.count("?") == 1
    assert parse_qs(urlsplit(url).query) == {
        "tenant": ["1"], "response_type": ["code"], "client_id": ["cid"], "redirect_uri": [REDIRECT],
        "state": ["s" * 43], "code_challenge": [PROOF.challenge], "code_challenge_method": ["S256"],
        "scope": ["a b"], "resource": ["https://mcp.example/mcp/"],
    }  # fmt: skip


@given(st.binary(min_size=requests.VERIFIER_BYTES, max_size=requests.VERIFIER_BYTES))
def test_the_challenge_is_the_hash_of_the_verifier(random: bytes) -> None:
    proof = requests.pkce(random)
    digest = base64.urlsafe_b64decode(proof.challenge + "=")
    assert digest == hashlib.sha256(proof.verifier.encode()).digest() and len(proof.verifier) == 64
    assert proof.verifier not in repr(proof)


def test_the_resource_is_sent_byte_for_byte_as_chosen_or_not_at_all() -> None:
    said = "https://MCP.example/a"
    assert [requests.resource_for(mode, said) for mode in ("prm", "omit", "fixed:api://x")] == [said, "", "api://x"]
    assert requests.code_form("c", REDIRECT, "v", said)["resource"] == said
    assert requests.refresh_form("r", said)["resource"] == said
    assert "resource" not in requests.code_form("c", REDIRECT, "v", "") | requests.refresh_form("r", "")
    for wrong in ("", "prM", "fixed:", "fixed:a b"):
        with pytest.raises(AuthError):
            requests.check_mode(wrong)


def test_each_way_to_prove_oneself_puts_the_secret_where_it_belongs() -> None:
    word = "p:w/ d%"
    form, headers = requests.proven({}, Registration("i", "c d", "by hand", "client_secret_basic", word))
    assert form == {} and base64.b64decode(headers["authorization"].split()[1]) == b"c%20d:p%3Aw%2F%20d%25"
    form, headers = requests.proven({}, Registration("i", "c", "by hand", "client_secret_post", word))
    assert form == {"client_id": "c", "client_secret": word} and headers == {}
    assert requests.proven({}, KEPT) == ({"client_id": "cid"}, {})


def test_a_signed_proof_can_be_verified_with_the_public_key() -> None:
    elliptic, long = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    for key in (elliptic, long):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        known = Registration("https://as.example", "cid", "by hand", "private_key_jwt", pem)
        form, _ = requests.proven({}, known, now=NOW, id="once")
        head, body, signature = form["client_assertion"].split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        assert (claims["iss"], claims["sub"], claims["aud"], claims["jti"]) == ("cid", "cid", known.issuer, "once")
        assert claims["exp"] - claims["iat"] == requests.ASSERTION_SECONDS
        signed, raw = f"{head}.{body}".encode(), base64.urlsafe_b64decode(signature + "==")
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
            key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
        else:
            from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

            key.public_key().verify(raw, signed, PKCS1v15(), SHA256())
    for wrong in ("", "no key", pem.replace("A", "B", 5)):
        with pytest.raises(AuthError):
            requests.proven({}, Registration("i", "c", "by hand", "private_key_jwt", wrong), now=NOW, id="x")


def test_scopes_are_those_of_the_challenge_else_all_of_the_resource_and_what_is_held_stays() -> None:
    assert wanted(("w",), ("r", "w"), ()) == ("w",)
    assert wanted((), ("r", "w"), ()) == ("r", "w")
    assert wanted((), (), ()) == ()
    assert wanted(("w",), ("r",), ("offline_access",), held=("r",)) == ("r", "w", "offline_access")
    with pytest.raises(AuthError):
        wanted(tuple(f"s{n}" for n in range(66)), (), ())


# --- what comes back ---


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (400, {"error": "invalid_grant", "error_description": "WORDS"}, "invalid_grant"),
        (400, {"error": "bad_refresh_token"}, "invalid_grant"),
        (401, {"error": "invalid_client"}, "invalid_client"),
        (400, {"error": "unauthorized_client"}, "invalid_client"),
        (400, {"error": "invalid_target"}, "invalid_target"),
        (400, {"error": "invalid_scope"}, "invalid_scope"),
        (400, {"error": "WORDS"}, "token_refused"),
        (400, {"error": ["x"]}, "token_refused"),
        (403, None, "token_refused"),
        (200, {"error": "bad_verification_code"}, "invalid_grant"),
        (200, {"error": "access_denied"}, "access_denied"),
        (200, None, "unavailable"),
        (307, None, "unavailable"),
        (429, None, "unavailable"),
        (503, {"error": "WORDS"}, "unavailable"),
        (500, {"error": "invalid_grant"}, "invalid_grant"),
        (200, {}, "token_answer"),
        (200, {"access_token": "a"}, "token_answer"),
        (200, {"access_token": "a", "token_type": "DPoP"}, "token_answer"),
        (200, {"access_token": "a\r\nX: 1", "token_type": "Bearer"}, "token_answer"),
        (200, {"access_token": "a" * 20000, "token_type": "Bearer"}, "token_answer"),
        (200, {"access_token": "a", "token_type": "Bearer", "refresh_token": "a b"}, "token_answer"),
        (200, {"access_token": 7, "token_type": "Bearer", "refresh_token": "RT-SECRET"}, "token_answer"),
    ],
)  # fmt: skip
def test_an_answer_without_a_token_is_one_of_our_own_codes(status: int, said: JsonObject | None, code: str) -> None:
    with pytest.raises(AuthError) as refused:
        answers.tokens(status, said, NOW)
    assert refused.value.code == code and "WORDS" not in str(refused.value) and "SECRET" not in str(refused.value)
    assert (refused.value.kind is Kind.LATER) == (code == "unavailable")


@pytest.mark.parametrize(
    ("said", "expires"),
    [
        (3600, NOW + 3600), ("3600", NOW + 3600), (None, 0.0), ("-5x", 0.0), (-5, NOW), (0, NOW), (True, 0.0),
        (float("inf"), NOW + answers.MAX_LIFE), (1e308, NOW + answers.MAX_LIFE), (float("nan"), 0.0), ([1], 0.0),
        (10**400, NOW + answers.MAX_LIFE), ("9" * 400, 0.0),
    ],
)  # fmt: skip
def test_a_token_lives_as_long_as_a_number_says(said: object, expires: float) -> None:
    answer = {"access_token": "a", "token_type": "bEaReR", "expires_in": said, "scope": "a b a"}
    found = answers.tokens(200, answer, NOW)
    assert found.expires == expires and found.scopes == ("a", "b") and "'a'" not in repr(found).split("scopes")[0]


def test_a_device_is_shown_a_code_that_can_be_shown_and_asks_slowly() -> None:
    said: JsonObject = {"device_code": "d", "user_code": "WDJB-MJHT", "verification_uri": "https://as.example/device"}
    found = answers.device(200, said, Near.PUBLIC, NOW)
    assert (found.user_code, found.seconds, found.expires) == ("WDJB-MJHT", 5.0, NOW + answers.MAX_DEVICE_LIFE)
    assert answers.device(200, {**said, "interval": 0.001, "expires_in": 9}, Near.PUBLIC, NOW).seconds == 1.0
    for wrong in ({"user_code": "\x1b[31m"}, {"verification_uri": "http://evil.example/"}, {"device_code": ""}):
        with pytest.raises(AuthError):
            answers.device(200, {**said, **wrong}, Near.PUBLIC, NOW)


WAITING = Expected("s" * 43, "/cb/abc", "https://as.example", True, NOW + 300)


@pytest.mark.parametrize(
    "query",
    [
        "", "code=x", "code=x&state=wrong", "code=x&state=", f"code=x&code=y&state={'s' * 43}",
        f"code=x&state={'s' * 43}&state={'s' * 43}", f"code=x&state={'s' * 43}&iss=a&iss=b", "code=x&state=%ff",
        f"code=x&state={'s' * 43}&" + "a=1&" * 40, f"code=x&state={'s' * 43}&a={'b' * 9000}", "%%%", "a",
    ],
)  # fmt: skip
def test_what_belongs_to_no_sign_in_changes_nothing(query: str) -> None:
    assert judged("/cb/abc", query, (WAITING,), NOW) is None


def test_an_answer_is_taken_on_its_own_path_in_time_and_from_its_own_issuer() -> None:
    good = f"code=x&state={'s' * 43}&iss=https%3A%2F%2Fas.example"
    assert judged("/cb/abc", good, (WAITING,), NOW) == Brought(WAITING, "x")
    assert judged("/cb/other", good, (WAITING,), NOW) is None
    assert judged("/cb/abc", good, (WAITING,), NOW + 301) is None
    silent = Expected(WAITING.state, WAITING.path, WAITING.issuer, False, WAITING.deadline)
    assert judged("/cb/abc", f"code=x&state={'s' * 43}", (silent,), NOW) == Brought(silent, "x")
    for wrong in ("", "&iss=https://evil.example", "&iss=https://as.example/"):
        for answer in ("code=x", "error=access_denied&error_description=CALL-ME"):
            brought = judged("/cb/abc", f"{answer}&state={'s' * 43}{wrong}", (WAITING,), NOW)
            assert brought is not None and brought.problem is not None and brought.problem.code == "callback_issuer"
    unasked = judged("/cb/abc", f"code=x&state={'s' * 43}&iss=https://evil.example", (silent,), NOW)
    assert unasked is not None and unasked.problem is not None


@given(st.text(max_size=80))
def test_no_text_of_a_browser_is_an_answer_without_the_state(text: str) -> None:
    assert judged("/cb/abc", text, (WAITING,), NOW) is None


def test_every_problem_has_a_sentence_of_ours_and_says_what_to_do() -> None:
    for code, problem in PROBLEMS.items():
        error = AuthError(code)
        assert error.hint and not problem.sentence.endswith(".") and problem.sentence[0].islower(), code
