"""Examples: a query that is made of several items to be like, and several not to be like.

The vector searched for is the mean of the positive examples, plus the difference between it and the
mean of the negative ones, if there are any (Rocchio, 1971). If the metric of the space scales
vectors to unit length, as `cosine` does, each example is scaled first, so that all count alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.metric import Metric


def combined(positive: Sequence[Vector], negative: Sequence[Vector], metric: Metric) -> Vector:
    """The vector to search for. positive: at least one.

    Raises InvalidRequest if its numbers exceed the range of float32.
    """
    vector = _mean(positive, metric)
    if negative:
        vector = 2 * vector - _mean(negative, metric)
    with np.errstate(over="ignore"):
        made = vector.astype(np.float32)
    if not np.isfinite(made).all():
        raise InvalidRequest(
            "the examples are so far apart that the numbers of their combination exceed the range "
            "of float32"
        )
    return made


def error_of_example(name: str, error: DatabaseError) -> DatabaseError:
    """The error of one example as that of the query: of the same kind, naming the example."""
    return type(error)(f"{name}: {error}")


def _mean(
    vectors: Sequence[Vector], metric: Metric
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    matrix = np.stack(vectors)
    if metric.normalizes:
        matrix = normalized(matrix)
    mean: np.ndarray[tuple[int], np.dtype[np.float64]] = matrix.mean(axis=0, dtype=np.float64)
    return mean
