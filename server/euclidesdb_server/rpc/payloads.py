"""Raw items, between the messages of the v1 API and the payloads that workers take.

Each kind of input is one class and one entry of `KINDS`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc import arrays
from euclidesdb_server.values.payload import Payload


class PayloadKind(Protocol):
    """One kind of raw item: its field of a Payload message, and its bytes for a worker."""

    def read(self, message: pb.Payload) -> bytes:
        """The bytes for a worker. Raises InvalidRequest."""
        ...

    def write(self, data: bytes) -> pb.Payload:
        """The message from which `read` returned `data`."""
        ...


class ImagePayload:
    """An image: its encoded bytes, unchanged."""

    def read(self, message: pb.Payload) -> bytes:
        """The encoded image; only a worker decodes it."""
        data: bytes = message.image
        return data

    def write(self, data: bytes) -> pb.Payload:
        """See PayloadKind."""
        return pb.Payload(image=data)


class TextPayload:
    """A text: its UTF-8."""

    def read(self, message: pb.Payload) -> bytes:
        """The text as UTF-8."""
        data: bytes = message.text.encode()
        return data

    def write(self, data: bytes) -> pb.Payload:
        """See PayloadKind."""
        return pb.Payload(text=data.decode())


class TensorPayload:
    """A tensor: NumPy's .npy format, little-endian and in C order."""

    def read(self, message: pb.Payload) -> bytes:
        """The tensor as a .npy file. Raises InvalidRequest."""
        array = message.tensor
        dtype = arrays.DTYPES.get(array.data_type)
        if dtype is None:
            raise InvalidRequest(f"tensor: unknown data_type {array.data_type}")
        if len(array.shape) > arrays.MAX_DIMENSIONS or any(length < 0 for length in array.shape):
            raise InvalidRequest(
                f"tensor: invalid shape {arrays.shown(array)}; lengths must not be negative, and "
                f"the limit is {arrays.MAX_DIMENSIONS} dimensions"
            )
        data = arrays.checked_bytes(array, "tensor", dtype)
        if dtype.kind == "b" and data.strip(b"\0\1"):
            raise InvalidRequest("tensor: each byte of a bool array must be 0 or 1")
        file = io.BytesIO()
        header = {"descr": dtype.str, "fortran_order": False, "shape": tuple(array.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(data)
        return file.getvalue()

    def write(self, data: bytes) -> pb.Payload:
        """See PayloadKind."""
        values = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        (data_type,) = (key for key, dtype in arrays.DTYPES.items() if dtype == values.dtype)
        tensor = pb.Array(data_type=data_type, shape=values.shape, data=values.tobytes())
        return pb.Payload(tensor=tensor)


KINDS: Final[Mapping[str, PayloadKind]] = {
    "image": ImagePayload(),
    "text": TextPayload(),
    "tensor": TensorPayload(),
}
"""Each kind by the name of its field of Payload.content, which is also `Payload.kind`."""


def read(message: pb.Payload) -> Payload:
    """The payload in a message. Raises InvalidRequest."""
    kind = message.WhichOneof("content")
    if kind is None:
        raise InvalidRequest(
            f"payload is empty or of an unknown kind; known are {', '.join(KINDS)}"
        )
    return Payload(kind, KINDS[kind].read(message))


def message_of(payload: Payload) -> pb.Payload:
    """The message from which `read` made `payload`."""
    return KINDS[payload.kind].write(payload.data)
