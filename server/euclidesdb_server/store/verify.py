"""Verifies a store: parses every record, and checks it against the records that it refers to.

`check_store` reports what is wrong, and what a repair has to change (`repair.py` applies it).
Records are read one at a time and only their keys are kept, in a compact form: the memory needed
depends on the number of items and vectors, not on their bytes. Knows nothing of segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import Any

import msgpack
import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.label_set import LabelSet
from euclidesdb_server.store.reader import FLOAT32, ItemRecord, unpack, unpack_item
from euclidesdb_server.store.repair import ItemChange, Repair, checksum_of
from euclidesdb_server.store.segment_records import CHUNK_BYTES, SegmentRecord, unpack_segments
from euclidesdb_server.store.store import FORMAT_VERSION


@dataclass(slots=True)
class StoreReport:
    """What `check_store` found. findings: one sentence per problem. repair: what removes them.

    live_labels: by space, the item id of each label that has a vector there. deleted_labels: by
    space, the labels with a tombstone. segments: by space, those that the store names.
    deleted_rows: by space and generation, the chunks of the bitmap of a segment's deleted rows.
    dropped_spaces: whose segments are of no interest.
    """

    findings: list[str] = field(default_factory=list)
    repair: Repair = field(default_factory=Repair)
    live_labels: dict[int, dict[int, str]] = field(default_factory=dict)
    deleted_labels: Mapping[int, Set[int]] = field(default_factory=dict)
    segments: dict[int, list[SegmentRecord]] = field(default_factory=dict)
    deleted_rows: dict[tuple[int, int], dict[int, bytes]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    dropped_spaces: set[int] = field(default_factory=set)
    items: int = 0
    format_version: int | None = None


def check_store(
    records: Iterable[tuple[bytes, bytes]], spaces: Mapping[int, list[Any]]
) -> StoreReport:
    """Check all records of a store, given in order of their keys. They are read twice.

    spaces: the fields of the records of spaces, by number, as known from the segments: records
    that the store has lost are restored from them.
    """
    check = _StoreCheck(spaces)
    check.parse(records)
    check.restore_missing(spaces)
    # the items come first, and with them all that may refer to another record
    check.check_items(takewhile(lambda record: record[0][:1] <= keys.ITEM, records))
    check.check_unused()
    return check.report


class _StoreCheck:
    """A pass over all records, in order of keys, then one over the items.

    claims: by space and label, the item whose record names the label there. owners: by label, the
    item that names it anywhere. named: the labels whose record names their owner; strays: what the
    others name.
    """

    def __init__(self, spaces: Mapping[int, list[Any]]) -> None:
        self.report = StoreReport()
        self.repair = self.report.repair
        self.dims: dict[int, int] = {number: fields[2] for number, fields in spaces.items()}
        self.stored_spaces: set[int] = set()
        self.reserved = 1
        self.claims: dict[int, dict[int, str]] = defaultdict(dict)
        self.owners: dict[int, str] = {}
        self.named = LabelSet()
        self.strays: dict[int, str] = {}
        self.vectors: dict[int, LabelSet] = defaultdict(LabelSet)
        self.tombstones: dict[int, LabelSet] = defaultdict(LabelSet)
        self.payloads = LabelSet()
        self.used_payloads: set[int] = set()

    def parse(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Parse each record; those that cannot be parsed are discarded."""
        parsers: Mapping[bytes, Callable[[bytes, bytes], None]] = {
            keys.DATABASE: self._parse_database,
            keys.LABELS_RESERVED: self._parse_labels_reserved,
            keys.SPACE: self._parse_space,
            keys.ITEM: self._parse_item,
            keys.LABEL: self._parse_label,
            keys.VECTOR: self._parse_vector,
            keys.PREDICTIONS: self._parse_predictions,
            keys.TOMBSTONE: self._parse_tombstone,
            keys.PAYLOAD: self._parse_payload,
            keys.SEGMENTS: self._parse_segments,
            keys.DELETED_ROWS: self._parse_deleted_rows,
            keys.DROPPED_SPACE: self._parse_dropped_space,
        }
        for key, value in records:
            self.repair.checksum = checksum_of(key, value, self.repair.checksum)
            try:
                parse = parsers[key[:1]]
            except KeyError:
                self._discard(key, f"a record of unknown kind {key[:1]!r}")
                continue
            try:
                parse(key, value)
            except (CorruptRecord, ValueError, TypeError, LookupError) as error:
                self._discard(key, f"{key[:40]!r} cannot be parsed: {error}")
            except Exception as error:  # struct.error, AttributeError: whatever damaged bytes raise
                self._discard(key, f"{key[:40]!r} cannot be parsed: {error!r}")

    def restore_missing(self, spaces: Mapping[int, list[Any]]) -> None:
        """Restore the records of the format and of spaces, without which the rest is useless."""
        if self.report.format_version is None and (self.report.items or spaces):
            self._replace(
                keys.DATABASE,
                msgpack.packb([FORMAT_VERSION]),
                "the record of the store's format is missing",
            )
            self.report.format_version = FORMAT_VERSION
        for number in spaces.keys() - self.stored_spaces - self.report.dropped_spaces:
            self._replace(
                keys.space_key(number),
                msgpack.packb(spaces[number]),
                f"the record of space {number} is missing",
            )

    def check_items(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Check what the record of each item refers to."""
        for key, value in records:
            if key.startswith(keys.ITEM) and key not in self.repair.discarded:
                item_id = key[1:].decode()
                self._check_item(key, item_id, unpack_item(value, repr(item_id)))

    def check_unused(self) -> None:
        """Find the records that no item refers to, and complete the report."""
        for label in self.named:
            if not self._in_use(label):
                self._discard_label(label, self.owners[label])
        for label, item_id in self.strays.items():
            if not self._in_use(label):
                self._discard_label(label, item_id)
        for number, labels in self.vectors.items():
            live = self.claims.get(number, {})
            for label in labels:
                if label not in live:
                    finding = f"the vector of label {label} in space {number} belongs to no item"
                    self._discard(keys.row_key(keys.VECTOR, number, label), finding)
                    self.repair.discarded.add(keys.row_key(keys.PREDICTIONS, number, label))
        for label in self.payloads:
            if label not in self.used_payloads:
                finding = f"the payload of label {label} belongs to no item"
                self._discard(keys.payload_key(label), finding)
        max_label = max(chain(self.named, self.strays, self.owners), default=0)
        if max_label >= self.reserved:
            self._replace(
                keys.LABELS_RESERVED,
                keys.pack_label(max_label + 1),
                f"label {max_label} is in use, but only labels below {self.reserved} are reserved",
            )
        self.report.live_labels = {number: live for number, live in self.claims.items() if live}
        self.report.deleted_labels = self.tombstones

    def _check_item(self, key: bytes, item_id: str, record: ItemRecord) -> None:
        kept = {}
        for number, label in record.labels.items():
            problem = self._problem_with_vector(item_id, number, label)
            if problem is None:
                kept[number] = label
                continue
            self.report.findings.append(
                f"item {item_id!r} has no vector in space {number}: {problem}"
            )
            if self.claims[number].get(label) == item_id:
                del self.claims[number][label]
        payload_label = record.payload_label
        if payload_label is not None and payload_label not in self.payloads:
            self.report.findings.append(f"the payload of item {item_id!r} is missing")
            payload_label = None
        without_vector = record.ready_made - record.labels.keys()
        if without_vector:
            self.report.findings.append(
                f"item {item_id!r} lists a ready-made vector in spaces "
                f"{sorted(without_vector, key=repr)}, but has none there"
            )
        change = ItemChange(kept, payload_label, record.ready_made.intersection(kept))
        if change != ItemChange.of(record):
            self.repair.changed[key] = change
        used = {*kept.values()}
        if payload_label is not None:
            self.used_payloads.add(payload_label)
            used.add(payload_label)
        for label in used:
            if label not in self.named and self.owners[label] == item_id:
                finding = f"label {label} does not name its item {item_id!r}"
                self._replace(keys.label_key(label), item_id.encode(), finding)

    def _problem_with_vector(self, item_id: str, number: int, label: int) -> str | None:
        """Why an item cannot have the vector that its record names; None if it can."""
        if number not in self.dims:
            return "there is no such space"
        if self.owners[label] != item_id:
            return f"label {label} also belongs to item {self.owners[label]!r}"
        if label not in self.vectors.get(number, ()):
            return f"the vector of label {label} is missing or unreadable"
        if label in self.tombstones.get(number, ()):
            return f"label {label} is deleted: it was replaced or removed"
        return None

    def _in_use(self, label: int) -> bool:
        return label in self.used_payloads or any(label in live for live in self.claims.values())

    def _discard_label(self, label: int, item_id: str) -> None:
        self._discard(keys.label_key(label), f"label {label} of item {item_id!r} is not in use")

    def _discard(self, key: bytes, finding: str) -> None:
        self.report.findings.append(finding)
        self.repair.discarded.add(key)

    def _replace(self, key: bytes, value: bytes, finding: str) -> None:
        self.report.findings.append(finding)
        self.repair.replaced[key] = value

    def _parse_database(self, _: bytes, value: bytes) -> None:
        (self.report.format_version,) = unpack(value, "the database record", 1)

    def _parse_labels_reserved(self, _: bytes, value: bytes) -> None:
        self.reserved = keys.unpack_label(value)

    def _parse_space(self, key: bytes, value: bytes) -> None:
        fields = unpack(value, "the record of a space", 4)
        self.dims[keys.space_of(key)] = int(fields[2])
        self.stored_spaces.add(keys.space_of(key))

    def _parse_item(self, key: bytes, value: bytes) -> None:
        item_id = key[1:].decode()
        record = unpack_item(value, f"the record of item {item_id!r}")
        labels = record.all_labels()
        if odd := [label for label in labels if type(label) is not int or label < 0]:
            raise CorruptRecord(f"it names labels that cannot exist: {odd}")
        for number, label in record.labels.items():
            self.claims[number][label] = item_id
        self.owners.update(dict.fromkeys(labels, item_id))
        self.report.items += 1

    def _parse_label(self, key: bytes, value: bytes) -> None:
        label, item_id = keys.unpack_label(key[1:]), value.decode()
        if self.owners.get(label) == item_id:
            self.named.add(label)
        else:
            self.strays[label] = item_id

    def _parse_vector(self, key: bytes, value: bytes) -> None:
        number, label = keys.space_of(key[:5]), keys.label_of(key)
        dim = self.dims.get(number)
        if dim is None:
            raise CorruptRecord(f"a vector in space {number}, which does not exist")
        if len(value) != dim * FLOAT32.itemsize:
            raise CorruptRecord(
                f"{len(value)} bytes; a vector in space {number} has {dim * FLOAT32.itemsize}"
            )
        if not np.isfinite(np.frombuffer(value, FLOAT32)).all():
            raise CorruptRecord(f"a vector in space {number} has NaN or infinity")
        self.vectors[number].add(label)

    def _parse_predictions(self, key: bytes, value: bytes) -> None:
        number, label = keys.space_of(key[:5]), keys.label_of(key)
        if len(value) % FLOAT32.itemsize:
            raise CorruptRecord(f"{len(value)} bytes are not a float32 vector")
        if label not in self.vectors.get(number, ()):
            raise CorruptRecord(f"predictions of label {label} in space {number} without a vector")

    def _parse_tombstone(self, key: bytes, _: bytes) -> None:
        self.tombstones[keys.space_of(key[:5])].add(keys.label_of(key))

    def _parse_segments(self, key: bytes, value: bytes) -> None:
        number = keys.space_of(key)
        self.report.segments[number] = unpack_segments(value, number)

    def _parse_deleted_rows(self, key: bytes, value: bytes) -> None:
        if len(value) > CHUNK_BYTES:
            raise CorruptRecord(f"{len(value)} bytes; a chunk of deleted rows has {CHUNK_BYTES}")
        generation, chunk = keys.chunk_of(key)
        self.report.deleted_rows[keys.space_of(key[:5]), generation][chunk] = value

    def _parse_dropped_space(self, key: bytes, _: bytes) -> None:
        self.report.dropped_spaces.add(keys.space_of(key))

    def _parse_payload(self, key: bytes, value: bytes) -> None:
        unpack(value, "a payload", 2)
        self.payloads.add(keys.unpack_label(key[1:]))
