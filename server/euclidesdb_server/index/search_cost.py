"""What a search of an approximate index costs, in rows compared with the query."""

from __future__ import annotations

import math
from typing import Final

PER_NEIGHBOR: Final = 100
PER_ROOT: Final = 10
"""A search costs about as much as comparing PER_NEIGHBOR rows for each neighbor, and PER_ROOT times
the root of the number of rows in addition: with k = 10, 11,000 of 1,000,000 rows."""


def estimated_comparisons(rows: int, k: int) -> int:
    """The rows that a search for the k nearest of `rows` compares; never more than all of them.

    An estimate that no index type enters: good enough to bound the work of a call, and to check in
    time whether its caller still waits.
    """
    return min(rows, PER_NEIGHBOR * k + PER_ROOT * math.isqrt(rows))
