"""RowMask: which rows of a segment a search may return."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class RowMask:
    """An immutable set of the rows of a segment that a search may return.

    Kept as bits (bit `row & 7` of byte `row >> 3`), which is what faiss takes.
    """

    __slots__ = ("bits", "count", "size")

    def __init__(self, allowed: npt.NDArray[np.bool_]) -> None:
        bits = np.packbits(allowed, bitorder="little")
        self._set(bits, len(allowed), int(np.count_nonzero(allowed)))

    @classmethod
    def shared(cls, bits: npt.NDArray[np.uint8], size: int, count: int) -> RowMask:
        """The mask of `size` rows given as `bits`, of which `count` are set.

        The caller must not change `bits` any more; those past the last row must be 0.
        """
        mask = cls.__new__(cls)
        mask._set(bits, size, count)
        return mask

    def __and__(self, other: RowMask) -> RowMask:
        """The rows that both allow."""
        bits = self.bits & other.bits
        return RowMask.shared(bits, self.size, count_set(bits))

    def _set(self, bits: npt.NDArray[np.uint8], size: int, count: int) -> None:
        bits.setflags(write=False)
        self.bits = bits
        self.size = size
        self.count = count

    def allows(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each of `rows` may be returned; rows may have any shape, and must be < size."""
        bits: npt.NDArray[np.uint8] = self.bits[rows >> 3] >> (rows & 7).astype(np.uint8)
        return (bits & 1).view(np.bool_)

    def as_bool(self) -> npt.NDArray[np.bool_]:
        """Bool, shape (size,): True where the row may be returned."""
        return np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_)

    def rows(self) -> npt.NDArray[np.int64]:
        """The allowed rows, ascending."""
        return np.flatnonzero(self.as_bool())


def count_set(bits: npt.NDArray[np.uint8]) -> int:
    """How many bits are set."""
    return int(np.count_nonzero(np.unpackbits(bits)))
