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
from euclidesdb._types import Embedding, IndexInfo, Item, ModelInfo, ModelVector, Neighbors, Vector
from euclidesdb_protos.v1 import database_pb2 as pb

_INT32 = range(-(2**31), 2**31)
_FLOAT32 = np.dtype("<f4")
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
    checked = list(values)
    try:
        "".join(checked).encode()  # a million are checked at once, in a tenth of the time
    except (TypeError, UnicodeEncodeError):
        for value in checked:
            text(f"a name in {name}", value)
        raise
    return checked


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


def number(name: str, value: float | None) -> float | None:
    """`value`, checked to be a real number or None."""
    if value is None or isinstance(value, float | int | np.floating | np.integer):
        return value
    raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r}")


def write_vector(
    message: pb.Vector, value: npt.ArrayLike | ModelVector, fingerprint: str | None = None
) -> None:
    """Put a vector of shape (dim,) into `message`; a ModelVector brings its own fingerprint."""
    if isinstance(value, ModelVector):
        fingerprint = value.fingerprint
        value = value.values
    array = real_array("a vector", value)
    if array.ndim != 1:
        raise ValueError(f"a vector must have the shape (dim,), not {array.shape}")
    write_array(message.values, array)
    if fingerprint is not None:
        message.fingerprint = text("fingerprint", fingerprint)


def matrix(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of shape (n, dim) of real numbers; a memory-mapped one is not read."""
    array = real_array(name, value)
    if array.shape == (0,):  # an empty list
        array = array.reshape(0, 0)
    if array.ndim != 2:
        raise ValueError(f"{name} must have the shape (n, dim), not {array.shape}")
    return array


def real_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of real numbers, of any of numpy's types for them."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}")
    return array


def write_array(message: pb.Array, array: npt.NDArray[Any]) -> None:
    """Put an array of real numbers into `message` as the server takes it."""
    if array.dtype != _FLOAT32:
        with np.errstate(over="ignore"):  # becomes an infinity, which the server refuses
            array = array.astype(_FLOAT32)
    message.data_type = pb.DATA_TYPE_FLOAT32
    message.shape.extend(array.shape)
    message.data = array.tobytes()


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
        attributes=parsed_attributes(message.attributes_json),
        metadata=message.metadata,
        embeddings=tuple(map(embedding, message.embeddings)),
        image=message.payload.image if message.payload.HasField("image") else None,
    )


def neighbors(
    message: pb.ModelAnswer, *, include_attributes: bool, include_metadata: bool
) -> Neighbors:
    """The value of a ModelAnswer message; the flags are those of the request."""
    # Lists, not generators: every search comes by here.
    found = list(message.neighbors)
    distances = np.array([neighbor.distance for neighbor in found], dtype=np.float32)
    distances.setflags(write=False)
    return Neighbors(
        message.model,
        message.fingerprint,
        message.metric,
        tuple([neighbor.id for neighbor in found]),
        distances,
        tuple([parsed_attributes(neighbor.attributes_json) for neighbor in found])
        if include_attributes
        else None,
        tuple([neighbor.metadata for neighbor in found]) if include_metadata else None,
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
        index=_index_info(message.index) if message.HasField("index") else None,
    )


def _index_info(message: pb.Index) -> IndexInfo:
    return IndexInfo(
        description=message.description,
        sealed_rows=message.sealed_rows,
        fresh_rows=message.fresh_rows,
        building=message.building,
        recall=message.recall if message.HasField("recall") else None,
        recall_samples=message.recall_samples,
    )


def parsed_attributes(written: str) -> Mapping[str, Any]:
    """The JSON object of an answer; what is unset is an empty one."""
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
