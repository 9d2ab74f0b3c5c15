"""The arrays of the v1 API: their types, and what they must be before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import InvalidRequest

MAX_DIMENSIONS: Final = 32

DTYPES: Final[Mapping[pb.DataType, np.dtype[Any]]] = {
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_FLOAT64: np.dtype("<f8"),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_INT8: np.dtype("i1"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_BOOL: np.dtype("?"),
}


def checked_bytes(array: pb.Array, name: str, dtype: np.dtype[Any]) -> bytes:
    """The array's data, as many bytes as its shape says. Raises InvalidRequest."""
    count = 1
    for length in array.shape:
        count *= length
    data: bytes = array.data
    if count * dtype.itemsize != len(data):
        raise InvalidRequest(
            f"{name}: {len(data)} bytes are not a {dtype.name} array of shape {shown(array)}"
        )
    return data


def shown(array: pb.Array) -> str:
    """The array's shape, as an error shows it: a hostile one has a million lengths."""
    lengths = ", ".join(map(str, array.shape[:4])) + ("," if len(array.shape) == 1 else "")
    more = f", ...: {len(array.shape)} dimensions" if len(array.shape) > 4 else ""
    return f"({lengths}{more})"
