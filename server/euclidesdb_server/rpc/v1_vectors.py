"""The vectors in messages of the v1 API; what cannot be one raises InvalidRequest or
DimensionMismatch.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.requests import ModelVector
from euclidesdb_server.errors import DimensionMismatch, InvalidRequest
from euclidesdb_server.rpc import arrays
from euclidesdb_server.values.arrays import Matrix, Vector

FLOAT32: Final = arrays.DTYPES[pb.DATA_TYPE_FLOAT32]


def model_vector(message: pb.Vector) -> ModelVector:
    """A ready-made vector with its fingerprint."""
    return ModelVector(vector(message.values), message.fingerprint or None)


def vector(array: pb.Array) -> Vector:
    """A vector, shape (dim,)."""
    shape, data = array.shape, array.data
    if array.data_type == pb.DATA_TYPE_FLOAT32 and len(shape) == 1 and len(data) == 4 * shape[0]:
        return np.frombuffer(data, FLOAT32)
    _check_data_type(array, "a vector")
    # before anything is computed from the shape: a hostile one has a million huge lengths
    if len(array.shape) != 1:
        raise DimensionMismatch(
            f"a vector should have shape (feature_dim,), not {arrays.shown(array)}"
        )
    return _floats(array, "a vector")


def matrix(array: pb.Array, name: str) -> Matrix:
    """Vectors, shape (n, dim). name: of the array, for errors."""
    _check_data_type(array, name)
    if len(array.shape) != 2:
        raise DimensionMismatch(
            f"{name} should have shape (n, feature_dim), not {arrays.shown(array)}"
        )
    if array.shape[0] < 0 or array.shape[1] < 1:
        raise DimensionMismatch(f"{name} has the impossible shape {arrays.shown(array)}")
    return _floats(array, name).reshape(array.shape[0], array.shape[1])


def _check_data_type(array: pb.Array, name: str) -> None:
    if array.data_type != pb.DATA_TYPE_FLOAT32:
        raise InvalidRequest(f"{name}: data_type = {array.data_type} should be 1 (float32)")


def _floats(array: pb.Array, name: str) -> Vector:
    return np.frombuffer(arrays.checked_bytes(array, name, FLOAT32), FLOAT32)
