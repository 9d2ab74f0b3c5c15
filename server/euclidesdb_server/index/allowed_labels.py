"""AllowedLabels: a set of labels that a search is restricted to."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.row_mask import RowMask

FEW: Final = 64
"""With less than one label for so many rows, labels are looked up in the rows."""
MAX_SPARSITY: Final = 64
"""A table of all labels in between may have so many times as many entries as there are labels."""
SMALL_TABLE: Final = 1 << 20


class AllowedLabels:
    """Labels, in any order, each once. Threads may share it."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def mask(self, labels: Labels) -> RowMask:
        """Those among the rows with these labels, which ascend."""
        if len(self._labels) * FEW < len(labels):
            allowed = np.zeros(len(labels), np.bool_)
            wanted = self._sorted
            wanted = wanted[(wanted >= labels[0]) & (wanted <= labels[-1])]
            places = np.searchsorted(labels, wanted)
            allowed[places[labels[places] == wanted]] = True
            return RowMask(allowed)
        if len(labels) and labels[-1] - labels[0] == len(labels) - 1 and self._table is not None:
            return RowMask(self._among_successive(int(labels[0]), len(labels), *self._table))
        return RowMask(self.among(labels))

    @staticmethod
    def _among_successive(
        start: int, count: int, first: int, entries: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """As `among`, of `count` labels from `start` on, in a quarter of the time."""
        allowed = np.zeros(count, np.bool_)
        low, high = max(start, first), min(start + count, first + len(entries))
        if low < high:
            allowed[low - start : high - start] = entries[low - first : high - first]
        return allowed

    def among(self, labels: Labels) -> npt.NDArray[np.bool_]:
        """Whether each of some labels, in any order, is allowed."""
        if not len(self._labels):
            return np.zeros(len(labels), np.bool_)
        table = self._table
        if table is None:
            wanted = self._sorted
            places = np.minimum(np.searchsorted(wanted, labels), len(wanted) - 1)
            found: npt.NDArray[np.bool_] = wanted[places] == labels
            return found
        first, entries = table
        places = labels - first
        inside = (places >= 0) & (places < len(entries))
        if inside.all():
            return entries[places]
        allowed = np.zeros(len(labels), np.bool_)
        allowed[inside] = entries[places[inside]]
        return allowed

    @cached_property
    def _sorted(self) -> Labels:
        return np.sort(self._labels)

    @cached_property
    def _table(self) -> tuple[int, npt.NDArray[np.bool_]] | None:
        """The first label, and for each from it on whether it is allowed; None if most are not."""
        first, last = int(self._labels.min()), int(self._labels.max())
        size = last - first + 1
        if size > max(SMALL_TABLE, MAX_SPARSITY * len(self._labels)):
            return None
        entries = np.zeros(size, np.bool_)
        entries[self._labels - first] = True
        return first, entries
