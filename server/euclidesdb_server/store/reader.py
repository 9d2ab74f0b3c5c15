"""Reads records from the store; checksums are verified, and damage is named.

A StoreReader reads either the live database or one snapshot of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import msgspec
import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.item_values import item_values
from euclidesdb_server.store.leveldb_reads import Readable
from euclidesdb_server.values.arrays import Labels, Matrix, Vector
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.payload import Payload

FLOAT32 = np.dtype("<f4")
ITEM_FIELDS: Final = (5, 6, 7, 8, 9)
"""How many the record of an item has."""
SPARSE: Final = 8
"""Scanning over this many labels costs as much as looking one up."""


class ItemRecord(msgspec.Struct, frozen=True):
    """What is stored of an item.

    labels: of its vector in each space. payload_label: of the write that stored its payload; None
    if none is kept. payload_digest: `Payload.digest`, whether the payload is kept or not; b"" if
    the item never had one. ready_made: the spaces whose vector was not made from that payload.
    changed_label: of the last write that changed the record, if no other field names it.
    added_label: of the write that added the item, if it is not the least that is named. failed: of
    the failure in each space whose model failed on the item, and which has no vector.

    `current_label` and `first_label` give the latter two whichever field names them.
    """

    attributes_json: str = "{}"
    metadata: bytes = b""
    labels: Mapping[int, int] = msgspec.field(default_factory=dict)
    payload_label: int | None = None
    payload_digest: bytes = b""
    ready_made: frozenset[int] = frozenset()
    changed_label: int | None = None
    added_label: int | None = None
    failed: Mapping[int, int] = msgspec.field(default_factory=dict)

    def all_labels(self) -> set[int]:
        """Every label that refers to this item, and so has a key."""
        labels = {*self.labels.values(), *self.failed.values()}
        if self.payload_label is not None:
            labels.add(self.payload_label)
        if self.changed_label is not None:
            labels.add(self.changed_label)
        return labels

    @property
    def current_label(self) -> int:
        """The label of the last write that changed the record: the greatest that it names.

        0 if it names none, which only a damaged record does.
        """
        return max(self.all_labels(), default=0)

    @property
    def first_label(self) -> int:
        """The label of the write that added the item; it stays until the item is removed.

        0 as in `current_label`.
        """
        return min(self.all_labels(), default=0) if self.added_label is None else self.added_label

    def with_labels(self, *, current: int, first: int) -> ItemRecord:
        """The record with these labels, which it names only as far as it has to.

        current: at least as great as all others. first: at most.
        """
        data = [*self.labels.values(), *self.failed.values()]
        if self.payload_label is not None:
            data.append(self.payload_label)
        changed = None if current in data else current
        added = None if first == min(data, default=current) else first
        if (changed, added) == (self.changed_label, self.added_label):
            return self
        return msgspec.structs.replace(self, changed_label=changed, added_label=added)

    def packed(self) -> bytes:
        """The value of the item's key."""
        fields = [
            self.attributes_json,
            self.metadata,
            dict(self.labels),
            self.payload_label,
            self.payload_digest,
            sorted(self.ready_made),
        ]
        rest = [self.changed_label, self.added_label, dict(self.failed) or None]
        while rest and rest[-1] is None:
            rest.pop()
        return packed(fields + rest)


def unpack_item(value: bytes, what: str) -> ItemRecord:
    """The record in an item's value. Raises CorruptRecord naming `what`."""
    fields = unpack(value, what, *ITEM_FIELDS)
    attributes_json, metadata, labels, payload_label, digest = fields[:5]
    ready_made = fields[5] if len(fields) > 5 else labels  # not recorded: any vector may be
    try:
        return ItemRecord(
            attributes_json, metadata, labels, payload_label, digest, frozenset(ready_made),
            *fields[6:],
        )  # fmt: skip
    except TypeError as error:
        raise CorruptRecord(f"{what} has a field of the wrong type: {error}") from error


def unpack_failure(value: bytes, space: int, label: int) -> Failure:
    """The failure in a value. Raises CorruptRecord."""
    try:
        return Failure(*msgspec.msgpack.decode(value, type=tuple[str, str, int]))
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptRecord(f"the failure of label {label} in space {space}: {error}") from error


def unpack(value: bytes, what: str, *lengths: int) -> list[Any]:
    """The array of msgpack values in `value`, of one of `lengths`.

    Raises CorruptRecord naming `what`.
    """
    try:
        fields = msgpack.unpackb(value, strict_map_key=False)
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise CorruptRecord(f"{what} cannot be parsed: {error}") from error
    if not isinstance(fields, list) or len(fields) not in lengths:
        expected = " to ".join(map(str, dict.fromkeys((lengths[0], lengths[-1]))))
        raise CorruptRecord(f"{what} should have {expected} fields: {fields!r}")
    return fields


packed: Final = msgspec.msgpack.Encoder().encode
"""A value as msgpack, as short as possible; `msgpack.packb` allocates 1 MiB for each call."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of one space: their labels, ascending, ids, and vectors, float32 (n, feature_dim)."""

    labels: Labels
    ids: list[str]
    vectors: Matrix


