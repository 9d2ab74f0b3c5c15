"""Raw items as the server takes them: an image, a text or a tensor in its field of a Payload."""

from __future__ import annotations

from typing import Any

from euclidesdb import _arrays as arrays
from euclidesdb import _convert as convert
from euclidesdb._images import encoded_image
from euclidesdb_protos.v1 import database_pb2 as pb


def write(message: pb.Payload, kind: str, value: Any) -> None:
    """Put a raw item of that kind ("image", "text", "tensor") into `message`.

    Raises TypeError or ValueError for what cannot be sent; for an image that cannot be read
    OSError, or whatever its library likes.
    """
    match kind:
        case "image":
            message.image = encoded_image(value)
        case "text":
            message.text = convert.text("text", value)
        case "tensor":
            arrays.write_tensor(message.tensor, value)
        case _:
            raise ValueError(f"kind must be image, text or tensor, not {kind!r}")
