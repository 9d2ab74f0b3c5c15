"""Searches a segment that was loaded from disk, before the server does.

A library may load a file and then abort in a search of it.
"""

from __future__ import annotations

import numpy as np

from euclidesdb_server.engines import Segment
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.row_mask import RowMask

_K = 10


def check_searches(segment: Segment, queries: Matrix, rows: int) -> None:
    """Search for the nearest of all `rows`, and of every other one.

    Raises ValueError if the answers break the contract of a `Segment`; whatever the engine raises.
    """
    every_other = np.arange(rows) % 2 == 0
    for allowed in (np.ones(rows, np.bool_), every_other):
        mask = None if allowed.all() else RowMask(allowed)
        _check(segment.search(queries, _K, mask), len(queries), allowed)
        _check(segment.search(queries[:1], _K, mask), 1, allowed)
    _check(segment.search_exactly(queries, _K, None), len(queries), np.ones(rows, np.bool_))


def _check(answer: tuple[Distances, Rows], queries: int, allowed: np.ndarray) -> None:
    found, rows = answer
    expected = (queries, min(_K, int(np.count_nonzero(allowed))))
    if found.shape != expected or rows.shape != expected:
        raise ValueError(
            f"a search answered with {found.shape} distances and {rows.shape} rows instead of "
            f"{expected}"
        )
    if rows.size and not (rows.min() >= 0 and rows.max() < len(allowed) and allowed[rows].all()):
        raise ValueError("a search found rows that are not there or not allowed")
