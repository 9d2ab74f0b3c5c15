"""What a worker says of a batch, as answers to the requests in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from euclidesdb_server.errors import DatabaseError, ModelFailed, UndecodableInput
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.system.worker_protocol import ProtocolError
from euclidesdb_server.values.embedding import Embedding

ITEM_ERRORS: Final[dict[str, type[DatabaseError]]] = {
    "undecodable": UndecodableInput,
    "failed": ModelFailed,
}


def read_answers(
    header: dict[str, Any], parts: Sequence[bytes], count: int, conf: ProgramConf
) -> list[Embedding | DatabaseError]:
    """An embedding, or what went wrong, for each of `count` items.

    header, parts: of a `done` message (`frames`). Raises ProtocolError, KeyError, TypeError or
    ValueError for one that makes no sense.
    """
    errors = header["errors"]
    if len(errors) != count:
        raise ProtocolError(f"{len(errors)} answers to {count} items")
    good = sum(error is None for error in errors)
    features, predictions = (np.frombuffer(part, "<f4") for part in parts)
    rows = iter(
        zip(
            features.reshape(good, conf.feature_dim),
            predictions.reshape(good, conf.prediction_dim),
            strict=True,
        )
    )
    answers: list[Embedding | DatabaseError] = []
    for error in errors:
        if error is None:
            vector, predicted = next(rows)
            answers.append(Embedding(vector, predicted if conf.prediction_dim else None))
        else:
            answers.append(ITEM_ERRORS[error["kind"]](error["message"]))
    return answers
