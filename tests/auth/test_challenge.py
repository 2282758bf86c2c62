"""What a server says with 401: read by its grammar, and refused where it is of none."""

from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.auth.challenge import Bearer, Challenge, bearer, parse
from broker.auth.problems import AuthError
from broker.auth.scopes import MAX_SCOPES

WHERE = "https://mcp.example/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ([], Bearer()),
        ([""], Bearer()),
        (["Bearer"], Bearer()),
        (["Basic realm=x"], Bearer()),
        (["bearer  Scope = \"a b\" ,  error=invalid_token"], Bearer("", ("a", "b"), "invalid_token")),
        ([f'Bearer resource_metadata="{WHERE}"'], Bearer(WHERE)),
        ([f'Basic realm="x, y", Bearer resource_metadata="{WHERE}", DPoP algs="ES256"'], Bearer(WHERE)),
        (["Negotiate dG9rZW4=", 'Bearer scope="a"'], Bearer("", ("a",))),
        (["Negotiate dG9rZW4=, Bearer scope=a"], Bearer("", ("a",))),
        (['Bearer realm="a \\"quoted\\" word", scope="a"'], Bearer("", ("a",))),
        ([f'Bearer error_description="see resource_metadata=https://evil.example/x", resource_metadata="{WHERE}"'],
         Bearer(WHERE)),
        (['Bearer x_scope="evil", scope="good"'], Bearer("", ("good",))),
        (['Bearer scope="a"', 'Bearer scope="a"'], Bearer("", ("a",))),
        ([", ,Bearer scope=a,,"], Bearer("", ("a",))),
    ],
)  # fmt: skip
def test_a_challenge_says_what_its_parameters_say_and_nothing_that_is_quoted(said: list[str], found: Bearer) -> None:
    assert bearer(said) == found


@pytest.mark.parametrize(
    "said",
    [
        'Bearer scope="a", Bearer scope="root"',
        'Bearer scope="a", scope="b"',
        'Bearer scope="a" error="b"',
        'Bearer scope="unfinished',
        'Bearer scope="a\x00b"',
        'Bearer "scope"',
        '="a"',
        "Bearer scope=\"a\nb\"",
        'Bearer scope="' + "a " * 8000 + '"',
        ", ".join(["Basic x=y"] * 17),
        'Bearer scope="' + " ".join(f"s{n}" for n in range(200)) + '"',
        'Bearer scope="\\"; DROP"',
    ],
)  # fmt: skip
def test_what_is_not_of_the_grammar_is_refused(said: str) -> None:
    with pytest.raises(AuthError) as refused:
        bearer([said])
    assert refused.value.code in ("challenge", "scope") and "DROP" not in str(refused.value)


token = st.text("abcdefgXYZ019-_.", min_size=1, max_size=12)
value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


@given(token, st.dictionaries(token.map(str.lower), value, min_size=1, max_size=5))
def test_what_is_written_by_the_grammar_is_read_back(scheme: str, parameters: Mapping[str, str]) -> None:
    quoted = {name: text.replace("\\", "\\\\").replace('"', '\\"') for name, text in parameters.items()}
    text = f"{scheme} " + ", ".join(f'{name}="{said}"' for name, said in quoted.items())
    assert parse([text]) == (Challenge(scheme.lower(), tuple(parameters.items())),)


@given(st.lists(st.text(st.sampled_from('Bearer scope="a", =\\\t\u00e9\x00'), max_size=60), max_size=3))
def test_any_text_is_read_or_refused(said: list[str]) -> None:
    with suppress(AuthError):
        assert len(bearer(said).scopes) <= MAX_SCOPES + 1
