"""The order of items: by the time when they were added, or by the value of a field.

Numbers come before strings, and these before booleans; descending, the other way around. Items
without such a value come last, always. Equal ones are in the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.columns.table_view import RowNumbers, Selection
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.filters import Field

NUMBERS: Final = 0
STRINGS: Final = 1
BOOLS: Final = 2
NO_VALUE: Final = 3

T = TypeVar("T")
Key: TypeAlias = tuple[int, float | str, int, int]
"""The place of an item: the kind of its value, the value, what a float of it leaves of an int, and
the label of the item's first write."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """field: None: the order in which items were first added."""

    field: Field | None = None
    descending: bool = False

    def page(
        self, selection: Selection, count: int, after: Key | None
    ) -> tuple[RowNumbers, Key | None]:
        """The numbers of the next `count` items, in order.

        Also the place of the last of them; None if no item comes after it. after: the place of the
        item before the first one.
        """
        parts: list[tuple[int, _Group, npt.NDArray[np.int64]]] = []
        wanted = count + 1
        for kind, group in self._groups(selection):
            if after is not None and self._rank(kind) < self._rank(after[0]):
                continue
            if after is not None and kind == after[0]:
                group = group.after(after, descending=self.descending)  # noqa: PLW2901  what is left
            places = group.first(wanted, descending=self.descending)
            if len(places):
                parts.append((kind, group, places))
                wanted -= len(places)
            if not wanted:
                break
        numbers = _joined([group.numbers[places] for _, group, places in parts])
        if wanted:
            return numbers, None
        kind, group, places = parts[-1] if len(parts[-1][2]) > 1 else parts[-2]
        place = places[-2] if len(parts[-1][2]) > 1 else places[-1]
        return numbers[:count], group.key(kind, int(place))

    def _rank(self, kind: int) -> int:
        return -kind if self.descending and kind != NO_VALUE else kind

    def _groups(self, selection: Selection) -> Iterator[tuple[int, _Group]]:
        everything = np.arange(len(selection))
        if self.field is None:
            yield NO_VALUE, _Group(everything, selection.added, _Added())
            return
        values = selection.values(self.field)
        lengths = [len(rows) for _, rows in selection.parts]
        kinds = sorted((NUMBERS, STRINGS, BOOLS), key=self._rank)
        rest = np.ones(len(selection), np.bool_)
        for kind in kinds:
            found = _VALUES[kind](values, lengths)
            if found is None:
                continue
            present, column = found
            rest &= ~present
            yield kind, _Group(everything[present], selection.added[present], column)
        yield NO_VALUE, _Group(everything[rest], selection.added[rest], _Unordered())


@dataclass(frozen=True, slots=True)
class _Numbers:
    """values: as floats. rest: what these leave of ints, so that all are compared exactly."""

    values: npt.NDArray[np.float64]
    rest: npt.NDArray[np.int64]

    def take(self, places: npt.NDArray[Any]) -> _Numbers:
        return _Numbers(self.values[places], self.rest[places])

    def after(self, key: Key, added: Labels, *, descending: bool) -> npt.NDArray[np.bool_]:
        _, value, rest, label = key
        if not isinstance(value, float):
            return np.zeros(len(added), np.bool_)
        sign = -1 if descending else 1
        beyond = sign * self.values > sign * value
        same = self.values == value
        later = (sign * self.rest > sign * rest) | ((self.rest == rest) & (added > label))
        after: npt.NDArray[np.bool_] = beyond | (same & later)
        return after

    def order(self, added: Labels, count: int, *, descending: bool) -> npt.NDArray[np.int64]:
        values, rest = (-self.values, -self.rest) if descending else (self.values, self.rest)
        near = np.arange(len(values))
        if count < len(values):
            near = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
        order: npt.NDArray[np.int64] = near[np.lexsort((added[near], rest[near], values[near]))]
        return order[:count]

    def at(self, place: int) -> tuple[float | str, int]:
        return float(self.values[place]), int(self.rest[place])


@dataclass(frozen=True, slots=True)
class _Strings:
    values: pa.StringArray

    def take(self, places: npt.NDArray[Any]) -> _Strings:
        return _Strings(self.values.take(pa.array(places)))

    def after(self, key: Key, added: Labels, *, descending: bool) -> npt.NDArray[np.bool_]:
        if not isinstance(key[1], str):
            return np.zeros(len(added), np.bool_)
        compare = pc.less if descending else pc.greater
        beyond = compare(self.values, key[1]).to_numpy(zero_copy_only=False)
        same = pc.equal(self.values, key[1]).to_numpy(zero_copy_only=False)
        after: npt.NDArray[np.bool_] = beyond | (same & (added > key[3]))
        return after

    def order(self, added: Labels, count: int, *, descending: bool) -> npt.NDArray[np.int64]:
        table = pa.table({"value": self.values, "added": pa.array(added)})
        direction = "descending" if descending else "ascending"
        keys = [("value", direction), ("added", "ascending")]
        order: npt.NDArray[np.int64] = (
            pc.select_k_unstable(table, min(count, len(added)), sort_keys=keys)
            .to_numpy()
            .astype(np.int64)
        )
        return order

    def at(self, place: int) -> tuple[float | str, int]:
        return self.values[place].as_py(), 0


