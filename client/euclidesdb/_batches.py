"""What is added, cut into calls of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb import _convert as convert
from euclidesdb import _payloads as payloads
from euclidesdb._errors import Refused
from euclidesdb._types import NewItem
from euclidesdb_protos.v1 import database_pb2 as pb

ITEMS_PER_CALL: Final = 128
"""With three calls under way 384: a model's queue holds 1,024 by default, and has other users."""
VECTORS_PER_CALL: Final = 4096

Refuse: TypeAlias = Callable[[Refused], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call adds.

    positions: of its items among all that were given, ascending.
    """

    request: pb.AddItemsRequest | pb.AddVectorsRequest
    positions: Sequence[int]
    ids: Sequence[str]


def add_request(item: NewItem) -> pb.AddItemRequest:
    """The message for one item. Raises whatever is wrong with it, or with its image."""
    raw = {"image": item.image, "text": item.text, "tensor": item.tensor}
    request = pb.AddItemRequest(
        id=convert.text("id", item.id), models=convert.names("models", item.models)
    )
    if any(value is not None for value in raw.values()):
        payloads.write(request.payload, *convert.exactly_one(raw))
    for model, vector in convert.by_model("vectors", item.vectors):
        convert.write_vector(request.vectors[convert.text("a name in vectors", model)], vector)
    if item.attributes is not None:
        name = f"attributes of {item.id!r}"
        request.attributes_json = convert.attributes_json(name, item.attributes)
    if item.metadata is not None:
        request.metadata = convert.opaque("metadata", item.metadata)
    _check_content(request)
    return request


def _check_content(request: pb.AddItemRequest) -> None:
    """Raise ValueError unless there is something to add.

    The server would, too, in the words of the protocol.
    """
    kind = request.payload.WhichOneof("content")
    if kind and not request.models:
        raise ValueError(f"the {kind} needs models to embed it: models is empty")
    if not kind and request.models:
        raise ValueError(
            f"nothing to embed with models {[*request.models]}: image, text and tensor are None"
        )
    if not kind and not request.vectors:
        raise ValueError(
            "nothing to add: give an image, a text or a tensor and its models, or vectors, or both"
        )


def item_batches(items: Iterable[NewItem], bytes_per_call: int, refuse: Refuse) -> Iterator[Batch]:
    """`items` in batches; what cannot be sent is refused here and left out.

    Where iterating `items` raises, what it gave until then comes first.
    """
    request, positions, size = pb.AddItemsRequest(), list[int](), 0
    failure: Exception | None = None
    try:
        for position, message in _messages(items, refuse):
            message_bytes = message.ByteSize()
            full = len(positions) == ITEMS_PER_CALL or size + message_bytes > bytes_per_call
            if positions and full:
                yield _item_batch(request, positions)
                request, positions, size = pb.AddItemsRequest(), [], 0
            request.items.append(message)
            positions.append(position)
            size += message_bytes
    except Exception as error:  # whatever the caller's iterable raises
        failure = error
    if positions:
        yield _item_batch(request, positions)
    if failure is not None:
        raise failure


def _item_batch(request: pb.AddItemsRequest, positions: Sequence[int]) -> Batch:
    return Batch(request, positions, [item.id for item in request.items])


def _messages(items: Iterable[NewItem], refuse: Refuse) -> Iterator[tuple[int, pb.AddItemRequest]]:
    for position, item in enumerate(items):
        if not isinstance(item, NewItem):
            raise TypeError(f"item {position} must be a NewItem, not {type(item).__name__}")
        try:
            message = add_request(item)
        except Exception as error:  # a broken image raises what its library likes
            refuse(Refused(position, item.id, error))
        else:
            yield position, message


class VectorColumns:
    """The arguments of `add_vectors`, checked before anything is sent."""

    def __init__(
        self,
        ids: Iterable[str],
        vectors: npt.ArrayLike,
        *,
        model: str,
        fingerprint: str | None,
        attributes: Sequence[Mapping[str, Any]] | None,
        metadata: Sequence[bytes] | None,
    ) -> None:
        self._model = convert.text("model", model)
        self._fingerprint = "" if fingerprint is None else convert.text("fingerprint", fingerprint)
        self._ids = convert.names("ids", ids)
        self._attributes = [
            convert.attributes_json(f"attributes[{row}]", value)
            for row, value in enumerate(attributes or ())
        ]
        self._metadata = [convert.opaque("metadata", value) for value in metadata or ()]
        self._vectors = arrays.matrix("vectors", vectors)
        counts = {"vectors": len(self._vectors)}
        if attributes is not None:
            counts["attributes"] = len(self._attributes)
        if metadata is not None:
            counts["metadata"] = len(self._metadata)
        for name, count in counts.items():
            if count != len(self._ids):
                raise ValueError(f"{name} must be one per id: {len(self._ids)}, not {count}")

    def batches(self, bytes_per_call: int) -> Iterator[Batch]:
        """The rows in batches; only those of a batch are read from a memory-mapped array."""
        for start, stop in self._ranges(bytes_per_call):
            rows = slice(start, stop)
            request = pb.AddVectorsRequest(
                model=self._model,
                fingerprint=self._fingerprint,
                ids=self._ids[rows],
                attributes_json=self._attributes[rows],
                metadata=self._metadata[rows],
            )
            arrays.write_floats(request.vectors, self._vectors[rows])
            yield Batch(request, range(start, stop), self._ids[rows])

    def _ranges(self, bytes_per_call: int) -> Iterator[tuple[int, int]]:
        count = len(self._ids)
        sizes = np.full(count, 4 * self._vectors.shape[1], np.int64)
        for column in (self._ids, self._attributes, self._metadata):
            if column:
                sizes += np.fromiter(map(len, column), np.int64, count)
        ends = np.cumsum(sizes)
        start = 0
        while start < count:
            before = int(ends[start] - sizes[start])
            fitting = int(np.searchsorted(ends, before + bytes_per_call, side="right"))
            stop = min(max(fitting, start + 1), start + VECTORS_PER_CALL)
            yield start, stop
            start = stop
