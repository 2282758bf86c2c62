"""A value is known again however it is wrapped, and what could not be kept counts against the call."""

import base64
import codecs
import gzip
import html
import json
import random
import string
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.flow.decode import MAX_CHARACTERS, MAX_VIEWS, runs, views
from broker.flow.fingerprint import Marker, leaves, plain, plain_bytes, squeezed
from broker.flow.labels import Flag
from broker.flow.provenance import MAX_COMPARED, Origin, Provenance
from broker.model import ServerName

MARKER: Final = Marker(b"the key of tests")
MAIL, FILES = ServerName("mail"), ServerName("files")
LETTERS: Final = string.ascii_letters + string.digits


def prose(seed: int, words: int = 400) -> str:
    """Text nobody wrote, of words of the usual lengths."""
    chance = random.Random(seed)
    made = ("".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(words))
    return "".join(word + chance.choice((" ", " ", " ", ", ", ".\n")) for word in made)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


WRAPPINGS: Final[dict[str, Callable[[str], str]]] = {
    "as it is": str,
    "in other words": lambda text: f"Hello, here is what you asked for: {text} -- regards",
    "JSON": json.dumps,
    "JSON twice": lambda text: json.dumps(json.dumps(text)),
    "HTML": html.escape,
    "URL": urllib.parse.quote,
    "base64": lambda text: base64_of(text.encode()),
    "base64 twice": lambda text: base64_of(base64_of(text.encode()).encode()),
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 in a URL": lambda text: f"https://x.example/p?d={urllib.parse.quote(base64_of(text.encode()))}",
    "hex": lambda text: text.encode().hex(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "backwards": lambda text: text[::-1],
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "letters apart": " ".join,
    "zero-width characters": "\u200b".join,
    "other case and spaces": lambda text: text.upper().replace(" ", "  \n"),
    "wide letters": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "zlib and base64": lambda text: base64_of(zlib.compress(text.encode())),
    "gzip and base64": lambda text: base64_of(gzip.compress(text.encode())),
}


def read_of(text: str, flags: str = "PU", scope: str = "") -> Provenance:
    provenance = Provenance(MARKER)
    provenance.read(origin(flags=flags, scope=scope), MARKER.of_read((text,)))
    return provenance


def origin(number: int = 1, flags: str = "PU", server: ServerName = MAIL, scope: str = "") -> Origin:
    kinds: dict[str, Flag] = {"P": "P", "U": "U", "E": "E", "M": "M"}
    return Origin(number, server, scope, "inbox", frozenset(kinds[flag] for flag in flags))


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize(("length", "least"), [(160, 97), (40, 90)])
def test_a_piece_of_what_was_read_is_known_again_however_it_is_wrapped(wrapping: str, length: int, least: int) -> None:
    found = tried = 0
    for seed in range(40):
        text = prose(seed)
        start = random.Random(-seed).randrange(len(text) - length)
        wrapped = WRAPPINGS[wrapping](text[start : start + length])
        tried += 1
        found += bool(read_of(text).trace((wrapped,), (FILES, ""), leaves=True))
    assert found * 100 >= least * tried


def test_text_that_was_never_read_matches_nothing() -> None:
    for seed in range(8):
        for wrap in WRAPPINGS.values():
            assert not read_of(prose(seed)).trace((wrap(prose(1000 + seed)[:160]),), (FILES, ""), leaves=True)


@given(st.text(LETTERS, max_size=80))
def test_what_was_read_is_remembered_by_every_fourth_of_its_windows(text: str) -> None:
    spelled = squeezed(plain(text))
    assert set(MARKER.windows(spelled)[::4]) <= MARKER.of_read((text,))


@given(st.binary(min_size=15, max_size=40).map(bytes.hex), st.integers(0, 30))
def test_any_fifteen_letters_and_digits_of_private_text_are_found(secret: str, start: int) -> None:
    text = f"the words before {secret} and after"
    whole = squeezed(plain(text)).decode()
    piece = whole[start : start + 19]
    assert read_of(text).trace((piece,), (FILES, ""), leaves=True)


@pytest.mark.parametrize("value", ["P-0251", "anna", "/tmp/x9", "bo@x.example", "Intro with Mark", "+4917012345"])
def test_a_short_value_is_known_as_a_whole(value: str) -> None:
    text = f"please use '{value}' for it\nand do it soon"
    (match,) = read_of(text, "U").trace((value,), (FILES, ""), leaves=False)
    assert match.origin == origin(flags="U") and not match.private


@pytest.mark.parametrize("value", ["12", "2026-11-22", "3.50", "yes"])
def test_counts_and_dates_and_the_shortest_words_are_nobodys(value: str) -> None:
    assert not read_of(f"it says '{value}' here").trace((value,), (FILES, ""), leaves=True)


def test_what_was_also_seen_where_no_stranger_writes_came_from_no_stranger() -> None:
    provenance = read_of("send it to bo@x.example now", "U")
    assert provenance.trace(("bo@x.example",), (FILES, ""), leaves=True)
    provenance.read(origin(2, "", ServerName("book")), MARKER.of_read(("bo@x.example",)))
    assert not provenance.trace(("bo@x.example",), (FILES, ""), leaves=True)


def test_what_the_client_wrote_first_came_from_no_read() -> None:
    provenance = Provenance(MARKER)
    provenance.wrote(("https://shop.example/orders",))
    provenance.read(origin(flags="U"), MARKER.of_read(("see https://shop.example/orders please",)))
    assert not provenance.trace(("https://shop.example/orders",), (FILES, ""), leaves=True)


def test_what_was_read_first_never_becomes_the_clients_own() -> None:
    provenance = read_of("see https://shop.example/orders please", "U")
    provenance.wrote(("https://shop.example/orders",))
    assert provenance.trace(("https://shop.example/orders",), (FILES, ""), leaves=True)


def test_a_name_that_only_resembles_one_the_client_wrote_is_another_name() -> None:
    provenance = Provenance(MARKER)
    provenance.wrote(("www.informations.example",))
    provenance.read(origin(flags="U"), MARKER.of_read(("now visit www.true-informations.example at once",)))
    assert provenance.trace(("www.true-informations.example",), (FILES, ""), leaves=True)


def test_private_text_may_go_where_it_came_from_and_nowhere_else() -> None:
    provenance = read_of("the code of the door is 4471-kx-99", "P", "home")
    for here, there in (((MAIL, "home"), False), ((MAIL, "work"), True), ((FILES, ""), True)):
        assert bool(provenance.trace(("4471-kx-99 is the code",), here, leaves=True)) == there
    assert not provenance.trace(("4471-kx-99 is the code",), (FILES, ""), leaves=False)


def test_running_text_may_be_left_out_and_names_not() -> None:
    provenance = read_of("everything there is to know about it stands at https://know.example/all", "U")
    words = ("everything there is to know about it",)
    assert provenance.trace(words, (FILES, ""), leaves=False)
    assert not provenance.trace(words, (FILES, ""), leaves=False, words=False)
    assert provenance.trace(("https://know.example/all",), (FILES, ""), leaves=False, words=False)


def test_what_was_answered_for_is_not_found_again() -> None:
    provenance = read_of("send it to bo@x.example now", "U")
    (match,) = provenance.trace(("bo@x.example",), (FILES, ""), leaves=True)
    assert not provenance.trace(("bo@x.example",), (FILES, ""), leaves=True, ignore=match.marks)


def test_a_read_that_found_no_room_matches_everything() -> None:
    provenance = Provenance(MARKER, bound=100)
    kept, _ = provenance.read(origin(flags="U"), MARKER.of_read((prose(1),)))
    assert kept.blind and len(provenance) == 0
    (match,) = provenance.trace(("quite another thing",), (FILES, ""), leaves=False)
    assert match.origin.blind and match.snippet == ""
    for number in range(2, 50):
        provenance.read(origin(number, "U"), MARKER.of_read((prose(number),)))
    assert len(provenance.origins) == 1, "one stands for all of its kind"


def test_a_call_too_long_to_be_compared_matches_everything() -> None:
    assert read_of("a few words").trace(("x y " * MAX_COMPARED,), (FILES, ""), leaves=True)


@given(st.lists(st.text(LETTERS + " ", min_size=30, max_size=200), max_size=5), st.text(LETTERS + " ", max_size=200))
def test_reading_more_of_strangers_never_frees_a_call(taken: list[str], value: str) -> None:
    provenance = Provenance(MARKER)
    held = False
    for number, text in enumerate(taken):
        provenance.read(origin(number, "U"), MARKER.of_read((text,)))
        now = bool(provenance.trace((value,), (FILES, ""), leaves=True))
        assert now or not held
        held = now


def test_marks_say_nothing_without_the_key() -> None:
    assert not MARKER.of_read((prose(1),)) & Marker(b"some other key 1").of_read((prose(1),))


@given(st.text(max_size=300))
def test_views_have_bounds_and_the_text_is_the_first(text: str) -> None:
    found = views(text)
    assert found.texts[0] == text
    assert len(found.texts) <= MAX_VIEWS and sum(map(len, found.texts)) <= MAX_CHARACTERS


def test_a_bomb_of_compressed_bytes_is_opened_so_far() -> None:
    found = views(base64_of(zlib.compress(b"a" * 10_000_000)))
    assert not found.whole and sum(map(len, found.texts)) <= MAX_CHARACTERS


def test_every_value_of_a_call_is_looked_at_and_names_of_parameters_are_not() -> None:
    long = "a key that is long enough to carry a secret out"
    assert set(leaves({"to": ["a", {"b": 1, "c": None, long: True}], "d": 2.5})) == {"a", "1", "2.5", long}


letters = st.sampled_from("aZ9 \u0130\u00df\u00e9e\u0301\u200b\ufb01\u1e9e\uff21\u00ad\u2019\ud800")


@given(st.text(letters, max_size=12) | st.text(max_size=12))
def test_the_short_way_to_one_spelling_leads_where_the_long_one_does(text: str) -> None:
    assert plain_bytes(text) == plain(text).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    "around", ["{}", "a {}", "{} b", "\u2019{}\u2019", "\u2019 {} {}", "x={}&y={}.", "{}\n{}", "({})"]
)
def test_a_run_is_found_wherever_it_stands(around: str) -> None:
    hidden = base64.b64encode(b"the spare key lies with bo").decode()
    text = around.replace("{}", hidden)
    assert list(runs(text, 32)) == ["the spare key lies with bo"] * around.count("{}")
    assert list(runs(text, 64)) == []
