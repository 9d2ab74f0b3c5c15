"""Between Python's values and the messages of the v1 protocol, both ways.

What protobuf itself would refuse with an obscure message raises a clear ValueError or TypeError
here; everything else is left to the server, which says it better.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from euclidesdb._errors import ServerError
from euclidesdb._types import Embedding, Item, ModelInfo, ModelVector, Neighbors, Vector
from euclidesdb_protos.v1 import database_pb2 as pb

_INT32 = range(-(2**31), 2**31)
_STATES = {
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_READY: "ready",
    pb.MODEL_STATE_RESTARTING: "restarting",
    pb.MODEL_STATE_QUARANTINED: "quarantined",
}


def text(name: str, value: str) -> str:
    """`value`, checked to be text that UTF-8 can carry."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}: {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be valid Unicode, which {value!a} is not") from error
    return value


def names(name: str, values: Iterable[str]) -> list[str]:
    """`values` as a list of checked texts; a lone str, which iterates by letters, is refused."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence of names: [{values!r}], not {values!r}")
    return [text(f"a name in {name}", value) for value in values]


def int32(name: str, value: int) -> int:
    """`value`, checked to be an integer that the protocol can carry."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, not {value!r}") from error
    if number not in _INT32:
        raise ValueError(f"{name} must fit in 32 bits, which {number} does not")
    return number


def opaque(name: str, value: bytes) -> bytes:
    """`value` as bytes."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    return bytes(value)


def attributes_json(attributes: Mapping[str, Any]) -> str:
    """`attributes` as a JSON object."""
    if not isinstance(attributes, Mapping):
        raise TypeError(f"attributes must be a mapping, not {type(attributes).__name__}")
    try:
        written = json.dumps(dict(attributes), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"attributes must hold JSON values: {error}") from error
    return text("attributes", written)


def vector_message(value: npt.ArrayLike | ModelVector) -> pb.Vector:
    """A vector of shape (dim,) as the server takes it: little-endian float32."""
    if not isinstance(value, ModelVector):
        value = ModelVector(value)
    array = np.asarray(value.values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"a vector must hold real numbers, not {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"a vector must have the shape (dim,), not {array.shape}")
    with np.errstate(over="ignore"):  # becomes an infinity, which the server refuses
        data = array.astype("<f4").tobytes()
    return pb.Vector(
        values=pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=array.shape, data=data),
        fingerprint="" if value.fingerprint is None else text("fingerprint", value.fingerprint),
    )


def embedding(message: pb.Embedding) -> Embedding:
    """The value of an Embedding message; an array that is unset becomes None."""
    return Embedding(
        model=message.model,
        fingerprint=message.fingerprint,
        vector=_vector(message.vector) if message.HasField("vector") else None,
        predictions=_vector(message.predictions) if message.HasField("predictions") else None,
    )


def item(message: pb.Item) -> Item:
    """The value of an Item message."""
    return Item(
        id=message.id,
        attributes=_attributes(message.attributes_json),
        metadata=message.metadata,
        embeddings=tuple(map(embedding, message.embeddings)),
        image=message.payload.image if message.payload.HasField("image") else None,
    )


def neighbors(
    message: pb.ModelAnswer, *, include_attributes: bool, include_metadata: bool
) -> Neighbors:
    """The value of a ModelAnswer message; the flags are those of the request."""
    found = message.neighbors
    distances = np.array([neighbor.distance for neighbor in found], dtype=np.float32)
    distances.setflags(write=False)
    return Neighbors(
        model=message.model,
        fingerprint=message.fingerprint,
        metric=message.metric,
        ids=tuple(neighbor.id for neighbor in found),
        distances=distances,
        attributes=tuple(_attributes(neighbor.attributes_json) for neighbor in found)
        if include_attributes
        else None,
        metadata=tuple(neighbor.metadata for neighbor in found) if include_metadata else None,
    )


def model_info(message: pb.Model) -> ModelInfo:
    """The value of a Model message; a state that only a newer server knows is "unknown"."""
    return ModelInfo(
        name=message.name,
        state=_STATES.get(message.state, "unknown"),
        reason=message.reason,
        input=message.input,
        feature_dim=message.feature_dim,
        prediction_dim=message.prediction_dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        metric=message.metric,
        items=message.items,
        labels=tuple(message.labels),
        adopted=message.adopted,
    )


def _attributes(written: str) -> Mapping[str, Any]:
    attributes: Mapping[str, Any] = json.loads(written) if written else {}
    return attributes


def _vector(message: pb.Array) -> Vector:
    if message.data_type != pb.DATA_TYPE_FLOAT32:
        raise ServerError(f"the reply holds an array of unknown data type {message.data_type}")
    if list(message.shape) != [len(message.data) // 4] or len(message.data) % 4:
        raise ServerError(
            f"the reply holds {len(message.data)} bytes for a vector of shape {message.shape}"
        )
    # A view of immutable bytes: read-only, nothing copied.
    return np.frombuffer(message.data, dtype="<f4").astype(np.float32, copy=False)
