"""FreshRows: the rows that no segment holds yet, in a float32 array that grows.

Not thread-safe: `ModelSpace` guards it. Rows are appended and never changed, so a view of
the first n stays valid while more are appended.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.types import Labels, Matrix, Vector

FIRST_CAPACITY: Final = 256


class FreshRows:
    """Appended rows with their labels; a row may be buried, and stays in place then."""

    def __init__(self, dim: int) -> None:
        self._vectors: Matrix = np.empty((0, dim), np.float32)
        self._labels: Labels = np.empty(0, np.int64)
        self._alive: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._row_of_label: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        """Rows, buried ones included."""
        return self._count

    @property
    def alive(self) -> int:
        """Rows that are not buried."""
        return len(self._row_of_label)

    def append(self, label: int, vector: Vector) -> None:
        """Add a row."""
        if self._count == len(self._labels):
            self._grow()
        row = self._count
        self._vectors[row] = vector
        self._labels[row] = label
        self._alive[row] = True
        self._row_of_label[label] = row
        self._count += 1

    def bury(self, label: int) -> bool:
        """Mark the row of `label` dead; False where there is no such row."""
        row = self._row_of_label.pop(label, None)
        if row is None:
            return False
        self._alive[row] = False
        return True

    def vectors(self) -> Matrix:
        """The rows as they stand now, shape (len, dim); a view."""
        return self._vectors[: self._count]

    def labels(self) -> Labels:
        """The labels as they stand now, shape (len,); a view."""
        return self._labels[: self._count]

    def alive_rows(self) -> npt.NDArray[np.bool_] | None:
        """Bool, shape (len,), a copy; None where no row is buried."""
        if self.alive == self._count:
            return None
        return self._alive[: self._count].copy()

    def after(self, label: int) -> FreshRows:
        """A copy of the rows that are alive and have a greater label."""
        rest = FreshRows(self._vectors.shape[1])
        for row in np.flatnonzero(self._alive[: self._count] & (self.labels() > label)):
            rest.append(int(self._labels[row]), self._vectors[row])
        return rest

    def _grow(self) -> None:
        # new arrays, so that views handed out keep the old ones
        capacity = max(FIRST_CAPACITY, len(self._labels) + len(self._labels) // 2)
        vectors = np.empty((capacity, self._vectors.shape[1]), np.float32)
        labels = np.empty(capacity, np.int64)
        alive = np.zeros(capacity, np.bool_)
        vectors[: self._count] = self.vectors()
        labels[: self._count] = self.labels()
        alive[: self._count] = self._alive[: self._count]
        self._vectors, self._labels, self._alive = vectors, labels, alive
