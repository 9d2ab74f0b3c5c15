"""The search of segments for rows that match a filter.

Few rows are compared one by one. Of many, an approximate index finds those near the query; it is
searched more thoroughly than without a filter, since those that match may be alike and far from the
query. So the recall is at least that of a search without a filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from euclidesdb_server.engines import Segment
from euclidesdb_server.engines.protocol import search_filtered
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.row_mask import RowMask

EXACT_ROWS: Final = 150_000
"""Up to so many rows that match, of all segments, are compared one by one, some 15 ms a query."""
ROWS_PER_NEIGHBOR: Final = 1000
"""To find one more neighbor in a graph takes as long as comparing so many rows."""
FACTOR: Final = 64
ROWS: Final = 1024
"""How many times more rows other indexes are searched for with a filter, and how many at most."""
CANDIDATES: Final = 200
"""About how many candidates, of those that match and others, are enough for each neighbor."""


def search_segments(
    segments: Sequence[Segment],
    queries: Matrix,
    k: int,
    allowed: Sequence[RowMask | None],
) -> list[tuple[Distances, Rows]]:
    """The answer of each segment to queries, as `Segment.search`. allowed: the rows that match."""
    masks = [
        RowMask(np.ones(len(segment.vectors), np.bool_)) if mask is None else mask
        for segment, mask in zip(segments, allowed, strict=True)
    ]
    matching = sum(mask.count for mask in masks)
    return [
        segment.search_exactly(queries, k, mask)
        if segment.exact or matching <= EXACT_ROWS
        else _searched(segment, queries, k, mask, mask.count / matching)
        for segment, mask in zip(segments, masks, strict=True)
    ]


def _searched(
    segment: Segment, queries: Matrix, k: int, mask: RowMask, effort: float
) -> tuple[Distances, Rows]:
    if mask.count <= max(ROWS_PER_NEIGHBOR * k, EXACT_ROWS * effort):
        return segment.search_exactly(queries, k, mask)
    found = search_filtered(segment, queries, k, mask, effort)
    if found is not None:
        return found
    # if few match, an index that cannot take the filter is searched more widely for that alone
    share = mask.count / len(segment.vectors)
    factor = min(FACTOR, max(1, round(CANDIDATES * share)))
    near, rows = segment.search(queries, max(k, min(factor * k, ROWS)), mask)
    return near[:, :k], rows[:, :k]
