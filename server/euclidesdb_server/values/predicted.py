"""What models predict: the most probable classes, and how sure a model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.arrays import Matrix

TOP: Final = 5
"""The most probable classes that are kept."""
SUM_TOLERANCE: Final = 1e-3
"""Predictions of 0 and more whose sum is so near to 1 are probabilities."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Of n items. top: int32, shape (n, TOP or the number of classes), the most probable first.

    confidence, margin, entropy: float32, shape (n,), as in `PredictionValue`.
    """

    top: npt.NDArray[np.int32]
    confidence: npt.NDArray[np.float32]
    margin: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]


def probabilities(predictions: Matrix) -> npt.NDArray[np.float64]:
    """The probabilities of classes, shape (n, classes).

    predictions: rows that are not probabilities are taken for logits.
    """
    values = predictions.astype(np.float64)
    sums = values.sum(axis=1)
    logits = (values.min(axis=1) < 0) | (np.abs(sums - 1) > SUM_TOLERANCE)
    if logits.any():
        rows = values[logits]
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
        values[logits] = powers / powers.sum(axis=1, keepdims=True)
    return values


def predicted(predictions: Matrix) -> Predicted:
    """predictions: shape (n, classes), at least one class; of classes alike the first is first."""
    shares = probabilities(predictions)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :TOP]
    nearest = np.take_along_axis(shares, order, axis=1)
    confidence = nearest[:, 0]
    margin = confidence - nearest[:, 1] if nearest.shape[1] > 1 else confidence
    logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    entropy = -(shares * logarithms).sum(axis=1)
    return Predicted(
        order.astype(np.int32),
        confidence.astype(np.float32),
        margin.astype(np.float32),
        np.abs(entropy).astype(np.float32),
    )
