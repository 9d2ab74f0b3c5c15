"""Block: the columns of some items. Immutable; in memory, or a file that is mapped into it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from euclidesdb_server.columns.attribute_columns import TYPES, attribute_columns
from euclidesdb_server.columns.class_filters import by_class
from euclidesdb_server.columns.evaluation import RowFilter
from euclidesdb_server.columns.field_values import FieldValues, SparseValues
from euclidesdb_server.columns.prediction_columns import (
    CLASSES,
    class_values,
    prediction_arrays,
)
from euclidesdb_server.columns.rest_values import rest_values
from euclidesdb_server.columns.state_column import state_columns, states
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.filters import (
    Attribute,
    Field,
    Filter,
    ItemId,
    Prediction,
    PredictionValue,
)
from euclidesdb_server.values.predicted import Predicted
from euclidesdb_server.values.stop import CheckStop, never_stop

LABEL: Final = "label"
ID: Final = "id"
ADDED: Final = "added"
REST: Final = "rest"
ATTRIBUTE: Final = "@"
"""What the name of a column of an attribute begins with: `@type:path`."""
_CACHED_MASKS: Final = 8

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BlockRows:
    """What a block is made of; all of the same length.

    labels: of each item's last write, in any order. ids. added: the label of each item's first
    write. attributes: as JSON; None: no item has any. vectors: by space, the label of each item's
    vector, 0 if it has none. predictions: by space, of some rows. failed: by space, the rows on
    which its model failed.
    """

    labels: Labels
    ids: Sequence[str]
    added: Labels
    attributes: Sequence[str] | None
    vectors: Mapping[int, Labels]
    predictions: Mapping[int, tuple[npt.NDArray[np.int64], Predicted]]
    failed: Mapping[int, Sequence[int]] = field(default_factory=dict)


class BlockFilter:
    """A filter, prepared once for many blocks. key: tells it from all others."""

    def __init__(self, condition: Filter) -> None:
        # not the filter itself: it equals others, as True equals 1
        self.key = hashlib.blake2b(repr(condition).encode(errors="surrogatepass")).digest()
        self.prepared = RowFilter(by_class(condition))


class Block:
    """Rows of items, in the order of their labels.

    labels: of the write that each row stands for. added: the label of the item's first write; no
    two items have the same.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.labels: Labels = batch.column(LABEL).to_numpy()
        self.added: Labels = batch.column(ADDED).to_numpy()
        self._paths = attribute_paths(batch.schema)
        self._masks: LRUCache[bytes, npt.NDArray[np.uint8]] = LRUCache(_CACHED_MASKS)
        self._kept: dict[int, tuple[Labels, npt.NDArray[np.int64]]] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, rows: BlockRows) -> Block:
        """Make a block."""
        order = np.argsort(rows.labels, kind="stable")
        columns: dict[str, pa.Array] = {
            LABEL: pa.array(rows.labels, pa.int64()),
            ID: pa.array(rows.ids, pa.string()),
            ADDED: pa.array(rows.added, pa.int64()),
        }
        for space, labels in rows.vectors.items():
            columns[_space_column(space, "vector")] = pa.array(labels, pa.int64())
        for space, (places, found) in rows.predictions.items():
            for kind, array in prediction_arrays(places, found, len(rows.ids)).items():
                columns[_space_column(space, kind)] = array
        for space, failed in rows.failed.items():
            mask = np.zeros(len(rows.ids), np.bool_)
            mask[failed] = True
            columns[_space_column(space, "failed")] = pa.array(mask)
        attributes, rest = attribute_columns(rows.attributes, len(rows.ids))
        for path, arrays in attributes.items():
            for kind, array in arrays.items():
                columns[_attribute_column(kind, path)] = array
        if rest is not None:
            columns[REST] = rest
        batch = pa.RecordBatch.from_pydict(columns)
        in_order = bool((np.diff(order) == 1).all())
        return cls(batch if in_order else batch.take(pa.array(order)))

    def __len__(self) -> int:
        return len(self.labels)

    def values(self, field: Field) -> FieldValues:
        """As `Columns.values`."""
        match field:
            case ItemId():
                return FieldValues(strings=self.batch.column(ID))
            case Prediction():
                return self._predicted(field)
            case Attribute(path):
                columns = self._of_columns(path)
                rest = self._of_rest([field], never_stop).get(field)
                return columns if rest is None else _combined(columns, rest.in_all(len(self)))

    def attribute_names(self) -> Iterable[str]:
        """The paths of the attributes that have columns."""
        return self._paths

    def has_attribute(self, path: str) -> bool:
        """Whether a row has an attribute; deleted ones count, too."""
        if path in self._paths:
            return True
        if REST not in self.batch.schema.names:
            return False
        # a text with such a name in it, although perhaps in a value
        name = json.dumps(path)
        return bool(pc.any(pc.match_substring(self.batch.column(REST), name)).as_py())

    def matching(self, condition: BlockFilter, check: CheckStop = never_stop) -> Mask:
        """The rows that match a filter; deleted ones, too. Those of the last filters are kept."""
        with self._lock:
            bits = self._masks.get(condition.key)
        if bits is not None:
            return np.unpackbits(bits, count=len(self)).view(np.bool_)
        sparse = self._of_rest(condition.prepared.fields, check)
        mask = condition.prepared.matching(_WithoutRest(self), check, sparse)
        with self._lock:
            self._masks[condition.key] = np.packbits(mask)
        return mask

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of rows."""
        ids: list[str] = self.batch.column(ID).take(pa.array(rows)).to_pylist()
        return ids

    def vector_labels(self, space: int) -> Labels | None:
        """The label of each row's vector in a space, 0 if there is none; None: no row has one."""
        name = _space_column(space, "vector")
        if name not in self.batch.schema.names:
            return None
        labels: Labels = self.batch.column(name).to_numpy()
        return labels

    def row_of(self, label: int) -> int | None:
        """The row of a label; None if there is none."""
        row = int(np.searchsorted(self.labels, label))
        return row if row < len(self.labels) and self.labels[row] == label else None

    def values_at(self, field: Field, rows: npt.NDArray[np.int64]) -> FieldValues:
        """The values of a field in some rows."""
        match field:
            case ItemId():
                names = {ID}
            case Attribute(path):
                names = {*self._paths.get(path, {}).values(), REST}
            case Prediction(value=PredictionValue.STATE):
                names = state_columns(field)
            case Prediction(space, value, _):
                names = {_space_column(space, "top" if value in CLASSES else value.value)}
        names &= {*self.batch.schema.names}
        picked = self.batch.select([LABEL, ADDED, *names]).take(pa.array(rows))
        return Block(picked).values(field)

    def rows_of_vectors(self, space: int, labels: Labels) -> npt.NDArray[np.int64]:
        """The newest row with each vector, by its label in a space; -1 if there is none."""
        rows = np.full(len(labels), -1, np.int64)
        own = self.vector_labels(space)
        if own is None or not len(own):
            return rows
        # most vectors were made by the last write of their item
        places = np.minimum(np.searchsorted(self.labels, labels), len(own) - 1)
        same = own[places] == labels
        rows[same] = places[same]
        kept, kept_rows = self._kept_vectors(space, own)
        if len(kept):
            places = np.searchsorted(kept, labels, side="right") - 1
            same = (places >= 0) & (kept[places] == labels)
            rows[same] = kept_rows[places[same]]
        return rows

    def _kept_vectors(self, space: int, own: Labels) -> tuple[Labels, npt.NDArray[np.int64]]:
        """The vectors that are older than the last write of their item, and the rows of these."""
        with self._lock:
            found = self._kept.get(space)
        if found is None:
            rows = np.flatnonzero((own > 0) & (own != self.labels))
            order = np.argsort(own[rows], kind="stable")  # of one vector, the newest row comes last
            found = own[rows][order], rows[order]
            with self._lock:
                self._kept[space] = found
        return found

    def values_in_columns(self, field: Field) -> FieldValues:
        """As `values`, without those that are kept as text."""
        return self._of_columns(field.path) if isinstance(field, Attribute) else self.values(field)

    def _of_columns(self, path: str) -> FieldValues:
        names = self._paths.get(path, {})
        return FieldValues(**{kind: self.batch.column(name) for kind, name in names.items()})

    def _of_rest(self, fields: Iterable[Field], check: CheckStop) -> dict[Field, SparseValues]:
        """The values that are kept as text."""
        paths = [field.path for field in fields if isinstance(field, Attribute)]
        if not paths or REST not in self.batch.schema.names:
            return {}
        found = rest_values(self.batch.column(REST), paths, check)
        return {Attribute(path): values for path, values in found.items()}

    def _predicted(self, field: Prediction) -> FieldValues:
        if field.value is PredictionValue.STATE:
            return FieldValues(strings=states(self.batch, field))
        if field.value is PredictionValue.VECTOR:
            labels = self.vector_labels(field.space)
            if labels is None:
                return FieldValues()
            present = pa.array(labels > 0)
            return FieldValues(others=pc.if_else(present, present, None))
        kind = "top" if field.value in CLASSES else field.value.value
        name = _space_column(field.space, kind)
        if name not in self.batch.schema.names:
            return FieldValues()
        column = self.batch.column(name)
        if field.value not in CLASSES:
            return FieldValues(floats=column)
        return class_values(column, field)


class _WithoutRest:
    """The columns of a block, as `Columns`."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def __len__(self) -> int:
        return len(self._block)

    def values(self, field: Field) -> FieldValues:
        return self._block.values_in_columns(field)


def _combined(columns: FieldValues, rest: FieldValues) -> FieldValues:
    """Values from columns and from the rest; no row has both."""
    combined = {}
    for kind in TYPES:
        arrays = [array for each in (columns, rest) if (array := getattr(each, kind)) is not None]
        if arrays:
            combined[kind] = pc.coalesce(*arrays) if len(arrays) > 1 else arrays[0]
    return FieldValues(**combined)


def attribute_paths(schema: pa.Schema) -> dict[str, dict[str, str]]:
    """The columns of each path of attributes: their names by type."""
    paths: dict[str, dict[str, str]] = {}
    for name in schema.names:
        if name.startswith(ATTRIBUTE):
            kind, path = name[1:].split(":", 1)
            paths.setdefault(path, {})[kind] = name
    return paths


def _attribute_column(kind: str, path: str) -> str:
    return f"{ATTRIBUTE}{kind}:{path}"


def _space_column(space: int, kind: str) -> str:
    return f"{space}:{kind}"
