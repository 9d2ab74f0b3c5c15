"""Changes of JSON objects as text: RFC 7396, and everything else as it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from euclidesdb_server.database.json_merge import merged, without
from tests.support.cases import each_as_subtest

NAMES = st.sampled_from(["a", "b", "a.b", "é", "", '"', "\\", "😀"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
STYLES = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"ensure_ascii": False},
        {"indent": 1, "separators": (" , ", " : ")},
    ]
)


def merge_patch(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def removed(value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: removed(inner, path[len(name) + 1 :]) if path.startswith(f"{name}.") else inner
        for name, inner in value.items()
        if name != path
    }


@given(target=OBJECTS, patch=OBJECTS, style=STYLES, other=STYLES)
def test_a_merge_is_that_of_the_rfc(target, patch, style, other):
    text = json.dumps(target, **style)
    result = merged(text, json.dumps(patch, **other))
    expected = merge_patch(target, patch)
    assert json.loads(result) == expected
    assert [*json.loads(result)] == [*expected], "another order"
    if result != text:
        assert repr(json.loads(result)) == repr(expected)
    again = merged(result, json.dumps(patch, **other))
    assert again == result


@given(target=OBJECTS, names=st.lists(NAMES, min_size=1, max_size=3), style=STYLES)
def test_a_path_is_removed_at_every_depth(target, names, style):
    text, path = json.dumps(target, **style), ".".join(names)
    result = without(text, [path, "nothing", "nothing.else"])
    expected = removed(target, path)
    assert json.loads(result) == expected
    assert (result == text) == (expected == target)


RFC_7396 = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a": {"b": "c"}}', '{"a": {"b": "d", "c": null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@each_as_subtest("case", RFC_7396)
def test_the_examples_of_the_rfc(case):
    text, patch, result = case
    assert merged(text, patch) == result


def test_what_is_not_changed_stays_as_it_is_written():
    text = (
        '{"huge":123456789012345678901234567890, "infinite": 1e400, "precise":1.10,"minus":-0.0,'
        '"half":"\\ud800","\\u00e9":"\\u0041", "deep" : {"x":1E5,  "y":[1.0 , 2]}, "a":1}'
    )
    assert merged(text, '{"a":2,"deep":{"x":null}}') == (
        '{"huge":123456789012345678901234567890,"infinite":1e400,"precise":1.10,"minus":-0.0,'
        '"half":"\\ud800","\\u00e9":"\\u0041","deep":{"y":[1.0 , 2]},"a":2}'
    )
    assert without(text, ["deep.x", "a", "minus", "infinite", "half", "é", "huge"]) == (
        '{"precise":1.10,"deep":{"y":[1.0 , 2]}}'
    )


@pytest.mark.parametrize(
    "patch", ["{}", '{"a":1}', '{ "a" : 1 }', '{"b":{}}', '{"b":{"c":null}}', '{"d":null}']
)
def test_a_text_that_does_not_change_is_returned_with_its_blanks(patch):
    text = ' {"a": 1, "b": { } }\n'
    assert merged(text, patch) is text
    assert without(text, ["c", "a.b", "b.c", "b.", ".a"]) is text


def test_of_members_of_the_same_name_the_last_one_counts():
    assert merged('{"a":1,"b":2,"a":3}', '{"b":4}') == '{"a":3,"b":4}'
    assert merged('{"a":1}', '{"a":null,"a":2}') == '{"a":2}'


def test_only_what_a_change_reaches_into_is_taken_apart():
    deep = '{"x":' * 400 + "1" + "}" * 400
    assert merged(f'{{"deep":{deep},"a":1}}', '{"a":2}') == f'{{"deep":{deep},"a":2}}'
    deeper = '{"x":' * 5000 + "1" + "}" * 5000
    with pytest.raises(RecursionError):
        merged(deeper, deeper)


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"a"', '{"a":', '{"a":1', '{"a":x}', "{1:2"])
def test_a_text_that_is_not_an_object_is_an_error(text):
    with pytest.raises((ValueError, IndexError)):
        merged(text, "{}")


def test_hostile_changes_take_no_longer_than_their_length():
    wide = "{" + ",".join(f'"{number}":{{}}' for number in range(5000)) + "}"
    names = [f"{number}.x" for number in range(1000)]
    assert without(wide, [*names, ".".join("x" * 10_000)]) is wide
    same = "{" + ",".join(['"a":{}'] * 9000) + "}"
    assert without(same, [f"a.{'x' * 50}{number}" for number in range(1000)]) is same
    dotted = ".".join(["a"] * 5000)
    nested = '{"a":' * 300 + "{}" + "}" * 300
    assert without(nested, [dotted]) is nested
