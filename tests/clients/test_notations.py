"""TOML and YAML read into the tree that JSON reads into: the same meaning as their libraries, and where it stands."""

import tomllib
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest
import tomli_w
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clients import toml_text, yaml_text
from broker.clients.notation import name_of, read
from broker.clients.tree import MAX_DEPTH, Array, Malformed, Node, Object, Scalar, node_at, plain

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
scalars = st.one_of(texts, st.integers(-(2**53), 2**53), st.booleans(), st.sampled_from(["a\nb", "", "yes", "# no"]))
values = st.recursive(scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3))
documents = st.dictionaries(texts, values, min_size=1, max_size=4)


def leaves(node: Node) -> Iterator[Scalar]:
    match node:
        case Scalar():
            yield node
        case Array():
            for item in node.items:
                yield from leaves(item)
        case Object():
            for member in node.members:
                yield from leaves(member.value)


@given(documents)
@settings(max_examples=80)
def test_any_toml_document_is_read_as_its_library_reads_it_and_every_value_stands_where_it_is_said(
    document: dict[str, Any],
) -> None:
    text = tomli_w.dumps(document)
    tree = toml_text.parse(text)
    assert plain(tree.root) == tomllib.loads(text)
    for leaf in leaves(tree.root):
        assert tomllib.loads(f"v = {text[leaf.start : leaf.end]}")["v"] == leaf.value


@given(documents, st.sampled_from([True, False, None]))
@settings(max_examples=60)
def test_any_yaml_document_is_read_as_its_library_reads_it_and_every_value_stands_where_it_is_said(
    document: dict[str, Any], flow: bool | None
) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True)
    tree = yaml_text.parse(text)
    assert plain(tree.root) == yaml.safe_load(text)
    for leaf in leaves(tree.root):
        assert yaml.safe_load(text[leaf.start : leaf.end] or "''") == leaf.value


def test_a_toml_table_and_its_tables_right_behind_it_are_one_piece_of_text() -> None:
    text = '[a.b]\nx = 1 # one\n[a.b.env]\nK = "v"\n\n# next\n[a.c]\ny = 2\n'
    node = node_at(toml_text.parse(text).root, ("a", "b"))
    assert isinstance(node, Object)
    assert (text[node.start : node.end], node.style) == ('[a.b]\nx = 1 # one\n[a.b.env]\nK = "v"', "table")


@pytest.mark.parametrize(
    "text",
    ['[a.b]\nx = 1\n[a.c]\ny = 2\n[a.b.env]\nK = "v"\n', 'a.b.x = 1\na.b.env.K = "v"\n', "[a]\nb.x = 1\n"],
)
def test_a_toml_table_written_in_pieces_is_read_but_not_edited(text: str) -> None:
    tree = toml_text.parse(text)
    node = node_at(tree.root, ("a", "b"))
    assert isinstance(node, Object)
    assert node.style == "fixed"
    assert plain(tree.root) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "a = 1\r\n[b]\r\nc = '''x\r\ny'''\r\n",
        "a = [ # one\n  1, [2, {b = 3}], # two\n]\n",
        "d = 1979-05-27 07:32:00\nt = 07:32:00\nf = 1e3\nx = 0xff\ni = inf\n",
        '[[a]]\nb.c = 1\n[[a]]\n[a.d]\ne = "# no comment"\n',
        '"a b".\'c.d\'.e = """x"y""z"""\nf = \'\'\'it\'s\'\'\'\ng = "\\u00e9\\"" # "\n',
    ],
)
def test_every_form_of_toml_is_read_as_tomllib_does(text: str) -> None:
    tree = toml_text.parse(text)
    assert str(plain(tree.root)) == str(_without_dates(tomllib.loads(text)))
    assert all(text[start] == "#" for start, _ in tree.comments)


def _without_dates(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return value if isinstance(value, str | int | float) else str(value)


def test_comments_of_yaml_are_found_and_marks_inside_texts_are_not() -> None:
    text = 'a: 1  # one\nb: "# no"\nc: |\n  # no\n  x\n# two\nd: e#f\n'
    assert [text[start:end] for start, end in yaml_text.parse(text).comments] == ["# one", "# two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x 1\n", "line 1, column 4: anchors, aliases and tags are not edited"),
        ("a: &x {b: 1}\nc: *x\n", "anchors, aliases and tags are not edited"),
        ("a: !!python/name:os.system x\n", "anchors, aliases and tags are not edited"),
        ("a: 1\na: 2\n", "line 2, column 1: this name is given twice"),
        ("? [a]\n: 1\n", "expected a plain name"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: but found another document"),
        ("a: [1\n", "expected ',' or ']'"),
        ("# nothing\n", "line 1, column 1: expected a value"),
        ("a: " + "[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5), "nested deeper than"),
        ("a: " + "x" * (yaml_text.MAX_TEXT + 1), "longer than"),
        ("a: \x07\n", "not YAML Bulkhead can read"),
    ],
)
def test_yaml_that_could_mean_something_else_elsewhere_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        yaml_text.parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["a = 1\na = 2\n", "a = \n", "[a\n", "a = [1,\n", "=", "\ufeffa = 1\n"])
def test_what_is_not_toml_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(Malformed, match=r"line|invalid"):
        toml_text.parse(text)


@given(st.text(alphabet="a=[]{}.,\"'#\n \\1", max_size=24))
@settings(max_examples=200)
def test_no_text_is_read_as_toml_in_another_sense_than_tomllib_reads(text: str) -> None:
    try:
        tree = toml_text.parse(text)
    except Malformed:
        return
    assert plain(tree.root) == tomllib.loads(text)


def test_the_name_of_the_file_says_its_notation() -> None:
    names = {"c.toml": "TOML", "c.yaml": "YAML", "c.yml": "YAML", "c.json": "JSON", "c.jsonc": "JSON", ".mcp": "JSON"}
    assert {name: name_of(PurePath(name)) for name in names} == names
    assert plain(read("a = 1", PurePath("c.toml"), comments=False).root) == {"a": 1}
    assert plain(read("a: 1", PurePath("c.yml"), comments=False).root) == {"a": 1}
    assert plain(read('{"a": 1} // x', PurePath("c.json"), comments=True).root) == {"a": 1}
