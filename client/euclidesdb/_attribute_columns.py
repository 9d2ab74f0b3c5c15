"""The attributes of many items as columns, named as filters name them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from euclidesdb._tables import Column

MAX_COLUMNS: Final = 1000
"""With more different names, all attributes become one column."""
EXACT_IN_FLOAT: Final = 1 << 53
INT64: Final = range(-(1 << 63), 1 << 63)


def attribute_columns(
    rows: Sequence[Mapping[str, Any] | None], taken: Collection[str]
) -> list[Column]:
    """A column for each attribute, in the order of their first appearance.

    An attribute in a nested object has a name with dots: "size.width". One whose name is among
    `taken` gets the prefix "attributes.". A column holds bools, ints, floats, strings or lists of
    one of these; values that are not all alike, and lists of objects, are JSON texts.
    """
    values: dict[str, list[Any]] = {}
    for row, attributes in enumerate(rows):
        seen: set[str] = set()
        for name, value in _flat(attributes or {}):
            if name in seen:
                continue
            seen.add(name)
            if name not in values:
                if len(values) == MAX_COLUMNS:
                    return [_as_json(rows, taken)]
                values[name] = [None] * len(rows)
            values[name][row] = value
    used = {*taken}
    columns = []
    for name, column in values.items():
        free = _encodable(name)
        while free in used:
            free = f"attributes.{free}"
        used.add(free)
        columns.append(value_column(free, column))
    return columns


def value_column(name: str, values: Sequence[Any]) -> Column:
    """A column of values of JSON."""
    return Column(name, "any", _alike(values))


def _as_json(rows: Sequence[Mapping[str, Any] | None], taken: Collection[str]) -> Column:
    name = "attributes"
    while name in taken:
        name = f"attributes.{name}"
    return Column(name, "text", [None if each is None else _json(each) for each in rows])


def _flat(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value that is not an object, by its name with dots; without recursion."""
    pending = [iter([(name, value) for name, value in attributes.items()])]
    while pending:
        for name, value in pending[-1]:
            if isinstance(value, Mapping):
                inner = [(f"{name}.{key}", each) for key, each in value.items()]
                pending.append(iter(inner))
                break
            yield name, value
        else:
            pending.pop()


def _alike(values: Sequence[Any]) -> Sequence[Any]:
    """The values if all are of one type that Arrow has; ints among floats as floats; else JSON."""
    present = [value for value in values if value is not None]
    of_lists = {*map(type, present)} == {list}
    kind = _common_kind([each for value in present for each in value] if of_lists else present)
    if kind is None:
        return [None if value is None else _json(value) for value in values]
    if kind is float:
        convert = _floats if of_lists else float
        return [None if value is None else convert(value) for value in values]
    return values


def _floats(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values]


def _common_kind(values: Sequence[Any]) -> type | None:
    """bool, int, float or str if all are such; object if there are none; None if they differ."""
    kinds = {*map(type, values)}
    if not kinds:
        return object
    if kinds == {str}:
        return str if all(map(_is_encodable, values)) else None
    if kinds in ({bool}, {float}):
        return kinds.pop()
    if kinds == {int}:
        return int if all(value in INT64 for value in values) else None
    if kinds == {int, float}:
        exact = all(isinstance(each, float) or abs(each) <= EXACT_IN_FLOAT for each in values)
        return float if exact else None
    return None


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if _is_encodable(text) else json.dumps(value)


def _is_encodable(text: str) -> bool:
    """Whether it has no lone surrogate, which JSON permits and UTF-8 does not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encodable(name: str) -> str:
    # polars ends a name at a NUL
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
