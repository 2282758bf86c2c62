"""Secrets never reach the log, in no way of writing them that we list."""

import base64
import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.audit.redact import MAX_SECRETS, Redactor
from broker.errors import AuditError
from tests.audit.facts import ORIGIN, VAULT, called, lines_of, opened

SECRETS: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=8, max_size=40)
AROUND: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def knowing(**secrets: str) -> Redactor:
    redactor = Redactor()
    for name, value in secrets.items():
        redactor.add(name, value)
    return redactor


def in_base64(before: str, value: str, after: str) -> str:
    return base64.b64encode((before + value + after).encode()).decode()


WRITTEN: Final[dict[str, Callable[[str, str, str], str]]] = {
    "as it is": lambda before, value, after: before + value + after,
    "json": lambda before, value, after: before + json.dumps(value) + after,
    "json with its own letters": lambda before, value, after: json.dumps(before + value + after, ensure_ascii=False),
    "json within json": lambda before, value, after: json.dumps(json.dumps({"k": before + value + after})),
    "json with every character escaped": lambda before, value, after: (
        before + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in value) + after
    ),
    "url": lambda before, value, after: before + urllib.parse.quote(value, safe="") + after,
    "url path": lambda before, value, after: "https://h/" + urllib.parse.quote(value) + after,
    "form": lambda before, value, after: urllib.parse.urlencode({"a": before, "b": value, "c": after}),
    "url in lower case": lambda before, value, after: urllib.parse.quote(value, safe="").replace("%2F", "%2f"),
    "url with every byte encoded": lambda before, value, after: "".join(f"%{byte:02x}" for byte in value.encode()),
    "base64": lambda before, value, after: in_base64("", value, ""),
    "base64 without padding": lambda before, value, after: in_base64("", value, "").rstrip("="),
    "base64 for urls": lambda before, value, after: base64.urlsafe_b64encode(value.encode()).decode(),
    "hexadecimal": lambda before, value, after: before + value.encode().hex() + after,
}


@pytest.mark.claim("C42")
@pytest.mark.parametrize("way", WRITTEN)
@given(before=AROUND, value=SECRETS, after=AROUND)
def test_a_known_value_never_comes_out_however_it_is_written(way: str, before: str, value: str, after: str) -> None:
    assume(value not in "[redacted:KEY]" and value not in '"leaf":')
    text = WRITTEN[way](before, value, after)
    bare = WRITTEN[way]("", value, "")
    redactor = knowing(KEY=value)
    cleaned = json.loads(redactor.json({"leaf": text, "list": [text], text: 1}))
    for leaf in (cleaned["leaf"], cleaned["list"][0], *(key for key in cleaned if key not in ("leaf", "list"))):
        assert value not in leaf
        assert bare not in leaf
        assert "[redacted:KEY]" in leaf


@given(before=st.binary(max_size=8), value=SECRETS, after=st.binary(max_size=8))
def test_a_known_value_is_found_anywhere_inside_a_longer_base64_text(before: bytes, value: str, after: bytes) -> None:
    assume(len(value.encode()) >= 12)  # shorter, and what is left after the shared characters is under eight
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        cleaned = knowing(KEY=value).text(encode(before + value.encode() + after).decode())
        assert "[redacted:KEY]" in cleaned


def test_a_password_in_basic_authentication_is_found() -> None:
    header = "Basic " + in_base64("me:", "correct horse battery", "")
    cleaned = knowing(PASSWORD="correct horse battery").text(header)
    assert cleaned.startswith("Basic ") and "[redacted:PASSWORD]" in cleaned


@pytest.mark.claim("C42")
def test_nothing_of_a_secret_reaches_the_file(tmp_path: Any) -> None:
    redactor = knowing(GITHUB="gh-of-a-kind/5+5=10%")
    log = opened(tmp_path, redactor=redactor)
    value = "gh-of-a-kind/5+5=10%"
    log.append(ORIGIN, called(value, {"arguments": {value: [value]}}))
    log.close()
    (line,) = lines_of(tmp_path)
    whole = line + json.dumps(VAULT.opened(json.loads(line))["body"]).encode()
    assert b"gh-of-a-kind" not in whole and whole.count(b"[redacted:GITHUB]") == 3


def test_of_two_secrets_the_one_that_contains_the_other_goes_whole() -> None:
    redactor = knowing(SHORT="abcdefgh", LONG="12-abcdefgh-34")
    assert redactor.text("x 12-abcdefgh-34 y abcdefgh") == "x [redacted:LONG] y [redacted:SHORT]"


