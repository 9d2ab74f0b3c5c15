"""The first pass of verifying a store: parses every record, and notes what refers to what.

Only keys are kept, in a compact form: the memory needed depends on the number of items and vectors,
not on their bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.columns_files import unpack_columns
from euclidesdb_server.store.job_records import unpack_job
from euclidesdb_server.store.label_set import LabelSet
from euclidesdb_server.store.reader import FLOAT32, unpack, unpack_failure, unpack_item
from euclidesdb_server.store.recent_requests import unpack_requests
from euclidesdb_server.store.repair import Repair, checksum_of
from euclidesdb_server.store.segment_records import CHUNK_BYTES, SegmentRecord, unpack_segments


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

    def discard(self, key: bytes, finding: str) -> None:
        """A record has to be left out."""
        self.findings.append(finding)
        self.repair.discarded.add(key)

    def replace(self, key: bytes, value: bytes, finding: str) -> None:
        """A record has to have another value, or is missing."""
        self.findings.append(finding)
        self.repair.replaced[key] = value


class ParsedRecords:
    """What a pass over all records, in order of keys, found.

    report: records that cannot be parsed are discarded.
    dims: the length of the vectors of each space. stored_spaces: those that have a record.
    reserved: labels below it may be in use.
    claims: by space and label, the item whose record names the label there. owners: by label, the
    item that names it anywhere. named: the labels whose record names their owner; strays: what the
    others name. vectors, tombstones, failures: by space, their labels. payloads: their labels.
    """

    def __init__(self, spaces: Mapping[int, list[Any]]) -> None:
        self.report = StoreReport()
        self.dims: dict[int, int] = {number: fields[2] for number, fields in spaces.items()}
        self.stored_spaces: set[int] = set()
        self.reserved = 1
        self.claims: dict[int, dict[int, str]] = defaultdict(dict)
        self.owners: dict[int, str] = {}
        self.named = LabelSet()
        self.strays: dict[int, str] = {}
        self.vectors: dict[int, LabelSet] = defaultdict(LabelSet)
        self.tombstones: dict[int, LabelSet] = defaultdict(LabelSet)
        self.failures: dict[int, LabelSet] = defaultdict(LabelSet)
        self.payloads = LabelSet()

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
            keys.COLUMNS: self._parse_columns,
            keys.FAILURE: self._parse_failure,
            keys.JOB: self._parse_job,
            keys.REQUESTS: self._parse_requests,
        }
        report = self.report
        for key, value in records:
            report.repair.checksum = checksum_of(key, value, report.repair.checksum)
            try:
                parse = parsers[key[:1]]
            except KeyError:
                report.discard(key, f"a record of unknown kind {key[:1]!r}")
                continue
            try:
                parse(key, value)
            except (CorruptRecord, ValueError, TypeError, LookupError) as error:
                report.discard(key, f"{key[:40]!r} cannot be parsed: {error}")
            except Exception as error:  # struct.error, AttributeError: whatever damaged bytes raise
                report.discard(key, f"{key[:40]!r} cannot be parsed: {error!r}")

    def _parse_database(self, _: bytes, value: bytes) -> None:
        (version,) = unpack(value, "the database record", 1)
        if not isinstance(version, int):
            raise CorruptRecord(f"format {version!r}")
        self.report.format_version = version

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
        named = {*labels, record.first_label}
        if odd := [label for label in named if type(label) is not int or label < 0]:
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

    def _parse_failure(self, key: bytes, value: bytes) -> None:
        number, label = keys.space_of(key[:5]), keys.label_of(key)
        if number not in self.dims:
            raise CorruptRecord(f"a failure in space {number}, which does not exist")
        unpack_failure(value, number, label)
        self.failures[number].add(label)

    def _parse_job(self, key: bytes, value: bytes) -> None:
        unpack_job(key, value)

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

    def _parse_columns(self, _: bytes, value: bytes) -> None:
        unpack_columns(value)

    def _parse_requests(self, key: bytes, value: bytes) -> None:
        keys.unpack_label(key[1:])
        unpack_requests(value)

    def _parse_payload(self, key: bytes, value: bytes) -> None:
        unpack(value, "a payload", 2)
        self.payloads.add(keys.unpack_label(key[1:]))
