"""Arrays, between NumPy's and those of the v1 protocol: packed, little-endian, in C order."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from euclidesdb import _checks as checks
from euclidesdb._errors import ServerError
from euclidesdb._tensors import widened
from euclidesdb._types import ModelVector, Vector
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import wire

DTYPES: Final[Mapping[pb.DataType, np.dtype[Any]]] = {
    data_type: np.dtype(name) for data_type, name in wire.DTYPES.items()
}
FLOAT32: Final = DTYPES[pb.DATA_TYPE_FLOAT32]
_DATA_TYPES: Final = {dtype: data_type for data_type, dtype in DTYPES.items()}


def any_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array; a torch tensor of bfloat16 as float32.

    Raises TypeError or ValueError if NumPy cannot convert it.
    """
    checks.unmasked(name, value)
    try:
        return np.asarray(widened(value))
    except (RuntimeError, TypeError, ValueError) as error:  # RuntimeError: torch's, requires grad
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be read as an array: {error}") from error


def real_array(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of real numbers, of any of NumPy's types for them."""
    array = any_array(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, not {array.dtype}: {reprlib.repr(value)}")
    return array


def matrix(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of shape (n, dim) of real numbers; a memory-mapped one is not read."""
    array = real_array(name, value)
    if array.shape == (0,):  # an empty list
        array = array.reshape(0, 0)
    if array.ndim != 2:
        raise ValueError(f"{name} must have the shape (n, dim), not {array.shape}")
    return array


def write_floats(message: pb.Array, array: npt.NDArray[Any]) -> None:
    """Put an array of real numbers into `message`, as float32."""
    if array.dtype != FLOAT32:
        with np.errstate(over="ignore"):  # overflow gives an infinity, which the server refuses
            array = array.astype(FLOAT32)
    _write(message, array, pb.DATA_TYPE_FLOAT32)


def write_vector(
    message: pb.Vector,
    value: npt.ArrayLike | ModelVector,
    fingerprint: str | None = None,
    *,
    name: str = "vector",
) -> None:
    """Put a vector of shape (dim,) into `message`; a ModelVector's own fingerprint is used.

    name: what error messages call it.
    """
    if isinstance(value, ModelVector):
        fingerprint = value.fingerprint
        value = value.values
    array = real_array(name, value)
    if array.ndim != 1:
        raise ValueError(f"{name} must have the shape (dim,), not {array.shape}")
    write_floats(message.values, array)
    if fingerprint is not None:
        message.fingerprint = checks.text("fingerprint", fingerprint)


def write_tensor(message: pb.Array, value: npt.ArrayLike) -> None:
    """Put anything that NumPy converts to an array into `message`, with its dtype and shape.

    Raises TypeError for a dtype that the protocol does not have, and as `any_array`.
    """
    array = any_array("tensor", value)
    dtype = array.dtype
    if dtype.kind in "fiub":
        dtype = dtype.newbyteorder("<")
    if dtype not in _DATA_TYPES:
        known = ", ".join(known.name for known in _DATA_TYPES)
        raise TypeError(
            f"tensor must have one of the dtypes {known}, not {array.dtype}: {reprlib.repr(value)}"
        )
    _write(message, array.astype(dtype, copy=False), _DATA_TYPES[dtype])


def read_tensor(message: pb.Array) -> npt.NDArray[Any]:
    """The array of a reply, read-only. Raises ServerError if its parts contradict one another."""
    dtype = DTYPES.get(message.data_type)
    if dtype is None:
        raise ServerError(f"the reply holds an array of unknown data_type {message.data_type}")
    shape, data = tuple(message.shape), message.data
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ServerError(
            f"the reply holds {len(data)} bytes for an array of {dtype.name} of shape {shape}"
        )
    # A view of immutable bytes: read-only, nothing copied.
    return np.frombuffer(data, dtype).reshape(shape)


def read_vector(message: pb.Array) -> Vector:
    """The vector of a reply, read-only. Raises ServerError if it is not a float32 vector."""
    array = read_tensor(message)
    if array.dtype != FLOAT32 or array.ndim != 1:
        raise ServerError(
            f"the reply holds an array of {array.dtype} of shape {array.shape} for a vector"
        )
    return array


def _write(message: pb.Array, array: npt.NDArray[Any], data_type: pb.DataType) -> None:
    message.data_type = data_type
    message.shape.extend(array.shape)
    message.data = array.tobytes()
