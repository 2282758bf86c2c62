"""Addresses that servers name, and what they may say about signing in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth.metadata import read_resource, read_server, resource_addresses, server_addresses
from broker.auth.places import Near, Place, covers, near, place_of, registered
from broker.auth.problems import AuthError
from broker.model import JsonObject

SERVER = registered("https://mcp.example/v1/mcp")


@pytest.mark.parametrize(
    ("host", "lies"),
    [
        ("mcp.example", Near.PUBLIC),
        ("8.8.4.4", Near.PUBLIC),
        ("localhost", Near.THIS_MACHINE),
        ("127.9.9.9", Near.THIS_MACHINE),
        ("10.0.0.1", Near.OWN_NETWORK),
        ("169.254.169.254", Near.OWN_NETWORK),
        ("100.64.3.4", Near.OWN_NETWORK),
        ("198.18.0.1", Near.OWN_NETWORK),
        ("printer", Near.OWN_NETWORK),
        ("git.corp", Near.OWN_NETWORK),
        ("x.localhost", Near.OWN_NETWORK),
    ],
)
def test_a_host_lies_where_its_name_or_address_says(host: str, lies: Near) -> None:
    assert near(host) is lies


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/",
        "https://10.0.0.1/",
        "https://localhost/",
        "http://127.0.0.1:8080/",
        "https://169.254.169.254/latest",
        "https://metadata.google.internal/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://2130706433/",
        "https://[fe80::1%25eth0]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::1]/",
        "https://100.64.0.1/",
        "https://198.18.0.1/",
        "https://0.0.0.0/",
        "https://as.localhost/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://as.good.example@evil.example/",
        "https://user:word@evil.example/",
        "https://\u0430s.example/",
        "https://AS.example./",
        "https://as.example/#part",
        "https://as.example/a b",
        "https://as.example/$(id)`x`",
        "https://as.example/\"'<>",
        "https://as.example\\@evil.example/",
        "https://as.example:99999/",
        "https:///nowhere",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ms-msdt:/id",
        "//as.example/",
        "https://as.example/" + "a" * 3000,
        "",
        None,
        7,
    ],
)
def test_a_server_in_the_public_network_names_no_such_place(url: object) -> None:
    with pytest.raises(AuthError) as refused:
        place_of(url, Near.PUBLIC, "issuer")
    assert refused.value.code == "address" and str(refused.value).endswith("(issuer)")


def test_what_lies_on_this_machine_may_name_what_lies_there_too_but_never_a_metadata_service() -> None:
    for url in ("http://127.0.0.1:9/x", "http://localhost:9/x", "https://git.corp/", "https://as.example/"):
        assert place_of(url, Near.THIS_MACHINE, "issuer").url == url
    for url in ("http://git.corp/", "http://as.example/", "https://169.254.169.254/", "https://metadata/"):
        with pytest.raises(AuthError):
            place_of(url, Near.THIS_MACHINE, "issuer")


def test_a_server_in_the_users_network_names_places_there_by_https_alone() -> None:
    assert place_of("https://sso.corp/", Near.OWN_NETWORK, "issuer").host == "sso.corp"
    for url in ("http://sso.corp/", "http://127.0.0.1/", "https://127.0.0.1/"):
        with pytest.raises(AuthError):
            place_of(url, Near.OWN_NETWORK, "issuer")


@given(st.text(max_size=60), st.sampled_from(list(Near)))
def test_whatever_is_taken_for_a_place_is_encrypted_or_on_this_machine(text: str, allowed: Near) -> None:
    for url in (text, f"https://{text}", f"http://{text}/x"):
        try:
            place = place_of(url, allowed, "issuer")
        except AuthError:
            continue
        assert place.url == url and near(place.host) <= allowed
        assert place.scheme == "https" or near(place.host) is Near.THIS_MACHINE


# --- what a server says of its sign-in ---


@pytest.mark.parametrize(
    ("resource", "is_ours"),
    [
        ("https://mcp.example/v1/mcp", True),
        ("https://mcp.example/v1/mcp/", True),
        ("https://mcp.example/v1", True),
        ("https://mcp.example/", True),
        ("https://mcp.example", True),
        ("https://mcp.example:443/v1/mcp", True),
        ("https://mcp.example/v1/mc", False),
        ("https://mcp.example/v1/mcp/deeper", False),
        ("https://mcp.example/v1/other", False),
        ("https://mcp.example:8443/v1/mcp", False),
        ("https://other.example/v1/mcp", False),
        ("http://mcp.example/v1/mcp", False),
        ("https://mcp.example/v1/../v1", False),
        ("https://mcp.example/v1/%2e%2e", False),
        ("https://mcp.example/v1?x=1", False),
    ],
)
def test_metadata_is_about_the_server_or_a_folder_above_it(resource: str, is_ours: bool) -> None:
    said: JsonObject = {"resource": resource, "authorization_servers": ["https://as.example"]}
    if is_ours:
        assert read_resource(said, SERVER, Near.PUBLIC).resource == resource
        return
    with pytest.raises(AuthError) as refused:
        read_resource(said, SERVER, Near.PUBLIC)
    assert refused.value.code == "other_resource"


@pytest.mark.parametrize(
    "change",
    [
        {"resource": 7},
        {"resource": None},
        {"authorization_servers": []},
        {"authorization_servers": "https://as.example"},
        {"authorization_servers": [7]},
        {"authorization_servers": [f"https://as{n}.example" for n in range(11)]},
        {"authorization_servers": ["https://as.example", "http://evil.example"]},
        {"authorization_servers": ["https://as.example?x=1"]},
        {"scopes_supported": ["a b"]},
        {"scopes_supported": {"a": 1}},
    ],
)
def test_metadata_of_wrong_types_is_none(change: JsonObject) -> None:
    said = {"resource": SERVER.url, "authorization_servers": ["https://as.example"], **change}
    with pytest.raises(AuthError):
        read_resource(said, SERVER, Near.PUBLIC)


def test_where_a_server_describes_its_sign_in() -> None:
    assert [place.url for place in resource_addresses(SERVER, "")] == [
        "https://mcp.example/.well-known/oauth-protected-resource/v1/mcp",
        "https://mcp.example/.well-known/oauth-protected-resource",
    ]
    root = registered("https://mcp.example/")
    assert [place.path for place in resource_addresses(root, "")] == ["/.well-known/oauth-protected-resource"]
    assert [place.url for place in resource_addresses(SERVER, "https://mcp.example/x")] == ["https://mcp.example/x"]
    for named in ("https://mcp.example:8443/x", "https://evil.example/x", "http://mcp.example/x"):
        with pytest.raises(AuthError):
            resource_addresses(SERVER, named)


def test_where_an_authorization_server_describes_itself() -> None:
    assert [place.url for place in server_addresses("https://as.example/tenant1", Near.PUBLIC)] == [
        "https://as.example/.well-known/oauth-authorization-server/tenant1",
        "https://as.example/.well-known/openid-configuration/tenant1",
        "https://as.example/tenant1/.well-known/openid-configuration",
    ]
    for root in ("https://as.example", "https://as.example/"):
        assert [place.url for place in server_addresses(root, Near.PUBLIC)] == [
            "https://as.example/.well-known/oauth-authorization-server",
            "https://as.example/.well-known/openid-configuration",
        ]


AS: JsonObject = {
    "issuer": "https://as.example",
    "authorization_endpoint": "https://as.example/authorize",
    "token_endpoint": "https://as.example/token",
    "code_challenge_methods_supported": ["S256", "plain"],
    "response_types_supported": ["code"],
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"issuer": "https://evil.example"}, "other_issuer"),
        ({"issuer": "https://as.example/x"}, "other_issuer"),
        ({"issuer": "https://AS.example"}, "other_issuer"),
        ({"issuer": 7}, "other_issuer"),
        ({"code_challenge_methods_supported": None}, "no_pkce"),
        ({"code_challenge_methods_supported": ["plain"]}, "no_pkce"),
        ({"code_challenge_methods_supported": "S256"}, "no_pkce"),
        ({"authorization_endpoint": None}, "server_metadata"),
        ({"token_endpoint": None}, "server_metadata"),
        ({"response_types_supported": ["token"]}, "server_metadata"),
        ({"response_types_supported": 7}, "server_metadata"),
        ({"authorization_endpoint": {"a": 1}}, "address"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "address"),
        ({"authorization_endpoint": "http://as.example/authorize"}, "address"),
        ({"token_endpoint": "http://as.example/token"}, "address"),
        ({"token_endpoint": "https://169.254.169.254/token"}, "address"),
        ({"registration_endpoint": "http://localhost/register"}, "address"),
        ({"revocation_endpoint": "https://10.0.0.1/revoke"}, "address"),
        ({"device_authorization_endpoint": "https://printer/device"}, "address"),
    ],
)
def test_an_authorization_server_is_the_one_that_was_named_and_leads_nowhere_else(
    change: JsonObject, code: str
) -> None:
    with pytest.raises(AuthError) as refused:
        read_server({**AS, **change}, "https://as.example", Near.PUBLIC)
    assert refused.value.code == code


def test_only_the_root_of_a_host_may_differ_by_its_slash() -> None:
    slashed = read_server({**AS, "issuer": "https://as.example/"}, "https://as.example", Near.PUBLIC)
    assert slashed.issuer == "https://as.example/"
    assert read_server(AS, "https://as.example/", Near.PUBLIC).issuer == "https://as.example"
    with pytest.raises(AuthError):
        read_server({**AS, "issuer": "https://as.example/t/"}, "https://as.example/t", Near.PUBLIC)


paths = st.lists(st.sampled_from(["a", "b", "..", ".", "", "%2e%2e", "a.b"]), max_size=4).map("/".join)


@given(paths, paths)
def test_what_covers_a_server_never_climbs(above: str, below: str) -> None:
    resource, server = (Place("", "https", "x.example", 443, "/" + path, "") for path in (above, below))
    if covers(resource, server):
        assert ".." not in above and "%2e" not in above and f"{below}/".startswith(above.strip("/"))
