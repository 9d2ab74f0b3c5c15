"""Items to add, in batches of bounded size: one for each call."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from euclidesdb import _arrays as arrays
from euclidesdb import _checks as checks
from euclidesdb._checks import ItemId
from euclidesdb._connection import Connection
from euclidesdb._errors import Refused
from euclidesdb._images import file_name
from euclidesdb._payloads import KINDS
from euclidesdb._request_keys import part_key, request_key_of
from euclidesdb._types import ModelVector, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb

ITEMS_PER_CALL: Final = 128
"""Three calls in flight hold 384; a model's queue holds 1,024 by default and serves others too."""
VECTORS_PER_CALL: Final = 4096

Refuse: TypeAlias = Callable[[Refused], None]
NewItems: TypeAlias = Iterable[NewItem] | AsyncIterable[NewItem]


@dataclass(frozen=True, slots=True)
class Batch:
    """The items that one call adds or imports; the type of its request says which.

    positions: the positions of its items among all items given, ascending. files: the names of the
    files of images, by place in the batch.
    """

    request: pb.AddItemsRequest | pb.AddVectorsRequest | pb.ImportItemsRequest
    positions: Sequence[int]
    ids: Sequence[str]
    files: Mapping[int, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The name of the call."""
        return _METHODS[type(self.request)]


_METHODS: Final[Mapping[type, str]] = {
    pb.AddItemsRequest: "AddItems",
    pb.AddVectorsRequest: "AddVectors",
    pb.ImportItemsRequest: "ImportItems",
}


async def item_request(connection: Connection, item: NewItem) -> pb.AddItemRequest:
    """As `add_request`, without blocking an event loop."""
    if item.image is None or isinstance(item.image, bytes):
        return add_request(item)
    return await connection.offload(add_request, item)  # reads a file, or encodes pixels


def add_request(item: NewItem) -> pb.AddItemRequest:
    """The message for one item.

    Raises TypeError or ValueError if it cannot be sent, and other errors if its image cannot be
    read.
    """
    raw = {kind: getattr(item, kind) for kind in KINDS}
    request = pb.AddItemRequest(
        id=checks.item_id("id", item.id),
        models=checks.names("models", item.models),
        request_key=request_key_of(item.request_key),
    )
    if any(value is not None for value in raw.values()):
        kind, value = checks.exactly_one(raw)
        KINDS[kind].write(request.payload, value)
    for model, vector in _by_model(item.vectors):
        message = request.vectors[checks.text("a name in vectors", model)]
        arrays.write_vector(message, vector, name=f"the vector of model {model!r}")
    if item.attributes is not None:
        name = f"attributes of {item.id!r}"
        request.attributes_json = checks.attributes_json(name, item.attributes)
    if item.metadata is not None:
        request.metadata = checks.opaque("metadata", item.metadata)
    _check_content(request)
    return request


def _by_model(
    vectors: Mapping[str, npt.ArrayLike | ModelVector] | None,
) -> Iterable[tuple[str, npt.ArrayLike | ModelVector]]:
    """The models and vectors of a mapping; an array, which names no model, is refused."""
    if vectors is None:
        return ()
    if not isinstance(vectors, Mapping):
        raise TypeError(f"vectors must be a mapping {{model: vector}}, not {checks.shown(vectors)}")
    return vectors.items()


def _check_content(request: pb.AddItemRequest) -> None:
    """Raise ValueError unless there is something to add.

    The server checks this too, but its messages use the protocol's terms.
    """
    kind = request.payload.WhichOneof("content")
    if not kind and request.models:
        raise ValueError(
            f"nothing to embed with models {[*request.models]}: image, text and tensor are None"
        )
    if not kind and not request.vectors:
        raise ValueError(
            "nothing to add: give an image, a text or a tensor and its models, or vectors, or both"
        )


async def item_batches(
    connection: Connection,
    items: AsyncGenerator[NewItem, None],
    bytes_per_call: int,
    refuse: Refuse,
) -> AsyncGenerator[Batch, None]:
    """`items` in batches; closes them. Those that cannot be sent are passed to `refuse`.

    If iterating `items` raises, the items before that are yielded first.
    """
    request, positions, files, size = pb.AddItemsRequest(), list[int](), dict[int, str](), 0
    failure: Exception | None = None
    try:
        async with aclosing(messages(connection, items, refuse)) as made:
            async for position, message, file in made:
                message_bytes = message.ByteSize()
                full = len(positions) == ITEMS_PER_CALL or size + message_bytes > bytes_per_call
                if positions and full:
                    yield _item_batch(request, positions, files)
                    request, positions, files, size = pb.AddItemsRequest(), [], {}, 0
                if file:
                    files[len(positions)] = file
                request.items.append(message)
                positions.append(position)
                size += message_bytes
    except Exception as error:  # whatever the caller's iterable raises
        failure = error
    if positions:
        yield _item_batch(request, positions, files)
    if failure is not None:
        raise failure


def _item_batch(
    request: pb.AddItemsRequest, positions: Sequence[int], files: Mapping[int, str]
) -> Batch:
    return Batch(request, positions, [item.id for item in request.items], files)


async def messages(
    connection: Connection, items: AsyncGenerator[NewItem, None], refuse: Refuse
) -> AsyncGenerator[tuple[int, pb.AddItemRequest, str], None]:
    """The position of each item, its message, and the name of the file of its image."""
    position = -1
    async with aclosing(items):
        async for item in items:
            position += 1
            if not isinstance(item, NewItem):
                raise TypeError(f"item {position} must be a NewItem, not {checks.shown(item)}")
            try:
                message = await item_request(connection, item)
            except Exception as error:  # a broken image raises its library's own errors
                refuse(Refused(position, checks.shown_id(item.id), error))
            else:
                yield position, message, file_name(item.image)


class VectorColumns:
    """The arguments of `add_vectors`, all checked before anything is sent."""

    def __init__(
        self,
        ids: Iterable[ItemId],
        vectors: npt.ArrayLike,
        *,
        model: str,
        fingerprint: str | None,
        attributes: Sequence[Mapping[str, Any]] | None,
        metadata: Sequence[bytes] | None,
        request_key: bytes | None,
    ) -> None:
        self._request_key = request_key_of(request_key)
        self._model = checks.text("model", model)
        self._fingerprint = "" if fingerprint is None else checks.text("fingerprint", fingerprint)
        self._ids = checks.item_ids("ids", ids)
        self._attributes = [
            checks.attributes_json(f"attributes[{row}]", value)
            for row, value in enumerate(attributes or ())
        ]
        self._metadata = [
            checks.opaque(f"metadata[{row}]", value) for row, value in enumerate(metadata or ())
        ]
        self._vectors = arrays.matrix("vectors", vectors)
        counts = {"vectors": len(self._vectors)}
        if attributes is not None:
            counts["attributes"] = len(self._attributes)
        if metadata is not None:
            counts["metadata"] = len(self._metadata)
        for name, count in counts.items():
            if count != len(self._ids):
                raise ValueError(
                    f"{name} must be one per id: there are {len(self._ids)} ids, and {name} has "
                    f"{count}"
                )

    async def batches(self, bytes_per_call: int) -> AsyncGenerator[Batch, None]:
        """The rows in batches; a memory-mapped array is read one batch at a time."""
        columns = (self._ids, self._attributes, self._metadata)
        for rows in row_slices(self._vectors, columns, bytes_per_call):
            request = pb.AddVectorsRequest(
                model=self._model,
                fingerprint=self._fingerprint,
                ids=self._ids[rows],
                attributes_json=self._attributes[rows],
                metadata=self._metadata[rows],
                request_key=part_key(self._request_key, rows.start),
            )
            arrays.write_floats(request.vectors, self._vectors[rows])
            yield Batch(request, range(rows.start, rows.stop), self._ids[rows])


def row_slices(
    vectors: npt.NDArray[Any], columns: Iterable[Sequence[Any]], bytes_per_call: int
) -> Iterator[slice]:
    """The rows for one call of AddVectors after the other. columns: texts and bytes, or empty."""
    count, dim = vectors.shape
    sizes = np.full(count, 4 * dim, np.int64)
    for column in columns:
        if column:
            sizes += np.fromiter(map(len, column), np.int64, count)
    ends = np.cumsum(sizes)
    start = 0
    while start < count:
        before = int(ends[start] - sizes[start])
        fitting = int(np.searchsorted(ends, before + bytes_per_call, side="right"))
        stop = min(max(fitting, start + 1), start + VECTORS_PER_CALL)
        yield slice(start, stop)
        start = stop
