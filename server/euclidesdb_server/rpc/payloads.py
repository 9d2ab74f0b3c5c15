"""Raw items: between the messages of the v1 API and what a worker takes, both ways."""

from __future__ import annotations

import io

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc import arrays
from euclidesdb_server.values.payload import Payload


def read(message: pb.Payload) -> Payload:
    """Raises InvalidRequest."""
    match message.WhichOneof("content"):
        case "image":
            return Payload("image", message.image)
        case "text":
            return Payload("text", message.text.encode())
        case "tensor":
            return Payload("tensor", _npy(message.tensor))
        case _:
            raise InvalidRequest("payload has no content that this server knows")


def message_of(payload: Payload) -> pb.Payload:
    """What `read` was given."""
    match payload.kind:
        case "image":
            return pb.Payload(image=payload.data)
        case "text":
            return pb.Payload(text=payload.data.decode())
        case _:
            return pb.Payload(tensor=_array(payload.data))


def _npy(array: pb.Array) -> bytes:
    dtype = arrays.DTYPES.get(array.data_type)
    if dtype is None:
        raise InvalidRequest(f"tensor: data_type = {array.data_type} is none that there is")
    if len(array.shape) > arrays.MAX_DIMENSIONS or any(length < 0 for length in array.shape):
        raise InvalidRequest(f"tensor has the impossible shape {arrays.shown(array)}")
    data = arrays.checked_bytes(array, "tensor", dtype)
    if dtype.kind == "b" and data.strip(b"\0\1"):
        raise InvalidRequest("tensor: a bool is a byte that is 0 or 1")
    file = io.BytesIO()
    header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(array.shape)}
    np.lib.format.write_array_header_1_0(file, header)
    file.write(data)
    return file.getvalue()


def _array(npy: bytes) -> pb.Array:
    values = np.lib.format.read_array(io.BytesIO(npy), allow_pickle=False)
    array = pb.Array(shape=values.shape, data=values.tobytes())
    (array.data_type,) = (key for key, dtype in arrays.DTYPES.items() if dtype == values.dtype)
    return array
