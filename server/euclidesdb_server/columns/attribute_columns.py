"""From the attributes of items, JSON objects, to columns by path and type."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

MAX_COLUMNS: Final = 1024
"""Paths that have columns in one block. The values of further ones are kept as text."""
LEAST_SHARE: Final = 1 / 32
"""Of the rows: a path that fewer have gets no columns, which would mostly be empty."""
MAX_NAME: Final = 1024
"""Characters of a path that can be named (`rpc/v1_fields.py`)."""
MAX_PATH: Final = 256
"""Characters of a path that has columns."""

TYPES: Final[Mapping[str, pa.DataType]] = {
    "ints": pa.int64(),
    "floats": pa.float64(),
    "strings": pa.string(),
    "bools": pa.bool_(),
    "lists_of_ints": pa.list_(pa.int64()),
    "lists_of_floats": pa.list_(pa.float64()),
    "lists_of_strings": pa.list_(pa.string()),
    "lists_of_bools": pa.list_(pa.bool_()),
    "others": pa.bool_(),
}
"""The arrays of `FieldValues`."""

log = logging.getLogger(__name__)

PathValue: TypeAlias = tuple[str, Any]
_EXACT: Final = 2.0**53
"""Below this, floats are exact ints if they are whole."""
_INT64: Final = range(-(1 << 63), 1 << 63)

_SIMPLE_TYPES: Final = {int: "ints", float: "floats", str: "strings", bool: "bools"}

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_all = msgspec.json.Decoder(list[dict[str, Any]]).decode


class AttributeArrays:
    """The arrays of a path, being made: a value after the other, in the order of rows."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._columns: dict[str, list[Any]] = {}

    def put(self, row: int, value: Any) -> None:
        """The value of a row. A later one replaces it."""
        for column in self._columns.values():
            column[row] = None
        if isinstance(value, list):
            parts: dict[str, list[Any]] = defaultdict(list)
            for element in value:
                kind, stored = _typed(element)
                parts["others" if kind == "others" else f"lists_of_{kind}"].append(stored)
            if not value or "others" in parts:
                parts["others"] = True  # type: ignore[assignment]  # not a list
            for kind, elements in parts.items():
                self._column(kind)[row] = elements
        else:
            kind, stored = _typed(value)
            self._column(kind)[row] = stored

    def arrays(self) -> dict[str, pa.Array]:
        """The arrays, by their names in `FieldValues`."""
        return {kind: pa.array(values, TYPES[kind]) for kind, values in self._columns.items()}

    def _column(self, kind: str) -> list[Any]:
        column = self._columns.get(kind)
        if column is None:
            column = self._columns[kind] = [None] * self._rows
        return column


def attribute_columns(
    texts: Sequence[str] | None, rows: int
) -> tuple[dict[str, dict[str, pa.Array]], pa.StringArray | None]:
    """The arrays of the most frequent paths, by path; and the rest, a text per row.

    texts: the attributes of each row; None: no row has any. The rest is None if there is none.
    """
    if texts is None:
        return {}, None
    objects = _all_attributes(texts)
    arrays = _simple_columns(objects)
    others = {*chain.from_iterable(objects)} - arrays.keys()
    if not others:
        return arrays, None
    found = [
        [*flattened({key: value for key, value in each.items() if key in others})]
        for each in objects
    ]
    counts = Counter(path for values in found for path in {path for path, _ in values})
    frequent = {
        path
        for path, count in counts.most_common(max(0, MAX_COLUMNS - len(arrays)))
        if count >= rows * LEAST_SHARE and _may_be_column(path)
    }
    columns = {path: AttributeArrays(rows) for path in frequent}
    rest: list[str | None] = [None] * rows
    for row, values in enumerate(found):
        rare: list[PathValue] = []
        for path, value in values:
            if path in columns:
                columns[path].put(row, value)
            else:
                rare.append((path, value))
        if rare:
            rest[row] = rest_text(rare)
    arrays |= {path: column.arrays() for path, column in columns.items()}
    return arrays, pa.array(rest, pa.string()) if len(frequent) < len(counts) else None