class _Unordered:
    """Items without a value: in the order in which they were added, whatever the direction."""

    def take(self, places: npt.NDArray[Any]) -> _Unordered:  # noqa: ARG002  of no use here
        return self

    def after(self, key: Key, added: Labels, *, descending: bool) -> npt.NDArray[np.bool_]:  # noqa: ARG002
        after: npt.NDArray[np.bool_] = added > key[3]
        return after

    def order(self, added: Labels, count: int, *, descending: bool) -> npt.NDArray[np.int64]:  # noqa: ARG002
        return _smallest(added, count)

    def at(self, place: int) -> tuple[float | str, int]:  # noqa: ARG002
        return "", 0


class _Added(_Unordered):
    """As `_Unordered`, in both directions."""

    def after(self, key: Key, added: Labels, *, descending: bool) -> npt.NDArray[np.bool_]:
        return added < key[3] if descending else added > key[3]

    def order(self, added: Labels, count: int, *, descending: bool) -> npt.NDArray[np.int64]:
        return _smallest(-added if descending else added, count)


@dataclass(frozen=True, slots=True)
class _Group:
    """Items whose values are of one kind. numbers: of the items. column: their values."""

    numbers: RowNumbers
    added: Labels
    column: _Numbers | _Strings | _Unordered

    def after(self, key: Key, *, descending: bool) -> _Group:
        places = np.flatnonzero(self.column.after(key, self.added, descending=descending))
        return _Group(self.numbers[places], self.added[places], self.column.take(places))

    def first(self, count: int, *, descending: bool) -> npt.NDArray[np.int64]:
        if not len(self.numbers):
            return np.empty(0, np.int64)
        return self.column.order(self.added, count, descending=descending)

    def key(self, kind: int, place: int) -> Key:
        value, rest = self.column.at(place)
        return kind, value, rest, int(self.added[place])


def _joined(parts: Sequence[RowNumbers]) -> RowNumbers:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _smallest(values: Labels, count: int) -> npt.NDArray[np.int64]:
    near = np.arange(len(values))
    if count < len(values):
        near = np.argpartition(values, count - 1)[:count]
    order: npt.NDArray[np.int64] = near[np.argsort(values[near])]
    return order


def _numbers(
    parts: Sequence[FieldValues], lengths: Sequence[int]
) -> tuple[npt.NDArray[np.bool_], _Numbers] | None:
    present, values, rests = [], [], []
    for part, length in zip(parts, lengths, strict=True):
        there = np.zeros(length, np.bool_)
        value, rest = np.zeros(length), np.zeros(length, np.int64)
        if part.ints is not None:
            rows = part.ints.is_valid().to_numpy(zero_copy_only=False)
            ints = part.ints.drop_null().to_numpy()
            there |= rows
            value[rows] = ints
            rest[rows] = _left_by_float(ints)
        if part.floats is not None:
            rows = part.floats.is_valid().to_numpy(zero_copy_only=False)
            there |= rows
            value[rows] = part.floats.drop_null().to_numpy()
        present.append(there)
        values.append(value[there])
        rests.append(rest[there])
    return _found(present, lambda: _Numbers(np.concatenate(values), np.concatenate(rests)))


def _left_by_float(ints: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each int minus its nearest float."""
    floats = ints.astype(np.float64)
    too_large = floats >= 2.0**63  # does not fit into an int64
    rest: npt.NDArray[np.int64] = ints - np.where(too_large, 0, floats).astype(np.int64)
    rest[too_large] = ints[too_large] - np.int64((1 << 63) - 1) - 1
    return rest


def _strings(
    parts: Sequence[FieldValues], lengths: Sequence[int]
) -> tuple[npt.NDArray[np.bool_], _Strings] | None:
    present, values = [], []
    for part, length in zip(parts, lengths, strict=True):
        if part.strings is None:
            present.append(np.zeros(length, np.bool_))
        else:
            present.append(part.strings.is_valid().to_numpy(zero_copy_only=False))
            values.append(part.strings.drop_null())
    return _found(present, lambda: _Strings(pa.concat_arrays(values)))


def _bools(
    parts: Sequence[FieldValues], lengths: Sequence[int]
) -> tuple[npt.NDArray[np.bool_], _Numbers] | None:
    present, values = [], []
    for part, length in zip(parts, lengths, strict=True):
        if part.bools is None:
            present.append(np.zeros(length, np.bool_))
        else:
            present.append(part.bools.is_valid().to_numpy(zero_copy_only=False))
            found = part.bools.drop_null().to_numpy(zero_copy_only=False)
            values.append(found.astype(np.float64))

    def joined() -> _Numbers:
        floats = np.concatenate(values)
        return _Numbers(floats, np.zeros(len(floats), np.int64))

    return _found(present, joined)


def _found(
    present: Sequence[npt.NDArray[np.bool_]], join: Callable[[], T]
) -> tuple[npt.NDArray[np.bool_], T] | None:
    there = np.concatenate(present) if present else np.empty(0, np.bool_)
    return (there, join()) if there.any() else None


_VALUES: Final = {NUMBERS: _numbers, STRINGS: _strings, BOOLS: _bools}
