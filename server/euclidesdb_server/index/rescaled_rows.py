"""The rows of a segment, read from the store once more under a metric that scales them differently.

A segment built for `cosine` holds its rows scaled to unit length, so no other metric can compare
them, and the reverse. The segment stays as it is until its replacement has been built, so that a
mistake in the configuration costs no index; meanwhile these rows are compared instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from euclidesdb_server.engines.vectors import vectors_path
from euclidesdb_server.index import segment_files as files
from euclidesdb_server.index.row_blocks import RowBlock
from euclidesdb_server.values.arrays import Labels, Matrix

RESCALED: Final = "rescaled"
"""The folder of the rows within a segment's. The segment does not count on it: each start that
needs it writes it again."""
ITEM_BYTES: Final = 4


def write_rescaled_rows(
    folder: Path, labels: Labels, stored: Iterable[RowBlock], dim: int
) -> Matrix:
    """The rows of the segment in `folder`, memory-mapped, shape (len(labels), dim).

    stored: what the store has of them, in the order of their labels; rows that it does not have
    are deleted, and are zeros here.

    Raises OSError; ValueError if the store has a row that the segment lacks.
    """
    part = folder / RESCALED
    files.delete(part)
    try:
        part.mkdir()
        with vectors_path(part).open("wb") as file:
            file.truncate(len(labels) * dim * ITEM_BYTES)
            for block in stored:
                rows = np.searchsorted(labels, block.labels)
                if rows[-1] == len(labels) or (labels[rows] != block.labels).any():
                    raise ValueError("it lacks labels that the store has")
                vectors = np.ascontiguousarray(block.vectors, "<f4")
                starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
                for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                    file.seek(int(rows[start]) * dim * ITEM_BYTES)
                    file.write(vectors[start:stop].data)
        mapped = np.memmap(vectors_path(part), "<f4", mode="r", shape=(len(labels), dim))
    except BaseException:
        files.delete(part)
        raise
    return np.asarray(mapped, np.float32)
