"""The states of items in a model, from the columns of a block."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.values.filters import Prediction
from euclidesdb_server.values.status import EmbeddingState

VECTOR: Final = "{}:vector"
FAILED: Final = "{}:failed"
"""The names of the columns of a space."""
_STATES: Final = [*EmbeddingState]
_NAMES: Final = pa.array([*map(str, _STATES)], pa.string())

Mask = npt.NDArray[np.bool_]


def has_vector(batch: pa.RecordBatch, space: int) -> Mask:
    """Whether each row has a vector in a space."""
    name = VECTOR.format(space)
    if name not in batch.schema.names:
        return np.zeros(len(batch), np.bool_)
    present: Mask = batch.column(name).to_numpy() > 0
    return present


def has_failed(batch: pa.RecordBatch, space: int) -> Mask:
    """Whether the model of a space failed on each row."""
    name = FAILED.format(space)
    if name not in batch.schema.names:
        return np.zeros(len(batch), np.bool_)
    # null in rows of a block that had no such column when it was merged
    failed: Mask = pc.fill_null(batch.column(name), False).to_numpy(zero_copy_only=False)
    return failed


def state_columns(field: Prediction) -> set[str]:
    """The names of the columns that `states` reads."""
    spaces = (field.space, *field.others)
    return {FAILED.format(field.space), *map(VECTOR.format, spaces)}


def states(batch: pa.RecordBatch, field: Prediction) -> pa.StringArray:
    """The state of each row in a model."""
    places = np.full(len(batch), _STATES.index(EmbeddingState.MISSING), np.int32)
    for other in field.others:
        places[has_vector(batch, other)] = _STATES.index(EmbeddingState.SUPERSEDED)
    places[has_failed(batch, field.space)] = _STATES.index(EmbeddingState.FAILED)
    places[has_vector(batch, field.space)] = _STATES.index(EmbeddingState.DONE)
    return _NAMES.take(pa.array(places))
