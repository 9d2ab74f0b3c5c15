"""Writes of items as changes of records: what each adds to a batch, and what it deletes.

FORMAT.md describes the records. Each function adds to a plyvel.WriteBatch, which is written as a
whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import FLOAT32, ItemRecord, packed
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.payload import Payload

_ARRAY_OF_TWO: Final = b"\x92"
_BYTES: Final = ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4))
"""How msgpack writes bytes: a marker, their length in so many bytes, and they themselves."""


class ItemWrite(msgspec.Struct, frozen=True):
    """One write of an item: its new record, and what is stored under the write's label.

    before: the record that it replaces; None: the item is new. after: its `current_label` must be
    the write's label, and its `first_label` that of `before` (`ItemRecord.with_labels`).
    embeddings, failures: by space; `after` must give each of these spaces the write's label.
    payload: stored if it is given.
    """

    item_id: str
    label: int
    before: ItemRecord | None
    after: ItemRecord
    embeddings: Mapping[int, Embedding] = msgspec.field(default_factory=dict)
    payload: Payload | None = None
    failures: Mapping[int, Failure] = msgspec.field(default_factory=dict)


def put_item(batch: Any, write: ItemWrite) -> None:
    """Add one write of an item to a batch."""
    batch.put(keys.item_key(write.item_id), write.after.packed())
    batch.put(keys.label_key(write.label), write.item_id.encode())
    for space, embedding in write.embeddings.items():
        row = (space, write.label)
        batch.put(keys.row_key(keys.VECTOR, *row), _floats(embedding.vector))
        if embedding.predictions is not None:
            batch.put(keys.row_key(keys.PREDICTIONS, *row), _floats(embedding.predictions))
    for space, failure in write.failures.items():
        value = packed([failure.reason, failure.message, failure.time])
        batch.put(keys.row_key(keys.FAILURE, space, write.label), value)
    if write.payload is not None:
        batch.put(keys.payload_key(write.label), packed_payload(write.payload))
    if write.before is not None:
        _delete(batch, write.before, write.after)


def delete_item(batch: Any, item_id: str, before: ItemRecord) -> None:
    """Add the removal of an item, with all that is stored of it."""
    batch.delete(keys.item_key(item_id))
    _delete(batch, before, ItemRecord())


def packed_payload(payload: Payload) -> bytes:
    """The value of a payload's key: msgpack of its kind and its data, which is copied once."""
    length = len(payload.data)
    marker, size = next(each for each in _BYTES if length >> 8 * each[1] == 0)
    head = (_ARRAY_OF_TWO, packed(payload.kind), marker, length.to_bytes(size, "big"))
    return b"".join((*head, payload.data))


def _floats(vector: Vector) -> bytes:
    return vector.astype(FLOAT32, copy=False).tobytes()


def _delete(batch: Any, before: ItemRecord, after: ItemRecord) -> None:
    """Delete what `before` has and `after` does not, with a tombstone for each vector."""
    for space, label in before.labels.items():
        if after.labels.get(space) != label:
            batch.delete(keys.row_key(keys.VECTOR, space, label))
            batch.delete(keys.row_key(keys.PREDICTIONS, space, label))
            batch.put(keys.row_key(keys.TOMBSTONE, space, label), b"")
    for space, label in before.failed.items():
        if after.failed.get(space) != label:
            batch.delete(keys.row_key(keys.FAILURE, space, label))
    if before.payload_label is not None and before.payload_label != after.payload_label:
        batch.delete(keys.payload_key(before.payload_label))
    for label in before.all_labels() - after.all_labels():
        batch.delete(keys.label_key(label))
