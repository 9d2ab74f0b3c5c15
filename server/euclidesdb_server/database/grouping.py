"""Grouping: at most so many results with each value of a field.

The value is read from the item's record, or from its predictions: the label of the most probable
class, or its number if the labels are not known. A value that is a list or an
object, and null, count as no value. Items without a value are a group, too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeAlias

import numpy as np

from euclidesdb_server.database.attribute_paths import value_at
from euclidesdb_server.database.candidates import Candidate
from euclidesdb_server.database.top_labels import label_name
from euclidesdb_server.store import FeatureStore, ItemRecord, StoreReader
from euclidesdb_server.values.filters import Attribute, Field, ItemId, Prediction, Scalar

READS_PER_CHECK: Final = 256
"""Of records, between two checks of whether the caller still waits: a few milliseconds."""
MAX_KNOWN: Final = 100_000
"""Items whose group is remembered during a call."""
SHORT: Final = 64
"""Characters; of longer values, the digest stands for a group."""

Group: TypeAlias = tuple[str, Scalar | bytes | None]
"""What identifies a group: the type and the value. 1 and 1.0 are one group, 1 and true are two."""

_INT64: Final = range(-(1 << 63), 1 << 63)


class Grouping:
    """Limits the results of each group. For one call.

    max_per_group: at least 1.
    """

    def __init__(self, store: FeatureStore, field: Field, max_per_group: int) -> None:
        self._store = store
        self._field = field
        self._max_per_group = max_per_group
        self._known: dict[str, Group] = {}

    def limited(
        self,
        candidates: Iterable[Candidate],
        count: int,
        gone: Collection[str],
        check: Callable[[], None],
    ) -> list[Candidate]:
        """The first `count` candidates of which no more than permitted are in one group.

        Items that have been removed meanwhile are left out. check: called from time to time; may
        raise to stop.
        """
        chosen: list[Candidate] = []
        counts: Counter[Group] = Counter()
        with self._store.snapshot() as reader:
            for read, candidate in enumerate(candidates, 1):
                if len(chosen) == count:
                    break
                if read % READS_PER_CHECK == 0:
                    check()
                if candidate.id in gone or (group := self._group(reader, candidate.id)) is None:
                    continue
                if counts[group] < self._max_per_group:
                    counts[group] += 1
                    chosen.append(candidate)
        return chosen

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

    def _group(self, reader: StoreReader, item_id: str) -> Group | None:
        """The group of an item; None if the item is not stored any more."""
        group = self._known.get(item_id)
        if group is None:
            record = reader.item(item_id)
            if record is None:
                return None
            if len(self._known) == MAX_KNOWN:
                self._known.clear()
            group = self._known[item_id] = _group_of(self.value(reader, item_id, record))
        return group


def _group_of(value: Scalar | None) -> Group:
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", value
    if isinstance(value, str) and len(value) > SHORT:
        return "long", hashlib.sha256(value.encode()).digest()
    return "other", value


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
