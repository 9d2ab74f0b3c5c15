"""Rows: items between the formats of files and the messages of an import."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb_protos.v1 import database_pb2 as pb

VECTOR: Final = "vector:"
PREDICTIONS: Final = "predictions:"
READY_MADE: Final = "ready_made:"
FAILURE: Final = "failure:"
"""What the names of the columns of a model begin with."""
IDS: Final = "ids"
ATTRIBUTES: Final = "attributes_json"
MODEL: Final = "model:"
FINGERPRINT: Final = "fingerprint:"
"""Of .npz files."""


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A column of vectors. name: "digits", or "digits@fingerprint" for a former version.

    fingerprint: "" if it is not known.
    """

    name: str
    model: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class RowVector:
    """A vector of an item. values, predictions: float32, shape (dim,).

    ready_made: whether it was not made from the item's payload; None: not known.
    """

    column: VectorColumn
    values: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32] | None = None
    ready_made: bool | None = None


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A model that failed on an item. column: that of the vector that it lacks."""

    column: VectorColumn
    reason: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """An item of a file. attributes_json, metadata: None: the file has none.

    payload: the bytes of an image, the UTF-8 of a text, or a tensor as NumPy's .npy format.
    """

    id: str
    attributes_json: str | None = None
    metadata: bytes | None = None
    vectors: list[RowVector] = field(default_factory=list)
    payload_kind: str | None = None
    payload: bytes = b""
    payload_digest: bytes = b""
    failures: list[RowFailure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BadRow:
    """An item of a file that cannot be read. id: "" if that cannot be read either."""

    id: str
    error: Exception


def imported_item(row: Row, wants: Callable[[VectorColumn], bool]) -> pb.ImportedItem:
    """The message for an item, with those of its vectors whose column is wanted.

    Raises TypeError or ValueError if it cannot be sent.
    """
    message = pb.ImportedItem(
        id=checks.text("id", row.id),
        attributes_json=None
        if row.attributes_json is None
        else checks.text("attributes_json", row.attributes_json),
        metadata=row.metadata,
        payload_digest=row.payload_digest,
    )
    for vector in row.vectors:
        if not wants(vector.column):
            continue
        embedding = message.embeddings.add()
        embedding.model, embedding.fingerprint = vector.column.model, vector.column.fingerprint
        arrays.write_floats(embedding.vector, vector.values)
        if vector.predictions is not None:
            arrays.write_floats(embedding.predictions, vector.predictions)
        ready_made = vector.ready_made
        if ready_made is None:  # no model of the database has made it, as far as is known
            ready_made = vector.predictions is None
        if ready_made:
            message.ready_made.append(len(message.embeddings) - 1)
    for failure in row.failures:
        if not wants(failure.column):
            continue
        failed = message.failures.add()
        failed.model, failed.fingerprint = failure.column.model, failure.column.fingerprint
        failed.reason, failed.message = failure.reason, failure.message
        failed.time.FromDatetime(failure.time)
    if row.payload_kind is not None:
        _write_payload(message.payload, row.payload_kind, row.payload)
    return message


def _write_payload(message: pb.Payload, kind: str, data: bytes) -> None:
    match kind:
        case "image":
            message.image = data
        case "text":
            message.text = data.decode()
        case "tensor":
            file = io.BytesIO(data)
            arrays.write_tensor(message.tensor, np.lib.format.read_array(file, allow_pickle=False))
        case _:
            raise ValueError(f"payload_kind must be image, text or tensor, not {kind!r}")


def named_columns(vectors: Mapping[str, str] | None) -> dict[str, VectorColumn]:
    """The columns that a caller names, {column: model}. Raises TypeError."""
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        raise TypeError(f"vectors must be a mapping {{column: model}}, not {checks.shown(vectors)}")
    return {
        checks.text("a column in vectors", column): VectorColumn(model, model)
        for column, model in vectors.items()
        if checks.text("a model in vectors", model)
    }


def missing_column(name: str, path: object, names: Any) -> ValueError:
    """The error for a column that a file must have."""
    known = ", ".join(map(repr, names)) or "none"
    return ValueError(f"{path} has no column {name!r}; its columns are {known}")
