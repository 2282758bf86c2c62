"""Text with spans: one value is replaced, nothing else moves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clients.jsonc import parse
from broker.clients.tree import MAX_DEPTH, Edit, Malformed, Node, Object, edited, node_at, plain

keys = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    scalars | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)
indents = st.sampled_from([None, 0, 1, 2, 4, "\t"])


def places(node: Node, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of object keys."""
    if not isinstance(node, Object):
        return [where]
    return [where, *(place for member in node.members for place in places(member.value, (*where, member.key)))]


@given(documents, indents, st.booleans())
def test_any_json_reads_as_the_standard_library_reads_it(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert plain(parse(text, comments=False).root) == value


@given(documents, indents, st.data())
def test_replacing_a_value_by_its_span_changes_nothing_else(
    value: Any, indent: int | None, data: st.DataObject
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    root = parse(text, comments=False).root
    where = data.draw(st.sampled_from(places(root)))
    node = node_at(root, where)
    assert node is not None

    after = edited(text, [Edit(node.start, node.end, '"here"')])

    assert after[: node.start] == text[: node.start]
    assert after[len(after) - (len(text) - node.end) :] == text[node.end :]
    assert plain(parse(after, comments=False).root) == _with(value, where, "here")
    assert edited(after, [Edit(node.start, node.start + len('"here"'), text[node.start : node.end])]) == text


def _with(value: Any, where: tuple[str, ...], new: str) -> Any:
    return {**value, where[0]: _with(value[where[0]], where[1:], new)} if where else new


def test_comments_and_trailing_commas_are_skipped_where_the_client_reads_them() -> None:
    text = '\ufeff/* top */ { // one\r\n "a": [1, 2, /* x */ ], "b": "// no comment", }\n// end'
    document = parse(text, comments=True)
    assert plain(document.root) == {"a": [1, 2], "b": "// no comment"}
    assert [text[start:end] for start, end in document.comments] == ["/* top */", "// one", "/* x */", "// end"]


@pytest.mark.parametrize(
    ("text", "comments", "said"),
    [
        ("", False, "line 1, column 1: expected a value"),
        ('{\n  "a": 1,\n  "b" 2\n}', False, "line 3, column 7: expected a colon"),
        ('{"a": 1 "b": 2}', True, "line 1, column 9: expected a comma or }"),
        ('{"a": 1,}', False, "line 1, column 9: this client's file may not hold trailing commas"),
        ("// hi\n{}", False, "line 1, column 1: this client's file may not hold comments"),
        ("{} /* no end", True, "line 1, column 4: expected a value, or the comment does not end"),
        ('{"a": 1, "a": 2}', False, 'line 1, column 10: the name "a" is given twice'),
        ('{"a": {"x": 1, "\\u0078": 2}}', True, 'line 1, column 16: the name "x" is given twice'),
        ("[1, 2] 3", False, "line 1, column 8: expected the end of the file"),
        ("[NaN]", False, "line 1, column 2: expected a value"),
        ("[01]", False, "line 1, column 3: expected a comma or ]"),
        ("[,]", True, "line 1, column 2: expected a value"),
        ("{'a': 1}", True, "line 1, column 2: expected a string in double quotes, on one line"),
        ('["a\nb"]', False, "line 1, column 2: expected a string in double quotes, on one line"),
        ('["\\x41"]', False, "line 1, column 2: expected a string in double quotes, on one line"),
        ("[" * (MAX_DEPTH + 2), False, f"line 1, column {MAX_DEPTH + 2}: nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_is_not_json_is_named_by_line_and_column(text: str, comments: bool, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse(text, comments=comments)
    assert str(caught.value) == said


@given(st.text(alphabet='{}[]",:/*\\ \n\ufefftrue0-1.eE+a', max_size=40), st.booleans())
def test_no_text_makes_the_reader_fail_in_another_way_than_not_json(text: str, comments: bool) -> None:
    try:
        value = plain(parse(text, comments=comments).root)
    except Malformed:
        return
    if not comments:
        assert value == json.loads(text.removeprefix("\ufeff"))


def test_a_number_too_long_for_python_is_still_a_number() -> None:
    assert plain(parse("[" + "9" * 5000 + "]", comments=False).root) == [float("inf")]


def test_edits_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        edited("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])
