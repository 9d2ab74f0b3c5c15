"""Between Python's values and the messages of the v1 protocol, both ways.

What protobuf itself would refuse with an obscure message raises a clear ValueError or TypeError
here; everything else is left to the server, which says it better.
"""

from __future__ import annotations

import json
import operator
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb._types import Embedding, IndexInfo, Item, ModelInfo, ModelVector, Neighbors
from euclidesdb_protos.v1 import database_pb2 as pb

_INT32 = range(-(2**31), 2**31)
_STATES = {
    pb.MODEL_STATE_LOADING: "loading",
    pb.MODEL_STATE_READY: "ready",
    pb.MODEL_STATE_RESTARTING: "restarting",
    pb.MODEL_STATE_QUARANTINED: "quarantined",
    pb.MODEL_STATE_UNLOADED: "unloaded",
    pb.MODEL_STATE_SUPERSEDED: "superseded",
}


def exactly_one(arguments: Mapping[str, Any]) -> tuple[str, Any]:
    """The one of `arguments` that is not None, and its name. Raises ValueError."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        *others, last = arguments
        raise ValueError(
            f"give exactly one of {', '.join(others)} and {last}, not "
            f"{' and '.join(given) or 'none'}"
        )
    return given[0], arguments[given[0]]


def text(name: str, value: str) -> str:
    """`value`, checked to be text that UTF-8 can carry."""
    if not isinstance(value, str):
        shown = f"{type(value).__name__}: {reprlib.repr(value)}"
        raise TypeError(f"{name} must be a str, not {shown}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        shown = ascii(value[max(0, error.start - 20) : error.end + 20])  # it may be a whole book
        raise ValueError(f"{name} must be valid Unicode, which {shown} is not") from error
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


def by_model(
    name: str, vectors: Mapping[str, npt.ArrayLike | ModelVector] | None
) -> Iterable[tuple[str, npt.ArrayLike | ModelVector]]:
    """The models and vectors of a mapping; an array, which names no model, is refused."""
    if vectors is None:
        return ()
    if not isinstance(vectors, Mapping):
        raise TypeError(f"{name} must be a mapping {{model: vector}}, not {type(vectors).__name__}")
    return vectors.items()


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


def attributes_json(name: str, attributes: Mapping[str, Any]) -> str:
    """`attributes` as a JSON object; numpy's numbers and truth values as those that they are."""
    if not isinstance(attributes, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(attributes).__name__}")
    try:
        return text(name, _JSON.encode(dict(attributes)))
    except (TypeError, ValueError):
        for key, value in attributes.items():
            try:
                text(name, _JSON.encode({key: value}))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                shown = f"{reprlib.repr(value)} under {key!r}"
                raise kind(f"{name} must hold JSON values, not {shown}: {error}") from error
        raise


def _plain_number(value: object) -> bool | int | float:
    """What the JSON encoder asks for where it does not know a value."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer) and not isinstance(value, np.timedelta64):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain_number)


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
    array = arrays.real_array("a vector", value)
    if array.ndim != 1:
        raise ValueError(f"a vector must have the shape (dim,), not {array.shape}")
    arrays.write_floats(message.values, array)
    if fingerprint is not None:
        message.fingerprint = text("fingerprint", fingerprint)


def embedding(message: pb.Embedding) -> Embedding:
    """The value of an Embedding message; an array that is unset becomes None."""
    return Embedding(
        model=message.model,
        fingerprint=message.fingerprint,
        vector=arrays.read_vector(message.vector) if message.HasField("vector") else None,
        predictions=(
            arrays.read_vector(message.predictions) if message.HasField("predictions") else None
        ),
    )


def item(message: pb.Item) -> Item:
    """The value of an Item message."""
    payload = message.payload
    return Item(
        id=message.id,
        attributes=parsed_attributes(message.attributes_json),
        metadata=message.metadata,
        embeddings=tuple(map(embedding, message.embeddings)),
        image=payload.image if payload.HasField("image") else None,
        text=payload.text if payload.HasField("text") else None,
        tensor=arrays.read_tensor(payload.tensor) if payload.HasField("tensor") else None,
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
        items_run=message.items_run,
        batches_run=message.batches_run,
    )


def _index_info(message: pb.Index) -> IndexInfo:
    return IndexInfo(
        description=message.description,
        indexed_rows=message.indexed_rows,
        unindexed_rows=message.unindexed_rows,
        building=message.building,
        recall=message.recall if message.HasField("recall") else None,
        recall_samples=message.recall_samples,
    )


def parsed_attributes(written: str) -> Mapping[str, Any]:
    """The JSON object of an answer; what is unset is an empty one."""
    attributes: Mapping[str, Any] = json.loads(written) if written else {}
    return attributes
