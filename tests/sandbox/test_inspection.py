"""What inspected requests may be, and where secrets go: every rule means one thing, and every path is read one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import SandboxError
from broker.model import Injection, Inspection, ServerName
from broker.sandbox.egress.credentials import Credentials
from broker.sandbox.egress.head import Head
from broker.sandbox.hosts import HostRules
from broker.sandbox.inspection import Inspected, Request, parse_request_rule, placeholder

TOY = ServerName("toy")
HOSTS = HostRules.of(["api.test.example", "*.wide.example"])
VALUE = "s3cret-value-1234"
TOKEN = Injection("TOKEN", "Authorization", "api.test.example", ("GET", "POST"), "/v1/*")
HELD = f"Bearer {placeholder('TOKEN')}".encode()


def inspected(*rules: str, secrets: tuple[Injection, ...] = (TOKEN,)) -> Inspected:
    return Inspected.of(TOY, Inspection(rules, secrets), HOSTS, {"TOKEN": VALUE})


def request(text: str, *, upgrade: bool = False) -> Request:
    method, _, rest = text.partition(" ")
    host, slash, path = rest.partition("/")
    return Request(host, 443, method, slash + path, upgrade)


@pytest.mark.parametrize(
    ("rule", "covered", "others"),
    [
        ("api.test.example", ["GET api.test.example/", "PUT api.test.example/a/b?c"], ["GET x.wide.example/"]),
        ("GET,HEAD api.test.example/v1/*", ["HEAD api.test.example/v1/a/b"], ["POST api.test.example/v1/a"]),
        ("api.test.example/v1/*", ["GET api.test.example/v1/"],
         ["GET api.test.example/v1", "GET api.test.example/v12"]),
        ("api.test.example/a/*/c", ["GET api.test.example/a/b/c"], ["GET api.test.example/a//c",
                                                                    "GET api.test.example/a/b/x/c"]),
        ("api.test.example/a b", [], ["GET api.test.example/a"]),
        ("*.wide.example/a%62", ["GET x.wide.example/ab", "GET x.wide.example/%61b"], ["GET wide.example/ab"]),
    ],
)  # fmt: skip
def test_a_rule_covers(rule: str, covered: list[str], others: list[str]) -> None:
    if " " in rule.partition("/")[2]:
        with pytest.raises(SandboxError, match="is no"):
            parse_request_rule(rule, "egress.rules")
        return
    made = parse_request_rule(rule, "egress.rules")
    assert [text for text in (*covered, *others) if made.covers(request(text))] == covered


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/..;x/admin", "/v1/a%2f..%2fadmin",
                                  "/v1/%252e%252e/admin", "/v1/a\\..\\admin", "/v1/%5c", "/v1/%00", "/v1/%ff",
                                  "/v1/./a"])  # fmt: skip
def test_a_path_that_could_be_read_in_two_ways_is_covered_by_no_rule_and_gets_no_secret(path: str) -> None:
    box = inspected("api.test.example/v1/*")
    asked = request(f"GET api.test.example{path}")
    assert not box.allows(asked)
    sent, put = Credentials(box).settle(Head("GET", path, (("authorization", HELD),)), asked, secure=True)
    assert put == () and VALUE.encode() not in b"".join(value for _, value in sent.fields)


def test_without_rules_everything_is_allowed_but_websockets_which_only_a_rule_of_their_own_allows() -> None:
    socket = request("GET api.test.example/live", upgrade=True)
    assert inspected().allows(request("DELETE api.test.example/x")) and not inspected().allows(socket)
    assert not inspected("api.test.example/*").allows(socket) and not inspected("GET api.test.example/*").allows(socket)
    assert inspected("WEBSOCKET api.test.example/live").allows(socket)


@pytest.mark.parametrize(
    ("rules", "secret", "said"),
    [
        (("get api.test.example/",), TOKEN, "egress.rules of toy: 'get' is no list of methods"),
        (("api.test.example/v1*",), TOKEN, "egress.rules of toy: in '/v1.*' a star stands for a whole part"),
        (("10.0.0.1:80/x",), TOKEN, "egress.rules of toy: 10.0.0.1:80 is of your own network"),
        ((), Injection("TOKEN", "Host", "api.test.example", ("GET",), "/*"), "secrets.TOKEN.header of toy"),
        ((), Injection("TOKEN", "X-Key", "api.test.example", (), "/*"), "secrets.TOKEN.method of toy"),
        (
            (),
            Injection("TOKEN", "X-Key", "other.example", ("GET",), "/*"),
            "secrets.TOKEN.host of toy is other.example",
        ),
        ((), Injection("TOKEN", "X-Key", "*.wide.example", ("GET",), "/*"), "secrets.TOKEN.host of toy must be one"),
        ((), Injection("TOKEN", "X-Key", "api.test.example:80", ("GET",), "/*"), "goes only over TLS"),
        ((), Injection("NONE", "X-Key", "api.test.example", ("GET",), "/*"), r"\[secrets.NONE\] of toy has no value"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_key(rules: tuple[str, ...], secret: Injection, said: str) -> None:
    with pytest.raises(SandboxError, match=said):
        inspected(*rules, secrets=(secret,))


def test_a_value_too_short_to_be_found_again_is_not_put_in() -> None:
    with pytest.raises(SandboxError, match="cannot be put in"):
        Inspected.of(TOY, Inspection((), (TOKEN,)), HOSTS, {"TOKEN": "short"})


def settled(text: str, *fields: tuple[str, bytes], secure: bool = True) -> tuple[Head, tuple[str, ...]]:
    asked = request(text)
    return Credentials(inspected()).settle(Head(asked.method, asked.target, fields), asked, secure=secure)


@pytest.mark.claim("C26")
@pytest.mark.parametrize(
    ("text", "secure"),
    [("DELETE api.test.example/v1/x", True), ("GET api.test.example/v2/x", True), ("GET x.wide.example/v1/x", True),
     ("GET api.test.example/v1/x", False)],
)  # fmt: skip
def test_a_secret_is_put_in_only_where_it_was_declared_to_go(text: str, secure: bool) -> None:
    sent, put = settled("GET api.test.example/v1/x", ("authorization", HELD))
    assert put == ("TOKEN",) and ("authorization", f"Bearer {VALUE}".encode()) in sent.fields
    sent, put = settled(text, ("authorization", HELD), secure=secure)
    assert put == () and VALUE not in repr(sent)


def test_a_placeholder_in_another_field_or_beside_other_words_stays_what_it_is() -> None:
    sent, put = settled("GET api.test.example/v1/x", ("x-other", HELD), ("authorization", b"Bearer mine, " + HELD))
    assert put == () and VALUE not in repr(sent) and "authorization" not in dict(sent.fields)


def test_other_credentials_are_taken_out_of_requests_to_the_host_of_a_secret_and_left_elsewhere() -> None:
    own = (("cookie", b"a=b"), ("x-api-key", b"mine"), ("private-token", b"mine"), ("accept", b"*/*"))
    target = "/v1/x?access_token=mine&q=1&Client_Secret=mine&page_token=2"
    sent, _ = settled(f"GET api.test.example{target}", *own, ("authorization", HELD))
    assert [name for name, _ in sent.fields] == ["accept", "authorization", "accept-encoding"]
    assert sent.target == "/v1/x?q=1&page_token=2"
    sent, _ = settled(f"GET x.wide.example{target}", *own)
    assert sent.target == target and {name for name, _ in own} < dict(sent.fields).keys()


@pytest.mark.parametrize(
    "location", [b"/v1/next?a=b", b"https://api.test.example/v1/next", b"//api.test.example/v1/next"]
)
def test_a_request_that_a_redirect_led_to_gets_no_secret(location: bytes) -> None:
    credentials = Credentials(inspected())
    asked = request("GET api.test.example/v1/next")
    head = Head("GET", "/v1/next", (("authorization", HELD),))
    assert credentials.settle(head, asked, secure=True)[1] == ("TOKEN",)
    credentials.led(request("GET api.test.example/v1/first"), location, secure=True)
    assert credentials.settle(head, asked, secure=True)[1] == ()


@given(st.text(max_size=30), st.sampled_from(["/v1/", "/v1/a/", "/"]))
def test_no_path_outside_the_prefix_is_covered_however_a_server_decodes_it(tail: str, start: str) -> None:
    import posixpath
    from urllib.parse import unquote

    path = start + tail
    if not path.isascii() or "?" in path:
        return
    if inspected("api.test.example/v1/*").allows(request(f"GET api.test.example{path}")):
        twice = unquote(unquote(path)).replace("\\", "/")
        assert posixpath.normpath(twice).startswith("/v1")
