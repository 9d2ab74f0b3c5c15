"""What models predict, as columns: the most probable classes, and how sure a model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.filters import Prediction, PredictionValue

TOP: Final = 5
"""The most probable classes that are kept."""
SUM_TOLERANCE: Final = 1e-3
"""Predictions of 0 and more whose sum is so near to 1 are probabilities."""


CLASSES: Final = (PredictionValue.LABEL, PredictionValue.TOP_LABELS)
"""What the column of the most probable classes is for."""


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


def prediction_arrays(
    places: npt.NDArray[np.int64], found: Predicted, rows: int
) -> dict[str, pa.Array]:
    """The columns of predictions by kind. places: of the rows that have these predictions."""
    known = np.zeros(rows, np.bool_)
    known[places] = True
    arrays = {}
    for kind in ("confidence", "margin", "entropy"):
        values = np.zeros(rows, np.float64)
        values[places] = getattr(found, kind)
        arrays[kind] = pa.array(values, mask=~known)
    width = found.top.shape[1]
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(np.where(known, width, 0), out=offsets[1:])
    order = np.argsort(places, kind="stable")
    classes = pa.array(found.top[order].reshape(-1), pa.int32())
    arrays["top"] = pa.ListArray.from_arrays(pa.array(offsets), classes, mask=pa.array(~known))
    return arrays


def class_values(column: pa.ListArray, field: Prediction) -> FieldValues:
    """The most probable class of each row, or a list of the most probable ones."""
    if field.value is PredictionValue.LABEL:
        classes = pc.list_element(column, 0).cast(pa.int64())
        if not field.labels:
            return FieldValues(ints=classes)
        return FieldValues(strings=_names(classes, field.labels))
    classes = pc.list_flatten(column).cast(pa.int64())
    missing = column.is_null()
    if not field.labels:
        lists = pa.ListArray.from_arrays(column.offsets, classes, mask=missing)
        return FieldValues(lists_of_ints=lists)
    names = _names(classes, field.labels)
    return FieldValues(
        lists_of_strings=pa.ListArray.from_arrays(column.offsets, names, mask=missing)
    )


def _names(classes: pa.Int64Array, labels: Sequence[str]) -> pa.StringArray:
    """The names of classes; of one that has none, its number."""
    names = pa.array(labels, pa.string())
    known = pc.less(classes, len(labels))
    named = pc.take(names, pc.if_else(known, classes, None))
    return pc.coalesce(named, classes.cast(pa.string()))
