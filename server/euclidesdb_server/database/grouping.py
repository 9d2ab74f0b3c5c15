"""Grouping: at most so many results with each value of a field.

The values are those of the columns of items, at the moment of the search. A value that is a list or
an object, and null, count as no value. Items without a value are a group, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from euclidesdb_server.columns.table_view import TableView
from euclidesdb_server.database.attribute_paths import value_at
from euclidesdb_server.database.candidates import Candidate
from euclidesdb_server.database.top_labels import label_name
from euclidesdb_server.store import ItemRecord, StoreReader
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.filters import Attribute, Field, ItemId, Prediction, Scalar

KINDS: Final = (("ints", "number"), ("floats", "number"), ("strings", "string"), ("bools", "bool"))

Group: TypeAlias = tuple[str, Scalar] | None
"""What identifies a group: the type and the value. 1 and 1.0 are one group, 1 and true are two."""

_INT64: Final = range(-(1 << 63), 1 << 63)


class Grouping:
    """Limits the results of each group. For one call.

    view: of the items, of the same moment as the rows that are grouped. space: the number of that
    of the vectors. max_per_group: at least 1.
    """

    def __init__(self, view: TableView, space: int, field: Field, max_per_group: int) -> None:
        self._view = view
        self._space = space
        self._field = field
        self._max_per_group = max_per_group

    def limited(
        self, candidates: Sequence[Candidate], labels: Labels, count: int
    ) -> list[Candidate]:
        """The first `count` candidates of which no more than permitted are in one group.

        labels: of the vectors of the candidates.
        """
        chosen: list[Candidate] = []
        counts: Counter[Group] = Counter()
        for candidate, group in zip(candidates, self._groups(labels), strict=True):
            if len(chosen) == count:
                break
            if counts[group] < self._max_per_group:
                counts[group] += 1
                chosen.append(candidate)
        return chosen

    def _groups(self, labels: Labels) -> list[Group]:
        groups: list[Group] = [None] * len(labels)
        for places, values in self._view.values_of_vectors(self._space, labels, self._field):
            for kind, name in KINDS:
                column = getattr(values, kind)
                if column is None:
                    continue
                for place, value in zip(places.tolist(), column.to_pylist(), strict=True):
                    if value is not None:
                        groups[place] = name, value
        return groups

    def value(self, reader: StoreReader, item_id: str, record: ItemRecord) -> Scalar | None:
        """The value of the field; None if the item has none."""
        match self._field:
            case ItemId():
                return item_id
            case Attribute(path):
                return _scalar(value_at(record.attributes_json, path))
            case Prediction(space, _, labels):
                label = record.labels.get(space)
                predictions = None if label is None else reader.predictions(space, label)
                if predictions is None or not len(predictions):
                    return None
                best = int(np.argmax(predictions))
                return label_name(best, labels) if labels else best


def _scalar(value: Any) -> Scalar | None:
    """A value of JSON as a field has it."""
    match value:
        case bool():
            return value
        case int():
            return value if value in _INT64 else _float(value)
        case float():
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case str():
            return value if _is_text(value) else None
        case _:
            return None


def _float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON may hold half of a surrogate pair."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
