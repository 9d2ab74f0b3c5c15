"""UnindexedRows: the rows that no segment holds yet, in a float32 array that grows.

Not thread-safe: `ModelSpace` guards it with its lock. Rows are appended and never changed, so a
view of the first n rows stays valid, without the lock, while more are appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.bounds import squared_lengths
from euclidesdb_server.index.allowed_labels import AllowedLabels
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.values.arrays import Labels, Matrix, Vector, as_labels
from euclidesdb_server.values.row_mask import RowMask

FIRST_CAPACITY: Final = 256


@dataclass(frozen=True, slots=True)
class UnindexedView:
    """The rows at one moment.

    vectors: shape (n, dim). squares: their squared lengths (`bounds.squared_lengths`). labels:
    shape (n,), in any order. ids: of the rows; the list may be longer than n. allowed: the rows not
    deleted; None: all of them.
    """

    vectors: Matrix
    squares: Vector
    labels: Labels
    ids: list[str]
    allowed: RowMask | None

    def only(self, labels: AllowedLabels) -> UnindexedView:
        """The rows that have one of some labels."""
        mask = RowMask(labels.among(self.labels))
        allowed = mask if self.allowed is None else mask & self.allowed
        return replace(self, allowed=allowed)

    def int32_only(self) -> UnindexedView:
        """The rows whose item id is the decimal form of an int32."""
        mask = RowMask(Ids.of(self.ids[: len(self.vectors)]).int32_rows())
        allowed = mask if self.allowed is None else mask & self.allowed
        return replace(self, allowed=allowed)


@dataclass(frozen=True, slots=True)
class TakenRows:
    """Rows to be written as a segment.

    rows: which of the others' rows, in the order of their labels. labels, ids, vectors: of all
    rows; they do not change any more.
    """

    rows: npt.NDArray[np.int64]
    labels: Labels
    ids: list[str]
    vectors: Matrix

    def __len__(self) -> int:
        return len(self.rows)


class UnindexedRows:
    """Rows with their labels, ids and vectors. A deleted row keeps its place."""

    def __init__(self, dim: int) -> None:
        self._vectors: Matrix = np.empty((0, dim), np.float32)
        self._squares: Vector = np.empty(0, np.float32)
        self._labels: Labels = np.empty(0, np.int64)
        self._alive: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._ids: list[str] = []
        self._row_of_label: dict[int, int] = {}

    def __len__(self) -> int:
        """The number of rows, deleted ones included."""
        return len(self._ids)

    def __contains__(self, label: int) -> bool:
        """Whether there is a row of `label` that is not deleted."""
        return label in self._row_of_label

    @property
    def alive(self) -> int:
        """The number of rows that are not deleted."""
        return len(self._row_of_label)

    def append(self, labels: Sequence[int], ids: Sequence[str], vectors: Matrix) -> None:
        """Add rows. vectors: shape (len(labels), dim)."""
        start = len(self)
        stop = start + len(ids)
        if stop > len(self._labels):
            self._grow(stop)
        self._vectors[start:stop] = vectors
        self._squares[start:stop] = squared_lengths(self._vectors[start:stop])
        self._labels[start:stop] = as_labels(labels)
        self._alive[start:stop] = True
        self._row_of_label.update(zip(labels, range(start, stop), strict=True))
        self._ids.extend(ids)

    def delete(self, label: int) -> bool:
        """Mark the row of `label` as deleted; False if there is no such row."""
        row = self._row_of_label.pop(label, None)
        if row is None:
            return False
        self._alive[row] = False
        return True

    def row(self, label: int) -> Vector | None:
        """The vector of a label that is not deleted; None if there is no such row."""
        row = self._row_of_label.get(label)
        return None if row is None else self._vectors[row]

    def view(self) -> UnindexedView:
        """The rows at this moment. The vectors are not copied."""
        count = len(self)
        any_deleted = self.alive < count
        return UnindexedView(
            self._vectors[:count],
            self._squares[:count],
            self._labels[:count],
            self._ids,
            RowMask(self._alive[:count]) if any_deleted else None,
        )

    def up_to(self, label: int) -> TakenRows:
        """The rows that are not deleted and have no greater label. They are not copied."""
        count = len(self)
        rows = np.flatnonzero(self._alive[:count] & (self._labels[:count] <= label))
        rows = rows[np.argsort(self._labels[rows], kind="stable")]
        return TakenRows(rows, self._labels, self._ids, self._vectors)

    def after(self, label: int) -> UnindexedRows:
        """A copy of the rows that are not deleted and have a greater label."""
        count = len(self)
        rows = np.flatnonzero(self._alive[:count] & (self._labels[:count] > label))
        rest = UnindexedRows(self._vectors.shape[1])
        labels: list[int] = self._labels[rows].tolist()
        rest.append(labels, [self._ids[row] for row in rows.tolist()], self._vectors[rows])
        return rest

    def _grow(self, needed: int) -> None:
        # new arrays: views refer to the old ones
        count = len(self)
        # the system allocates memory only for what has been written
        capacity = max(FIRST_CAPACITY, needed, 2 * len(self._labels))
        vectors = np.empty((capacity, self._vectors.shape[1]), np.float32)
        squares = np.empty(capacity, np.float32)
        labels = np.empty(capacity, np.int64)
        alive = np.zeros(capacity, np.bool_)
        vectors[:count] = self._vectors[:count]
        squares[:count] = self._squares[:count]
        labels[:count] = self._labels[:count]
        alive[:count] = self._alive[:count]
        self._vectors, self._squares = vectors, squares
        self._labels, self._alive = labels, alive