def test_a_number_that_is_a_secret_goes_too() -> None:
    assert json.loads(knowing(PIN="123456789").json({"pin": 123456789, "n": 5})) == {"pin": "[redacted:PIN]", "n": 5}


def test_two_keys_that_become_one_text_keep_both_their_values() -> None:
    cleaned = json.loads(knowing(A="aaaaaaaa", B="bbbbbbbb").json({"aaaaaaaa": 1, "[redacted:A]": 2}))
    assert sorted(cleaned.values()) == [1, 2]


def test_a_value_shorter_than_eight_characters_is_not_looked_for() -> None:
    assert knowing(SHORT="1234567").text("call 1234567") == "call 1234567"


def test_there_is_a_bound_to_how_many_secrets_are_looked_for_and_passing_it_is_an_error() -> None:
    redactor = Redactor()
    redactor._values = {f"secret number {n}": "n" for n in range(MAX_SECRETS)}
    with pytest.raises(AuditError, match="cannot be kept out of the audit log"):
        redactor.add("ONE_MORE", "one more secret")


def test_the_redactor_shows_no_secret_of_its_own() -> None:
    assert "hunter2" not in repr(knowing(KEY="hunter2-hunter2"))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Authorization: Bearer abcdefgh.ijkl-123", "Authorization: Bearer [redacted:bearer]"),
        ("the bearer\tof abcdefghijkl", "the bearer\tof abcdefghijkl"),
        ("a ghp_" + "a1" * 18 + " b", "a [redacted:token] b"),
        ("sk-" + "x" * 40, "[redacted:token]"),
        ("task-" + "x" * 40, "task-" + "x" * 40),
        ("xoxb-1234567890-abc", "[redacted:token]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted:token]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.c2lnbmF0dXJlLW9m", "[redacted:token]"),
        ("npm_" + "a" * 36, "[redacted:token]"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [redacted:private-key] b"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and no end", "[redacted:private-key]"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB", "-----BEGIN PUBLIC KEY-----\nMIIB"),
        (
            "postgresql://bob:s3cret!@db.example/x?y=1 and amqp://:pw@host",
            "postgresql://bob:[redacted:password]@db.example/x?y=1 and amqp://:[redacted:password]@host",
        ),
        ("http://localhost:8080/a@b and mailto:a:b@c", "http://localhost:8080/a@b and mailto:a:b@c"),
    ],
)
def test_unmistakable_shapes_go_without_being_known(text: str, cleaned: str) -> None:
    assert json.loads(Redactor().json({"text": text})) == {"text": cleaned}


PIECES: Final = (
    *("eyJ" * 4 + ".", "eyJaaaaaaaaaa.", "bearer ", "-----BEGIN PRIVATE KEY-----", "sk-"),
    *("%41%", "\\u00", "://", "://aaaaaaaa:"),
)


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_with_the_text_and_not_faster(piece: str) -> None:
    redactor = knowing(KEY="a secret of mine")

    def seconds(times: int) -> float:
        text = piece * times
        begin = time.perf_counter()
        redactor.text(text)
        return time.perf_counter() - begin

    seconds(100)
    small = min(seconds(2_000) for _ in range(3))
    large = min(seconds(32_000) for _ in range(3))
    assert large < 16 * 6 * max(small, 1e-4), "sixteen times the text may not take sixteen times sixteen"


@pytest.mark.parametrize("secret", ["plain-secret-0123", 'quo"ted-secret', "lön-secret-0123", "back\\slash-secret"])
@pytest.mark.parametrize("hidden", ["%{}", "line\n%{}", "a+b\t%{}"])
def test_a_secret_written_in_percent_is_found_beside_ordinary_escapes(secret: str, hidden: str) -> None:
    redactor = Redactor()
    redactor.add("key", secret)
    written = "".join(f"%{byte:02x}" for byte in secret.encode())
    text = hidden.format(written[1:])
    body = redactor.json({"note": "line\none", "text": text})
    assert "[redacted:key]" in body
    assert json.loads(body)["note"] == "line\none"


def test_ordinary_text_with_line_ends_and_signs_is_left_alone() -> None:
    redactor = Redactor()
    redactor.add("key", "plain-secret-0123")
    body = {"text": 'one\ntwo "three" 100 % 1 + 1 é'}
    assert json.loads(redactor.json(body)) == body
