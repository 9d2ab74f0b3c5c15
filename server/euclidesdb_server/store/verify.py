"""What is wrong with a store: every record read, parsed, and held against those it refers to.

Knows nothing of segments. `check_store` finds, and gives every record as it should be;
`commands/verify.py` writes those where a repair is asked for.
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
    """What was found. findings: a sentence each.

    good: every record as it should be, in place of what is there. aside: records, or what is
    left of them, that the good ones leave out.
    alive: by space, the id of each label that an item has there; deleted: by space, labels.
    """

    findings: list[str] = field(default_factory=list)
    good: dict[bytes, bytes] = field(default_factory=dict)
    aside: list[tuple[bytes, bytes]] = field(default_factory=list)
    alive: dict[int, dict[int, str]] = field(default_factory=dict)
    deleted: dict[int, set[int]] = field(default_factory=dict)
    items: int = 0
    format_version: int | None = None


class _Check:
    """One pass over the records, which come in order: items before what they refer to."""

    def __init__(self, spaces: Mapping[int, list[Any]]) -> None:
        self.report = StoreReport()
        self.dims: dict[int, int] = {number: fields[2] for number, fields in spaces.items()}
        self.reserved = 1
        self.records: dict[str, ItemRecord] = {}
        self.label_ids: dict[int, str] = {}
        self.vectors: set[tuple[int, int]] = set()
        self.payloads: set[int] = set()
        self.deleted: set[tuple[int, int]] = set()
        self.values: dict[bytes, bytes] = {}

    def read(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Parse each record; those that make no sense go aside."""
        parsers: Mapping[bytes, Callable[[bytes, bytes], None]] = {
            keys.DATABASE: self._database,
            keys.LABELS_RESERVED: self._labels_reserved,
            keys.SPACE: self._space,
            keys.ITEM: self._item,
            keys.LABEL: self._label,
            keys.VECTOR: self._vector,
            keys.PREDICTIONS: self._predictions,
            keys.TOMBSTONE: self._tombstone,
            keys.PAYLOAD: self._payload,
        }
        for key, value in records:
            try:
                parsers[key[:1]](key, value)
            except KeyError:
                self._refuse(key, value, f"a record of unknown kind {key[:1]!r}")
            except (CorruptRecord, ValueError, TypeError, IndexError) as error:
                self._refuse(key, value, f"{key[:40]!r} cannot be parsed: {error}")
            except Exception as error:  # struct.error, UnicodeError: whatever foreign bytes raise
                self._refuse(key, value, f"{key[:40]!r} cannot be parsed: {error!r}")
            else:
                self.values[key] = value

    def complete(self, spaces: Mapping[int, list[Any]]) -> None:
        """Put back what the store has lost, and all else rests on."""
        if keys.DATABASE not in self.values and (self.records or spaces):
            self.report.findings.append("the record of the store's format is missing")
            self.values[keys.DATABASE] = msgpack.packb([FORMAT_VERSION])
            self.report.format_version = FORMAT_VERSION
        for number, fields in spaces.items():
            if keys.space_key(number) not in self.values:
                self.report.findings.append(f"the record of space {number} is missing")
                self.values[keys.space_key(number)] = msgpack.packb(fields)

    def hold_together(self) -> None:
        """Hold the records against one another."""
        owners = dict(self._references())
        for item_id, record in self.records.items():
            self._check_item(item_id, record, owners)
        for label, item_id in self.label_ids.items():
            if owners.get(label) != item_id:
                self._drop(keys.label_key(label), f"label {label} of item {item_id!r} is unused")
        for number, label in self.vectors:
            if label not in self.report.alive.get(number, {}):
                what = f"the vector of label {label} in space {number} belongs to no item"
                self._drop(keys.row_key(keys.VECTOR, number, label), what)
                self.values.pop(keys.row_key(keys.PREDICTIONS, number, label), None)
        used = {record.payload_label for record in self.records.values()}
        for label in self.payloads - used:
            self._drop(keys.payload_key(label), f"the payload of label {label} belongs to no item")
        for number, label in self.deleted:
            if label in self.report.alive.get(number, {}):
                what = f"label {label} in space {number} is deleted, and alive"
                self._drop(keys.row_key(keys.TOMBSTONE, number, label), what)
            else:
                self.report.deleted.setdefault(number, set()).add(label)
        greatest = max([*owners, *self.label_ids], default=0)
        if greatest >= self.reserved:
            self.report.findings.append(
                f"label {greatest} was given out, and only those below {self.reserved} are reserved"
            )
            self.values[keys.LABELS_RESERVED] = keys.pack_label(greatest + 1)
        self.report.items = len(self.records)
        self.report.good = self.values

    def _references(self) -> Iterator[tuple[int, str]]:
        for item_id, record in self.records.items():
            for label in record.all_labels():
                yield label, item_id

    def _check_item(self, item_id: str, record: ItemRecord, owners: Mapping[int, str]) -> None:
        kept = {}
        for number, label in record.labels.items():
            why = self._unusable(item_id, number, label, owners)
            if why is None:
                kept[number] = label
                self.report.alive.setdefault(number, {})[label] = item_id
            else:
                self.report.findings.append(
                    f"item {item_id!r} has no vector in space {number}: {why}"
                )
        payload_label = record.payload_label
        if payload_label is not None and payload_label not in self.payloads:
            self.report.findings.append(f"the payload of item {item_id!r} is missing")
            payload_label = None
        if kept != record.labels or payload_label != record.payload_label:
            key = keys.item_key(item_id)
            self.report.aside.append((key, self.values[key]))
            record = replace(record, labels=kept, payload_label=payload_label)
            self.values[key] = record.packed()
            self.records[item_id] = record
        for label in record.all_labels():
            if self.label_ids.get(label) != item_id and owners.get(label) == item_id:
                self.report.findings.append(f"label {label} does not name its item {item_id!r}")
                self.values[keys.label_key(label)] = item_id.encode()
                self.label_ids[label] = item_id

    def _unusable(
        self, item_id: str, number: int, label: int, owners: Mapping[int, str]
    ) -> str | None:
        if owners.get(label) != item_id:
            return f"label {label} is also that of item {owners.get(label)!r}"
        if (number, label) not in self.vectors:
            return f"that of label {label} is missing or unreadable"
        if (number, label) in self.deleted:
            return f"label {label} is deleted: it was replaced or removed"
        return None

    def _drop(self, key: bytes, finding: str) -> None:
        self.report.findings.append(finding)
        self.report.aside.append((key, self.values.pop(key)))

    def _refuse(self, key: bytes, value: bytes, finding: str) -> None:
        self.report.findings.append(finding)
        self.report.aside.append((key, value))

    def _database(self, _: bytes, value: bytes) -> None:
        (self.report.format_version,) = unpack(value, "the database record", 1)

    def _labels_reserved(self, _: bytes, value: bytes) -> None:
        self.reserved = keys.unpack_label(value)

    def _space(self, key: bytes, value: bytes) -> None:
        fields = unpack(value, "the record of a space", 4)
        self.dims[keys.space_of(key)] = int(fields[2])

    def _item(self, key: bytes, value: bytes) -> None:
        item_id = key[1:].decode()
        record = unpack_item(value, f"the record of item {item_id!r}")
        unknown = set(record.labels) - set(self.dims)
        if unknown:
            raise CorruptRecord(f"it names spaces that are not: {sorted(unknown)}")
        self.records[item_id] = record

    def _label(self, key: bytes, value: bytes) -> None:
        self.label_ids[int.from_bytes(key[1:], "big")] = value.decode()

    def _vector(self, key: bytes, value: bytes) -> None:
        number, label = keys.space_of(key[:5]), keys.label_of(key)
        dim = self.dims.get(number, -1)
        if len(value) != dim * FLOAT32.itemsize:
            raise CorruptRecord(f"{len(value)} bytes in space {number}, whose vectors have {dim}")
        if not np.isfinite(np.frombuffer(value, FLOAT32)).all():
            raise CorruptRecord(f"a vector in space {number} with NaN or infinity")
        self.vectors.add((number, label))

    def _predictions(self, key: bytes, value: bytes) -> None:
        row = keys.space_of(key[:5]), keys.label_of(key)
        if len(value) % FLOAT32.itemsize:
            raise CorruptRecord(f"{len(value)} bytes are no float32 vector")
        if row not in self.vectors:
            raise CorruptRecord(f"predictions of label {row[1]} in space {row[0]} without a vector")

    def _tombstone(self, key: bytes, _: bytes) -> None:
        self.deleted.add((keys.space_of(key[:5]), keys.label_of(key)))

    def _payload(self, key: bytes, value: bytes) -> None:
        unpack(value, "a payload", 2)
        self.payloads.add(int.from_bytes(key[1:], "big"))


def check_store(
    records: Iterable[tuple[bytes, bytes]], spaces: Mapping[int, list[Any]]
) -> StoreReport:
    """Check all records of a store, given in order.

    spaces: what is known of spaces from elsewhere, as their records have it: those that the
    store has lost are taken from here.
    """
    check = _Check(spaces)
    check.read(records)
    check.complete(spaces)
    check.hold_together()
    return check.report


def as_json(key: bytes, value: bytes) -> dict[str, Any]:
    """A record that is put aside, for people and programs: bytes in hexadecimal."""
    return {"key": key.hex(), "value": value.hex()}
