"""The arrays of the v1 API: their dtypes, and the checks made before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import wire
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.arrays import Vector

MAX_DIMENSIONS: Final = 32

DTYPES: Final[Mapping[pb.DataType, np.dtype[Any]]] = {
    data_type: np.dtype(name) for data_type, name in wire.DTYPES.items()
}


def checked_bytes(array: pb.Array, name: str, dtype: np.dtype[Any]) -> bytes:
    """The array's data. Raises InvalidRequest unless it is as long as the shape requires."""
    count = 1
    for length in array.shape:
        count *= length
    data: bytes = array.data
    if count * dtype.itemsize != len(data):
        raise InvalidRequest(
            f"{name}: {len(data)} bytes do not make a {dtype.name} array of shape {shown(array)}"
        )
    return data


def float32_array(values: Vector) -> pb.Array:
    """The message of a vector."""
    data = values.astype(DTYPES[pb.DATA_TYPE_FLOAT32], copy=False).tobytes()
    return pb.Array(data_type=pb.DATA_TYPE_FLOAT32, shape=values.shape, data=data)


def shown(array: pb.Array) -> str:
    """The array's shape for an error message, abbreviated: a hostile one has a million lengths."""
    lengths = ", ".join(map(str, array.shape[:4])) + ("," if len(array.shape) == 1 else "")
    more = f", ...: {len(array.shape)} dimensions" if len(array.shape) > 4 else ""
    return f"({lengths}{more})"
