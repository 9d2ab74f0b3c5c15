"""Reading the store: records out of bytes, checksums verified, damage named.

A StoreReader reads either the live database or one snapshot of it. It is as thread-safe as
LevelDB: any number of threads may share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.faults import storage_errors
from euclidesdb_server.types import Embedding, Labels, Payload, Vector

FLOAT32 = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """What is stored of an item.

    labels: of its vector in each space. payload_label: of the write that stored its payload;
    None where none is kept. payload_digest: SHA-256 of the payload's kind, a zero byte and its
    bytes, kept or not; b"" where it never had one.
    """

    attributes_json: str = "{}"
    metadata: bytes = b""
    labels: Mapping[int, int] = field(default_factory=dict)
    payload_label: int | None = None
    payload_digest: bytes = b""

    def all_labels(self) -> set[int]:
        """Every label that refers to this item."""
        labels = set(self.labels.values())
        return labels if self.payload_label is None else labels | {self.payload_label}

    def packed(self) -> bytes:
        """The value of the item's key."""
        packed: bytes = msgpack.packb(
            [
                self.attributes_json,
                self.metadata,
                dict(self.labels),
                self.payload_label,
                self.payload_digest,
            ]
        )
        return packed


def unpack_item(value: bytes, what: str) -> ItemRecord:
    """The record in an item's value. Raises CorruptRecord."""
    attributes_json, metadata, labels, payload_label, payload_digest = unpack(value, what, 5)
    return ItemRecord(attributes_json, metadata, labels, payload_label, payload_digest)


def unpack(value: bytes, what: str, length: int) -> list[Any]:
    """The array of `length` msgpack values in `value`. Raises CorruptRecord naming `what`."""
    try:
        fields = msgpack.unpackb(value, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptRecord(f"{what} cannot be parsed: {error}") from error
    if not isinstance(fields, list) or len(fields) != length:
        raise CorruptRecord(f"{what} should have {length} fields: {fields!r}")
    return fields


class StoreReader:
    """Reads from `source`: a plyvel DB, or a snapshot of one."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def item(self, item_id: str) -> ItemRecord | None:
        """The record of an item; None where there is none."""
        value = self._get(keys.item_key(item_id))
        return None if value is None else unpack_item(value, f"the record of item {item_id!r}")

    def item_id(self, label: int) -> str | None:
        """The id of the item that `label` refers to; None where the label is buried."""
        value = self._get(keys.label_key(label))
        try:
            return None if value is None else value.decode()
        except UnicodeDecodeError as error:
            raise CorruptRecord(f"the id of label {label} is not UTF-8: {error}") from error

    def embedding(self, space: int, label: int) -> Embedding | None:
        """The vector and predictions of a label in a space."""
        vector = self._get(keys.row_key(keys.VECTOR, space, label))
        if vector is None:
            return None
        predictions = self._get(keys.row_key(keys.PREDICTIONS, space, label))
        return Embedding(
            _floats(vector, space, label),
            None if predictions is None else _floats(predictions, space, label),
        )

    def payload(self, label: int) -> Payload | None:
        """The payload that came with the write of `label`, where it is kept."""
        value = self._get(keys.payload_key(label))
        if value is None:
            return None
        kind, data = unpack(value, f"the payload of label {label}", 2)
        return Payload(kind, data)

    def vectors(self, space: int, *, after: int) -> Iterator[tuple[int, Vector]]:
        """Label and vector of every row of a space with a label greater than `after`."""
        for key, value in self._range(keys.VECTOR, space, after):
            label = keys.label_of(key)
            yield label, _floats(value, space, label)

    def burials(self, space: int) -> Labels:
        """The labels of a space that are buried and still recorded, ascending; int64 (n,)."""
        found = [keys.label_of(key) for key, _ in self._range(keys.BURIAL, space, -1)]
        return np.array(found, dtype=np.int64)

    def prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every key that starts with `prefix`, in order, with its value."""
        for key, value in self._scan(prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def _range(self, kind: bytes, space: int, after: int) -> Iterator[tuple[bytes, bytes]]:
        last = keys.row_key(kind, space, keys.GREATEST_LABEL)
        for key, value in self._scan(keys.row_key(kind, space, after + 1)):
            if key > last:
                return
            yield key, value

    def _scan(self, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        # plyvel's other iterator ends at a damaged block as if nothing came after it
        with storage_errors("reading"):
            iterator = self._source.raw_iterator(verify_checksums=True, fill_cache=False)
            try:
                iterator.seek(first)
                while iterator.valid():
                    yield iterator.item()
                    iterator.next()
            finally:
                iterator.close()

    def _get(self, key: bytes) -> bytes | None:
        with storage_errors("reading"):
            value: bytes | None = self._source.get(key, verify_checksums=True)
            return value


def _floats(value: bytes, space: int, label: int) -> Vector:
    if len(value) % FLOAT32.itemsize:
        raise CorruptRecord(
            f"label {label} in space {space}: {len(value)} bytes are no float32 vector"
        )
    return np.frombuffer(value, FLOAT32)
