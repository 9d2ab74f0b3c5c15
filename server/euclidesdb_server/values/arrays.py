"""The shapes and dtypes of the arrays that rooms hand one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (dim,)."""
Matrix: TypeAlias = npt.NDArray[np.float32]
"""float32, C order, shape (n, dim)."""
Distances: TypeAlias = npt.NDArray[np.float32]
"""float32, shape (queries, k), ascending along each row; smaller is nearer."""
Rows: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (queries, k): positions in the matrix that a segment was built from."""
Labels: TypeAlias = npt.NDArray[np.int64]
"""int64, shape (n,)."""


def as_labels(labels: Sequence[int]) -> Labels:
    """Labels as an array; those of a range without an object for each."""
    if isinstance(labels, range):
        return np.arange(labels.start, labels.stop, labels.step, dtype=np.int64)
    return np.array(labels, np.int64)
