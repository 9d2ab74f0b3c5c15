"""RowBlock: some rows on their way into a segment, whatever they come from.

A segment is written from blocks of bounded size, so that writing one takes no memory that grows
with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.unindexed_rows import TakenRows
from euclidesdb_server.store import StoredRows
from euclidesdb_server.values.arrays import Labels, Matrix
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

BLOCK_BYTES = 4 << 20
"""Of vectors in a block."""


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows in the order of their labels.

    rows: which of `ids` are theirs; None: all. vectors: scaled to unit length if the metric
    normalizes, shape (len(labels), dim).
    """

    labels: Labels
    ids: Ids
    rows: npt.NDArray[np.int64] | None
    vectors: Matrix

    def rows_of_ids(self) -> npt.NDArray[np.int64]:
        """Which of `ids` are theirs."""
        return np.arange(len(self.ids)) if self.rows is None else self.rows


def blocks_of_taken(taken: TakenRows) -> Iterator[RowBlock]:
    """The rows taken from the unindexed ones."""
    step = _rows_per_block(taken.vectors.shape[1])
    for start in range(0, len(taken), step):
        rows = taken.rows[start : start + step]
        ids = Ids.of([taken.ids[row] for row in rows.tolist()])
        yield RowBlock(taken.labels[rows], ids, None, taken.vectors[rows])


def blocks_of_segment(segment: IndexedSegment, allowed: RowMask | None) -> Iterator[RowBlock]:
    """The rows of a segment that `allowed` contains; None: all."""
    vectors = segment.segment.vectors
    step = _rows_per_block(vectors.shape[1])
    chosen = None if allowed is None else allowed.rows()
    for start in range(0, len(segment) if chosen is None else len(chosen), step):
        if chosen is None:
            part = slice(start, start + step)
            rows = np.arange(start, min(start + step, len(segment)))
            yield RowBlock(segment.labels[part], segment.ids, rows, vectors[part])
        else:
            rows = chosen[start : start + step]
            yield RowBlock(segment.labels[rows], segment.ids, rows, vectors[rows])


def block_of_stored(stored: StoredRows, metric: Metric) -> RowBlock:
    """Rows read from the store."""
    vectors = normalized(stored.vectors) if metric.normalizes else stored.vectors
    return RowBlock(stored.labels, Ids.of(stored.ids), None, vectors)


def _rows_per_block(dim: int) -> int:
    return max(1, BLOCK_BYTES // (4 * max(1, dim)))
