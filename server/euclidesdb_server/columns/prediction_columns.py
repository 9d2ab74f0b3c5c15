"""Columns of what models predict: the most probable classes, and how sure a model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.values.filters import Prediction, PredictionValue
from euclidesdb_server.values.predicted import Predicted

CLASSES: Final = (PredictionValue.LABEL, PredictionValue.TOP_LABELS)
"""What the column of the most probable classes is for."""


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
