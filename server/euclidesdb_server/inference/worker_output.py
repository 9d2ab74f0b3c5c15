"""A worker's reply to a batch, as one result per request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from euclidesdb_server.errors import (
    DatabaseError,
    FailureReason,
    ModelFailed,
    UndecodableInput,
)
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.system.worker_protocol import ProtocolError
from euclidesdb_server.values.embedding import Embedding


def read_outputs(
    header: dict[str, Any], parts: Sequence[bytes], count: int, conf: ProgramConf
) -> list[Embedding | DatabaseError]:
    """An embedding or an error for each of `count` items; its arrays are rows of the batch's.

    header, parts: a `done` message (`system/worker_protocol.py`). Raises ProtocolError, KeyError,
    TypeError or ValueError for a malformed one.
    """
    errors = header["errors"]
    if len(errors) != count:
        raise ProtocolError(f"{len(errors)} results for {count} items")
    succeeded = sum(error is None for error in errors)
    features, predictions = (np.frombuffer(part, "<f4") for part in parts)
    rows = zip(
        features.reshape(succeeded, conf.feature_dim),
        predictions.reshape(succeeded, conf.prediction_dim),
        strict=True,
    )
    results: list[Embedding | DatabaseError] = []
    for error in errors:
        if error is None:
            vector, predicted = next(rows)
            results.append(Embedding(vector, predicted if conf.prediction_dim else None))
        else:
            results.append(_item_error(error))
    return results


def _item_error(described: dict[str, str]) -> DatabaseError:
    """Why an item has no outputs, as the worker describes it. Raises KeyError or ValueError."""
    if described["kind"] == "undecodable":
        return UndecodableInput(described["message"])
    return ModelFailed(described["message"], FailureReason(described["reason"]))
