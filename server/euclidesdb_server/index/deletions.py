"""Deletions: which rows of a segment are deleted, as of one moment or as of now."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.row_mask import RowMask, count_set


class Deletions:
    """The rows of a segment that are not deleted, as bits. Not thread-safe.

    Searches hold the mask of their moment, so the bits are copied before the first change after
    a mask was handed out: at most once per search, 1.25 MB for ten million rows.
    """

    def __init__(self, deleted: npt.NDArray[np.uint8], rows: int) -> None:
        """deleted: one bit per row (bit `row & 7` of byte `row >> 3`)."""
        self.rows = rows
        self._alive = ~deleted
        if rows & 7:
            self._alive[-1] &= (1 << (rows & 7)) - 1
        self.alive = count_set(self._alive)
        self._mask: RowMask | None = None

    @classmethod
    def none(cls, rows: int) -> Deletions:
        """No row is deleted."""
        return cls(np.zeros((rows + 7) // 8, np.uint8), rows)

    def delete(self, row: int) -> None:
        """Delete a row; deleting it again changes nothing."""
        bit = np.uint8(1 << (row & 7))
        if self._alive[row >> 3] & bit:
            self._copy_if_shared()
            self._alive[row >> 3] &= ~bit
            self.alive -= 1

    def delete_rows(self, rows: npt.NDArray[np.int64]) -> None:
        """Delete many rows."""
        if len(rows):
            self._copy_if_shared()
            bits = np.left_shift(1, rows & 7).astype(np.uint8)
            np.bitwise_and.at(self._alive, rows >> 3, ~bits)
            self.alive = count_set(self._alive)

    def is_deleted(self, row: int) -> bool:
        """Whether a row is deleted."""
        return not self._alive[row >> 3] >> (row & 7) & 1

    def mask(self) -> RowMask | None:
        """The rows that are not deleted now; None: all of them."""
        if self.alive == self.rows:
            return None
        if self._mask is None:
            self._mask = RowMask.shared(self._alive, self.rows, self.alive)
        return self._mask

    def bits(self) -> npt.NDArray[np.uint8]:
        """One bit per row: whether it is deleted."""
        deleted = ~self._alive
        if self.rows & 7:
            deleted[-1] &= (1 << (self.rows & 7)) - 1
        return deleted

    def _copy_if_shared(self) -> None:
        if self._mask is not None:
            self._alive = self._alive.copy()
            self._mask = None
