"""Verifies a store: parses every record, and checks it against the records that it refers to.

`check_store` reports what is wrong, and gives the records of a repaired store;
`commands/verify.py` writes them if a repair is requested. Knows nothing of segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgpack
import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import FLOAT32, ItemRecord, unpack, unpack_item
from euclidesdb_server.store.store import FORMAT_VERSION


@dataclass(slots=True)
class StoreReport:
    """What `check_store` found. findings: one sentence per problem.

    repaired: every record of the repaired store, value by key. discarded: records that it omits,
    and the originals of item records that it changes.
    live_labels: by space, the item id of each label that has a vector there. deleted_labels: by
    space, the labels with a tombstone. dropped_spaces: whose segments are of no interest.
    """

    findings: list[str] = field(default_factory=list)
    repaired: dict[bytes, bytes] = field(default_factory=dict)
    discarded: list[tuple[bytes, bytes]] = field(default_factory=list)
    live_labels: dict[int, dict[int, str]] = field(default_factory=dict)
    deleted_labels: dict[int, set[int]] = field(default_factory=dict)
    dropped_spaces: set[int] = field(default_factory=set)
    items: int = 0
    format_version: int | None = None


def check_store(
    records: Iterable[tuple[bytes, bytes]], spaces: Mapping[int, list[Any]]
) -> StoreReport:
    """Check all records of a store, given in order of their keys.

    spaces: the fields of the records of spaces, by number, as known from the segments: records
    that the store has lost are restored from them.
    """
    check = _StoreCheck(spaces)
    check.parse(records)
    check.restore_missing(spaces)
    check.check_references()
    return check.report


def as_json(key: bytes, value: bytes) -> dict[str, Any]:
    """A discarded record as JSON, with its bytes in hexadecimal."""
    return {"key": key.hex(), "value": value.hex()}


class _StoreCheck:
    """One pass over the records, in order of keys, then a check of their references."""

    def __init__(self, spaces: Mapping[int, list[Any]]) -> None:
        self.report = StoreReport()
        self.dims: dict[int, int] = {number: fields[2] for number, fields in spaces.items()}
        self.reserved = 1
        self.records: dict[str, ItemRecord] = {}
        self.label_ids: dict[int, str] = {}
        self.vectors: set[tuple[int, int]] = set()
        self.payloads: set[int] = set()
        self.tombstones: set[tuple[int, int]] = set()
        self.values: dict[bytes, bytes] = {}

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
            keys.DROPPED_SPACE: self._parse_dropped_space,
        }
        for key, value in records:
            try:
                parsers[key[:1]](key, value)
            except KeyError:
                self._discard_unread(key, value, f"a record of unknown kind {key[:1]!r}")
            except (CorruptRecord, ValueError, TypeError, IndexError) as error:
                self._discard_unread(key, value, f"{key[:40]!r} cannot be parsed: {error}")
            except Exception as error:  # struct.error, UnicodeError: whatever damaged bytes raise
                self._discard_unread(key, value, f"{key[:40]!r} cannot be parsed: {error!r}")
            else:
                self.values[key] = value

    def restore_missing(self, spaces: Mapping[int, list[Any]]) -> None:
        """Restore the records of the format and of spaces, without which the rest is useless."""
        if keys.DATABASE not in self.values and (self.records or spaces):
            self.report.findings.append("the record of the store's format is missing")
            self.values[keys.DATABASE] = msgpack.packb([FORMAT_VERSION])
            self.report.format_version = FORMAT_VERSION
        for number, fields in spaces.items():
            if number in self.report.dropped_spaces:
                continue
            if keys.space_key(number) not in self.values:
                self.report.findings.append(f"the record of space {number} is missing")
                self.values[keys.space_key(number)] = msgpack.packb(fields)

    def check_references(self) -> None:
        """Check the records against one another, and complete the report."""
        owners = dict(self._references())
        for item_id, record in self.records.items():
            self._check_item(item_id, record, owners)
        for label, item_id in self.label_ids.items():
            if owners.get(label) != item_id:
                finding = f"label {label} of item {item_id!r} is not in use"
                self._discard(keys.label_key(label), finding)
        for number, label in self.vectors:
            if label not in self.report.live_labels.get(number, {}):
                finding = f"the vector of label {label} in space {number} belongs to no item"
                self._discard(keys.row_key(keys.VECTOR, number, label), finding)
                predictions = keys.row_key(keys.PREDICTIONS, number, label)
                if predictions in self.values:
                    self.report.discarded.append((predictions, self.values.pop(predictions)))
        used = {record.payload_label for record in self.records.values()}
        for label in self.payloads - used:
            finding = f"the payload of label {label} belongs to no item"
            self._discard(keys.payload_key(label), finding)
        for number, label in self.tombstones:
            if label in self.report.live_labels.get(number, {}):
                finding = f"label {label} in space {number} has a tombstone, but an item uses it"
                self._discard(keys.row_key(keys.TOMBSTONE, number, label), finding)
            else:
                self.report.deleted_labels.setdefault(number, set()).add(label)
        max_label = max([*owners, *self.label_ids], default=0)
        if max_label >= self.reserved:
            self.report.findings.append(
                f"label {max_label} is in use, but only labels below {self.reserved} are reserved"
            )
            self.values[keys.LABELS_RESERVED] = keys.pack_label(max_label + 1)
        self.report.items = len(self.records)
        self.report.repaired = self.values

    def _references(self) -> Iterator[tuple[int, str]]:
        for item_id, record in self.records.items():
            for label in record.all_labels():
                yield label, item_id

    def _check_item(self, item_id: str, record: ItemRecord, owners: Mapping[int, str]) -> None:
        kept = {}
        for number, label in record.labels.items():
            problem = self._problem_with_vector(item_id, number, label, owners)
            if problem is None:
                kept[number] = label
                self.report.live_labels.setdefault(number, {})[label] = item_id
            else:
                self.report.findings.append(
                    f"item {item_id!r} has no vector in space {number}: {problem}"
                )
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
        repaired = replace(
            record,
            labels=kept,
            payload_label=payload_label,
            ready_made=record.ready_made.intersection(kept),
        )
        if repaired != record:
            key = keys.item_key(item_id)
            self.report.discarded.append((key, self.values[key]))
            record = repaired
            self.values[key] = record.packed()
            self.records[item_id] = record
        for label in record.all_labels():
            if self.label_ids.get(label) != item_id and owners.get(label) == item_id:
                self.report.findings.append(f"label {label} does not name its item {item_id!r}")
                self.values[keys.label_key(label)] = item_id.encode()
                self.label_ids[label] = item_id

    def _problem_with_vector(
        self, item_id: str, number: int, label: int, owners: Mapping[int, str]
    ) -> str | None:
        """Why an item cannot have the vector that its record names; None if it can."""
        if number not in self.dims:
            return "there is no such space"
        if owners.get(label) != item_id:
            return f"label {label} also belongs to item {owners.get(label)!r}"
        if (number, label) not in self.vectors:
            return f"the vector of label {label} is missing or unreadable"
        if (number, label) in self.tombstones:
            return f"label {label} is deleted: it was replaced or removed"
        return None

    def _discard(self, key: bytes, finding: str) -> None:
        self._discard_unread(key, self.values.pop(key), finding)

    def _discard_unread(self, key: bytes, value: bytes, finding: str) -> None:
        self.report.findings.append(finding)
        self.report.discarded.append((key, value))

    def _parse_database(self, _: bytes, value: bytes) -> None:
        (self.report.format_version,) = unpack(value, "the database record", 1)

    def _parse_labels_reserved(self, _: bytes, value: bytes) -> None:
        self.reserved = keys.unpack_label(value)

    def _parse_space(self, key: bytes, value: bytes) -> None:
        fields = unpack(value, "the record of a space", 4)
        self.dims[keys.space_of(key)] = int(fields[2])

    def _parse_item(self, key: bytes, value: bytes) -> None:
        item_id = key[1:].decode()
        self.records[item_id] = unpack_item(value, f"the record of item {item_id!r}")

    def _parse_label(self, key: bytes, value: bytes) -> None:
        self.label_ids[int.from_bytes(key[1:], "big")] = value.decode()

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
        self.vectors.add((number, label))

    def _parse_predictions(self, key: bytes, value: bytes) -> None:
        row = keys.space_of(key[:5]), keys.label_of(key)
        if len(value) % FLOAT32.itemsize:
            raise CorruptRecord(f"{len(value)} bytes are not a float32 vector")
        if row not in self.vectors:
            raise CorruptRecord(f"predictions of label {row[1]} in space {row[0]} without a vector")

    def _parse_tombstone(self, key: bytes, _: bytes) -> None:
        self.tombstones.add((keys.space_of(key[:5]), keys.label_of(key)))

    def _parse_dropped_space(self, key: bytes, _: bytes) -> None:
        self.report.dropped_spaces.add(keys.space_of(key))

    def _parse_payload(self, key: bytes, value: bytes) -> None:
        unpack(value, "a payload", 2)
        self.payloads.add(int.from_bytes(key[1:], "big"))
