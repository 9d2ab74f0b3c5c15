"""UnindexedRows: the rows that no segment holds yet, in a float32 array that grows.

Not thread-safe: `ModelSpace` guards it. Rows are appended and never changed, so a view of
the first n stays valid while more are appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.bounds import squared_lengths
from euclidesdb_server.values.arrays import Labels, Matrix, Vector
from euclidesdb_server.values.row_mask import RowMask

FIRST_CAPACITY: Final = 256


@dataclass(frozen=True, slots=True)
class UnindexedView:
    """The rows of one moment. ids: may be longer. allowed: None where no row is deleted.

    squares: of the lengths of the vectors (`bounds.squared_lengths`).
    """

    vectors: Matrix
    squares: Vector
    ids: list[str]
    allowed: RowMask | None


class UnindexedRows:
    """Appended rows with labels and ids; a row may be deleted, and stays in place then."""

    def __init__(self, dim: int) -> None:
        self._vectors: Matrix = np.empty((0, dim), np.float32)
        self._squares: Vector = np.empty(0, np.float32)
        self._labels: Labels = np.empty(0, np.int64)
        self._alive: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._ids: list[str] = []
        self._row_of_label: dict[int, int] = {}

    def __len__(self) -> int:
        """Rows, deleted ones included."""
        return len(self._ids)

    @property
    def alive(self) -> int:
        """Rows that are not deleted."""
        return len(self._row_of_label)

    def append(self, labels: Sequence[int], ids: Sequence[str], vectors: Matrix) -> None:
        """Add rows."""
        start = len(self)
        stop = start + len(ids)
        if stop > len(self._labels):
            self._grow(stop)
        self._vectors[start:stop] = vectors
        self._squares[start:stop] = squared_lengths(self._vectors[start:stop])
        self._labels[start:stop] = labels
        self._alive[start:stop] = True
        self._row_of_label.update(zip(labels, range(start, stop), strict=True))
        self._ids.extend(ids)

    def delete(self, label: int) -> bool:
        """Mark the row of `label` dead; False where there is no such row."""
        row = self._row_of_label.pop(label, None)
        if row is None:
            return False
        self._alive[row] = False
        return True

    def view(self) -> UnindexedView:
        """The rows as they stand now, their vectors uncopied."""
        count = len(self)
        dead = self.alive < count
        return UnindexedView(
            self._vectors[:count],
            self._squares[:count],
            self._ids,
            RowMask(self._alive[:count]) if dead else None,
        )

    def after(self, label: int) -> UnindexedRows:
        """A copy of the rows that are alive and have a greater label."""
        count = len(self)
        rows = np.flatnonzero(self._alive[:count] & (self._labels[:count] > label))
        rest = UnindexedRows(self._vectors.shape[1])
        labels: list[int] = self._labels[rows].tolist()
        rest.append(labels, [self._ids[row] for row in rows.tolist()], self._vectors[rows])
        return rest

    def _grow(self, needed: int) -> None:
        # new arrays, so that views handed out keep the old ones
        count = len(self)
        # what is not written yet takes no memory
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
