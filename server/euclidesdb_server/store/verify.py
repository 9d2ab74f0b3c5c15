"""Verifies a store: parses every record, and checks it against the records that it refers to.

`check_store` reports what is wrong, and what a repair has to change (`repair.py` applies it).
Records are read one at a time (`parsed_records.py`). Knows nothing of segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain, takewhile
from typing import Any

import msgpack
import msgspec

from euclidesdb_server.store import keys
from euclidesdb_server.store.format_version import FORMAT_VERSION
from euclidesdb_server.store.parsed_records import ParsedRecords, StoreReport
from euclidesdb_server.store.reader import ItemRecord, unpack_item
from euclidesdb_server.store.repair import ItemChange


def check_store(
    records: Iterable[tuple[bytes, bytes]], spaces: Mapping[int, list[Any]]
) -> StoreReport:
    """Check all records of a store, given in order of their keys. They are read twice.

    spaces: the fields of the records of spaces, by number, as known from the segments: records
    that the store has lost are restored from them.
    """
    parsed = ParsedRecords(spaces)
    parsed.parse(records)
    check = _StoreCheck(parsed)
    check.restore_missing(spaces)
    # the items come first, and with them all that may refer to another record
    check.check_items(takewhile(lambda record: record[0][:1] <= keys.ITEM, records))
    check.check_unused()
    return check.report


class _StoreCheck:
    """What has been parsed, and a pass over the items.

    used_payloads, changed: the labels in use that are not those of vectors. used_failures: by
    space, those of failures. next_label: of an item that has none of its own.
    """

    def __init__(self, parsed: ParsedRecords) -> None:
        self.parsed = parsed
        self.report = parsed.report
        self.claims, self.owners, self.named = parsed.claims, parsed.owners, parsed.named
        self.used_payloads: set[int] = set()
        self.changed: set[int] = set()
        self.used_failures: dict[int, set[int]] = defaultdict(set)
        in_use = max(chain(parsed.named, parsed.strays, parsed.owners), default=0)
        self.next_label = max(in_use + 1, parsed.reserved)

    def restore_missing(self, spaces: Mapping[int, list[Any]]) -> None:
        """Restore the records of the format and of spaces, without which the rest is useless."""
        if self.report.format_version is None and (self.report.items or spaces):
            self.report.replace(
                keys.DATABASE,
                msgpack.packb([FORMAT_VERSION]),
                "the record of the store's format is missing",
            )
            self.report.format_version = FORMAT_VERSION
        for number in spaces.keys() - self.parsed.stored_spaces - self.report.dropped_spaces:
            self.report.replace(
                keys.space_key(number),
                msgpack.packb(spaces[number]),
                f"the record of space {number} is missing",
            )

    @property
    def has_current_labels(self) -> bool:
        """Whether each item must have one: since format 2."""
        return (self.report.format_version or 0) >= 2

    def check_items(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Check what the record of each item refers to."""
        for key, value in records:
            if key.startswith(keys.ITEM) and key not in self.report.repair.discarded:
                item_id = key[1:].decode()
                self._check_item(key, item_id, unpack_item(value, repr(item_id)))

    def check_unused(self) -> None:
        """Find the records that no item refers to, and complete the report."""
        for label in self.named:
            if not self._in_use(label):
                self._discard_label(label, self.owners[label])
        for label, item_id in self.parsed.strays.items():
            if not self._in_use(label):
                self._discard_label(label, item_id)
        for number, labels in self.parsed.vectors.items():
            live = self.claims.get(number, {})
            for label in labels:
                if label not in live:
                    finding = f"the vector of label {label} in space {number} belongs to no item"
                    self.report.discard(keys.row_key(keys.VECTOR, number, label), finding)
                    self.report.repair.discarded.add(keys.row_key(keys.PREDICTIONS, number, label))
        self._check_unused_failures()
        for label in self.parsed.payloads:
            if label not in self.used_payloads:
                finding = f"the payload of label {label} belongs to no item"
                self.report.discard(keys.payload_key(label), finding)
        max_label = max(chain(self.named, self.parsed.strays, self.owners), default=0)
        reserved = self.parsed.reserved
        if max_label >= reserved:
            self.report.replace(
                keys.LABELS_RESERVED,
                keys.pack_label(max_label + 1),
                f"label {max_label} is in use, but only labels below {reserved} are reserved",
            )
        self.report.live_labels = {number: live for number, live in self.claims.items() if live}
        self.report.deleted_labels = self.parsed.tombstones

    def _check_unused_failures(self) -> None:
        for number, labels in self.parsed.failures.items():
            for label in labels:
                if label not in self.used_failures[number]:
                    finding = f"the failure of label {label} in space {number} belongs to no item"
                    self.report.discard(keys.row_key(keys.FAILURE, number, label), finding)

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
        if payload_label is not None and payload_label not in self.parsed.payloads:
            self.report.findings.append(f"the payload of item {item_id!r} is missing")
            payload_label = None
        without_vector = record.ready_made - record.labels.keys()
        if without_vector:
            self.report.findings.append(
                f"item {item_id!r} lists a ready-made vector in spaces "
                f"{sorted(without_vector, key=repr)}, but has none there"
            )
        after = msgspec.structs.replace(
            record,
            labels=kept,
            payload_label=payload_label,
            ready_made=record.ready_made.intersection(kept),
            failed=self._sound_failures(item_id, record, kept),
        )
        if self.has_current_labels:
            after = self._with_current_label(item_id, record, after)
        if after != record:
            self.report.repair.changed[key] = ItemChange.of(after)
        for number, label in after.failed.items():
            self.used_failures[number].add(label)
        if payload_label is not None:
            self.used_payloads.add(payload_label)
        if after.changed_label is not None:
            self.changed.add(after.changed_label)
        for label in after.all_labels():
            if label not in self.named and self.owners[label] == item_id:
                finding = f"label {label} does not name its item {item_id!r}"
                self.report.replace(keys.label_key(label), item_id.encode(), finding)

    def _sound_failures(
        self, item_id: str, record: ItemRecord, vectors: Mapping[int, int]
    ) -> dict[int, int]:
        """The failures that an item's record names and that are there. vectors: those kept."""
        kept = {}
        for number, label in record.failed.items():
            if number in vectors:
                problem = "there is a vector, too"
            elif self.owners[label] != item_id:
                problem = f"label {label} also belongs to item {self.owners[label]!r}"
            elif label not in self.parsed.failures.get(number, ()):
                problem = f"the failure of label {label} is missing or unreadable"
            else:
                kept[number] = label
                continue
            self.report.findings.append(
                f"item {item_id!r} did not fail in space {number}: {problem}"
            )
        return kept

    def _with_current_label(
        self, item_id: str, record: ItemRecord, after: ItemRecord
    ) -> ItemRecord:
        """`after`, with the current and the first label of `record`; a new one if it has none."""
        current, first = record.current_label, record.first_label
        if self.owners.get(current) != item_id:
            self.report.findings.append(f"item {item_id!r} has no current label of its own")
            current = self.next_label
            self.next_label += 1
            self.owners[current] = item_id
        elif first > current:
            self.report.findings.append(
                f"item {item_id!r} has label {current}, but was added by a later write, {first}"
            )
        elif after == record:
            return record
        return after.with_labels(current=current, first=min(first, current) or current)

    def _problem_with_vector(self, item_id: str, number: int, label: int) -> str | None:
        """Why an item cannot have the vector that its record names; None if it can."""
        if number not in self.parsed.dims:
            return "there is no such space"
        if self.owners[label] != item_id:
            return f"label {label} also belongs to item {self.owners[label]!r}"
        if label not in self.parsed.vectors.get(number, ()):
            return f"the vector of label {label} is missing or unreadable"
        if label in self.parsed.tombstones.get(number, ()):
            return f"label {label} is deleted: it was replaced or removed"
        return None

    def _in_use(self, label: int) -> bool:
        return (
            label in self.used_payloads
            or label in self.changed
            or any(label in used for used in self.used_failures.values())
            or any(label in live for live in self.claims.values())
        )

    def _discard_label(self, label: int, item_id: str) -> None:
        self.report.discard(
            keys.label_key(label), f"label {label} of item {item_id!r} is not in use"
        )