class StoreReader:
    """Reads from `source`: the live database, or one moment of it.

    Any number of threads may share one. Every method raises CorruptRecord if what is stored cannot
    be what was written, StorageError, and ShuttingDown once the source is closed.
    """

    def __init__(self, source: Readable) -> None:
        self.source = source

    def item(self, item_id: str) -> ItemRecord | None:
        """The record of an item; None if it is not stored."""
        value = self.value(keys.item_key(item_id))
        return None if value is None else unpack_item(value, f"the record of item {item_id!r}")

    def vector_labels(self, item_id: str) -> Mapping[int, int] | None:
        """The labels of an item's vectors, by space; None if the item is not stored."""
        value = self.value(keys.item_key(item_id))
        if value is None:
            return None
        labels = unpack(value, f"the record of item {item_id!r}", *ITEM_FIELDS)[2]
        if not isinstance(labels, dict):
            raise CorruptRecord(f"the record of item {item_id!r} has no labels: {labels!r}")
        return labels

    def items(self, ids: Sequence[str]) -> list[ItemRecord | None]:
        """The records of many items."""
        values = item_values(self.source, ids)
        if values.count(None) == len(values):  # as in a bulk load
            return [None] * len(values)
        return [
            None if value is None else unpack_item(value, f"the record of item {item_id!r}")
            for item_id, value in zip(ids, values, strict=True)
        ]

    def item_id(self, label: int) -> str | None:
        """The id of the item that `label` refers to; None if the label is deleted."""
        return _text(label, self.value(keys.label_key(label)))

    def vector(self, space: int, label: int) -> Vector | None:
        """The vector of a label in a space; None if there is none."""
        value = self.value(keys.row_key(keys.VECTOR, space, label))
        return None if value is None else _floats(value, space, label)

    def embedding(self, space: int, label: int) -> Embedding | None:
        """The vector and predictions of a label in a space; None if there are none."""
        # In this order: both are deleted in one batch, so if the vector is still there, so were
        # the predictions when they were read.
        predictions = self.predictions(space, label)
        vector = self.vector(space, label)
        return None if vector is None else Embedding(vector, predictions)

    def predictions(self, space: int, label: int) -> Vector | None:
        """The predictions of a label in a space; None if there are none."""
        value = self.value(keys.row_key(keys.PREDICTIONS, space, label))
        return None if value is None else _floats(value, space, label)

    def item_failure(self, space: int, label: int) -> Failure | None:
        """The failure of a label in a space; None if there is none."""
        value = self.value(keys.row_key(keys.FAILURE, space, label))
        return None if value is None else unpack_failure(value, space, label)

    def payload(self, label: int) -> Payload | None:
        """The payload stored by the write of `label`; None if it is not kept."""
        value = self.value(keys.payload_key(label))
        if value is None:
            return None
        kind, data = unpack(value, f"the payload of label {label}", 2)
        return Payload(kind, data)

    def rows(self, space: int, dim: int, *, after: int, up_to: int) -> Iterator[StoredRows]:
        """The rows of a space with labels in (after, up_to], ascending, some at a time."""
        first, last = (keys.row_key(keys.VECTOR, space, label) for label in (after + 1, up_to))
        for found in self.source.scan(first, last):
            labels = [keys.label_of(key) for key, _ in found]
            for label, (_, value) in zip(labels, found, strict=True):
                if len(value) != dim * FLOAT32.itemsize:
                    raise CorruptRecord(
                        f"label {label} in space {space}: {len(value)} bytes are not a vector of "
                        f"{dim} float32"
                    )
            vectors = np.frombuffer(b"".join([value for _, value in found]), FLOAT32)
            yield StoredRows(
                np.array(labels, np.int64),
                self._ids(space, labels),
                vectors.reshape(len(labels), dim),
            )

    def tombstones(self, space: int) -> Labels:
        """The tombstones of a space: deleted labels that a segment may still hold, ascending."""
        first, last = (keys.row_key(keys.TOMBSTONE, space, label) for label in (0, keys.MAX_LABEL))
        found = [keys.label_of(key) for rows in self.source.scan(first, last) for key, _ in rows]
        return np.array(found, dtype=np.int64)

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that starts with `prefix`, in order, with its value."""
        for rows in self.source.scan(prefix, (prefix or b"\xff") + b"\xff" * keys.MAX_KEY_BYTES):
            yield from rows

    def between(self, first: bytes, last: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key from `first` to `last`, both included, in order, with its value."""
        for rows in self.source.scan(first, last):
            yield from rows

    def value(self, key: bytes) -> bytes | None:
        """The value of a key; None if it is not stored."""
        return self.source.get(key)

    def _ids(self, space: int, labels: list[int]) -> list[str]:
        """The ids of the items that the labels of rows refer to."""
        wanted = [keys.label_key(label) for label in labels]
        if labels[-1] - labels[0] < SPARSE * len(labels):
            scan = self.source.scan(wanted[0], wanted[-1])
            known: dict[bytes, bytes | None] = {key: value for rows in scan for key, value in rows}
        else:  # most labels between are of other spaces
            known = dict(zip(wanted, self.source.get_many(wanted), strict=True))
        ids = []
        for label, key in zip(labels, wanted, strict=True):
            item_id = _text(label, known.get(key))
            if item_id is None:
                raise CorruptRecord(f"label {label} in space {space} has no item")
            ids.append(item_id)
        return ids


def _floats(value: bytes, space: int, label: int) -> Vector:
    if len(value) % FLOAT32.itemsize:
        raise CorruptRecord(
            f"label {label} in space {space}: {len(value)} bytes are not a float32 vector"
        )
    return np.frombuffer(value, FLOAT32)


def _text(label: int, value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError as error:
        raise CorruptRecord(f"the id of label {label} is not UTF-8: {error}") from error
