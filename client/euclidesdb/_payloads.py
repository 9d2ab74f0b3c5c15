"""Raw items, between Python values and Payload messages.

Each kind of input is one class and one entry of `KINDS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb._images import encoded_image, is_image
from euclidesdb_protos.v1 import database_pb2 as pb


class PayloadKind(ABC):
    """One kind of raw item.

    name: its field of Payload.content and of `Item`, and its argument of `add` and `find_similar`.
    plural: its argument of `find_similar_many`.
    queries_per_call: the most queries of this kind that `find_similar_many` sends in one call.
    """

    name: ClassVar[str]
    plural: ClassVar[str]
    queries_per_call: ClassVar[int]

    @abstractmethod
    def write(self, message: pb.Payload, value: Any) -> None:
        """Put `value` into its field. Raises TypeError or ValueError if it cannot be sent."""

    @abstractmethod
    def read(self, message: pb.Payload) -> Any:
        """The value of its field."""

    @abstractmethod
    def is_single(self, values: object) -> bool:
        """Whether `values`, which should be several items, is a single one."""


class ImagePayload(PayloadKind):
    """The bytes of an image file."""

    name = "image"
    plural = "images"
    queries_per_call = 64

    def write(self, message: pb.Payload, value: Any) -> None:
        """Raises also OSError, or an image library's own errors, if the image cannot be read."""
        message.image = encoded_image(value)

    def read(self, message: pb.Payload) -> bytes:
        """The bytes as they were added."""
        data: bytes = message.image
        return data

    def is_single(self, values: object) -> bool:
        """See PayloadKind."""
        return is_image(values)


class TextPayload(PayloadKind):
    """A text."""

    name = "text"
    plural = "texts"
    queries_per_call = 128

    def write(self, message: pb.Payload, value: Any) -> None:
        """See PayloadKind."""
        message.text = checks.text("text", value)

    def read(self, message: pb.Payload) -> str:
        """The text as it was added."""
        value: str = message.text
        return value

    def is_single(self, values: object) -> bool:
        """See PayloadKind."""
        return isinstance(values, str | bytes)


class TensorPayload(PayloadKind):
    """An array with its own dtype and shape."""

    name = "tensor"
    plural = "tensors"
    queries_per_call = 64

    def write(self, message: pb.Payload, value: Any) -> None:
        """See PayloadKind."""
        arrays.write_tensor(message.tensor, value)

    def read(self, message: pb.Payload) -> Any:
        """The array as it was added, read-only."""
        return arrays.read_tensor(message.tensor)

    def is_single(self, values: object) -> bool:
        """See PayloadKind; an array is one item unless it has a dimension for the queries."""
        # ndim: of NumPy, torch, ...
        return isinstance(values, str | bytes) or getattr(values, "ndim", 2) < 2


KINDS: Final[Mapping[str, PayloadKind]] = {
    kind.name: kind for kind in (ImagePayload(), TextPayload(), TensorPayload())
}
KINDS_BY_PLURAL: Final[Mapping[str, PayloadKind]] = {kind.plural: kind for kind in KINDS.values()}


def read(message: pb.Payload) -> dict[str, Any]:
    """The raw item in a message, by the name of its kind; empty if the message is."""
    kind = message.WhichOneof("content")
    return {kind: KINDS[kind].read(message)} if kind else {}
