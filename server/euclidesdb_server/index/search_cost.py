"""What a search of an approximate index costs, in rows compared with the query."""

from __future__ import annotations

import math
from typing import Final

from euclidesdb_server.engines import Segment
from euclidesdb_server.engines.protocol import rows_compared

PER_NEIGHBOR: Final = 100
PER_ROOT: Final = 10
"""A search costs about as much as comparing PER_NEIGHBOR rows for each neighbor, and PER_ROOT times
the root of the number of rows in addition: with k = 10, 11,000 of 1,000,000 rows."""

SINGLE_SHARE: Final = 4
PER_SEGMENT: Final = 200
"""Rows. A scan takes eight times as long per row for a single query as for many at once, an index
not even twice. HNSW32, 100,000 rows of 128, k = 10: a single query takes 45 us for each segment, as
long as a scan of 900 rows; the estimate, for many queries, is 4,200 rows."""


def estimated_comparisons(segment: Segment, rows: int, k: int) -> int:
    """What a search for the k nearest in a segment costs.

    rows: those that are not deleted. The result may exceed them: an index may be searched so widely
    that comparing all rows would take less time. A segment that does not know its own cost is taken
    for a typical approximate index.
    """
    if segment.exact:
        return rows
    estimate = rows_compared(segment, k)
    if estimate is not None:
        return estimate + PER_NEIGHBOR * k
    return min(rows, PER_NEIGHBOR * k + PER_ROOT * math.isqrt(rows))


def estimated_single_comparisons(segment: Segment, rows: int, k: int) -> int:
    """As `estimated_comparisons`, for one query, in rows that a scan compares with it alone."""
    estimate = estimated_comparisons(segment, rows, k)
    return estimate if segment.exact else PER_SEGMENT + estimate // SINGLE_SHARE