def _all_attributes(texts: Sequence[str]) -> list[dict[str, Any]]:
    try:
        objects = _decode_all(f"[{','.join(texts)}]")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        objects = []
    if len(objects) != len(texts):  # a text may be damaged, and part of another then
        return [*map(_readable, texts)]
    return objects


def _readable(text: str) -> dict[str, Any]:
    """The attributes in a text; none if they cannot be read: that concerns this item alone."""
    try:
        return attributes_of(text)
    except (ValueError, RecursionError) as error:
        log.error("attributes are left out of filters: %s", error)
        return {}


def _simple_columns(objects: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, pa.Array]]:
    """The arrays of attributes whose values are of one simple type: made at once, not by value.

    Their names have no dots, so no nested object has a value of the same path.
    """
    arrays: dict[str, dict[str, pa.Array]] = {}
    counts = Counter(chain.from_iterable(objects))
    for key, count in counts.most_common(MAX_COLUMNS):
        if count < len(objects) * LEAST_SHARE or "." in key or not _may_be_column(key):
            continue
        made = arrays_of_one_type([each.get(key) for each in objects])
        if made is not None:
            arrays[key] = made
    return arrays


def arrays_of_one_type(values: Sequence[Any]) -> dict[str, pa.Array] | None:
    """The arrays of values that are all ints, floats, strings or booleans, or missing."""
    types = {*map(type, values)} - {type(None)}
    kind = _SIMPLE_TYPES.get(types.pop()) if len(types) == 1 else None
    if kind is None:
        return None
    try:
        array = pa.array(values, TYPES[kind])
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):  # more than 64 bits, ...
        return None
    if kind != "floats":
        return {kind: array}
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(pc.abs(array), _EXACT))
    ints = pc.if_else(whole, array, None).cast(pa.int64())
    floats = pc.if_else(whole, None, array)
    return {
        name: made
        for name, made in (("ints", ints), ("floats", floats))
        if made.null_count < len(made)
    }


def _may_be_column(path: str) -> bool:
    return len(path) <= MAX_PATH and _is_text(path)


def rest_text(values: Iterable[PathValue]) -> str:
    """Values that have no columns, as text."""
    return json.dumps([*values], separators=(",", ":"))


def attributes_of(text: str) -> dict[str, Any]:
    """The attributes in a JSON object, as the client reads them."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        attributes = json.loads(text)  # reads more: check_attributes knows what
        if not isinstance(attributes, dict):
            raise ValueError(f"they are not an object: {text[:64]!r}") from None
        return attributes


def flattened(attributes: Mapping[str, Any]) -> Iterator[PathValue]:
    """Each path and its value: nested objects by paths with dots, without null.

    An object itself is there, too, as an empty one: it exists.
    """
    waiting = [("", attributes)]
    while waiting:
        prefix, members = waiting.pop()
        for key, value in members.items():
            if len(prefix) + len(key) > MAX_NAME:  # no query can name it
                continue
            path = f"{prefix}{key}"
            if isinstance(value, dict):
                yield path, {}
                waiting.append((f"{path}.", value))
            elif value is not None:
                yield path, value


def _typed(value: Any) -> tuple[str, Any]:
    """The type of a value other than a list, and the value as its array holds it."""
    kind: str = "others"
    stored: Any = True
    if isinstance(value, bool):
        kind, stored = "bools", value
    elif isinstance(value, float):
        whole = abs(value) < _EXACT and value.is_integer()
        kind, stored = ("ints", int(value)) if whole else ("floats", value)
    elif isinstance(value, int) and value in _INT64:
        kind, stored = "ints", value
    elif isinstance(value, int):
        kind, stored = "floats", _nearest_float(value)
    elif isinstance(value, str) and _is_text(value):
        kind, stored = "strings", value
    return kind, stored


def _nearest_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON may hold half of a surrogate pair."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
