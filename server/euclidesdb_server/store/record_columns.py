"""RecordColumns: many records of items by columns, without an object for each.

The texts of all records are parsed at once, with NumPy: in each record, the attributes and the
metadata come first (FORMAT.md). What follows them is compared with what it is in the record of an
item that has one ready-made vector and nothing else, as most have where millions are stored. Only
the other records are unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.store.bulk_reads import BulkRecord, unpacked_record
from euclidesdb_server.store.column_writes import record_ends
from euclidesdb_server.store.reader import ITEM_FIELDS
from euclidesdb_server.values.arrays import Labels

Places = npt.NDArray[np.int64]

ARRAY: Final = 0x90
"""How msgpack begins an array of up to fifteen fields, whose number it adds."""
PLAIN_FIELDS: Final = 6
PADDING: Final = bytes(4)
"""Behind the last record, so that a length that is cut off can be read all the same."""


def _lengths_of(markers: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """How many bytes a length has after each byte; NOTHING after one that is not a marker."""
    table = np.full(256, NOTHING)
    table[[*markers]] = [*markers.values()]
    return table


NOTHING: Final = -1
SHORT: Final = 0
"""The marker itself holds the length."""
TEXT: Final = _lengths_of({**dict.fromkeys(range(0xA0, 0xC0), SHORT), 0xD9: 1, 0xDA: 2, 0xDB: 4})
BYTES: Final = _lengths_of({0xC4: 1, 0xC5: 2, 0xC6: 4})
"""https://github.com/msgpack/msgpack/blob/master/spec.md#formats"""


@dataclass(frozen=True, slots=True)
class Slices:
    """Parts of `data`, one after the other: from `starts` to `stops`."""

    data: bytes
    starts: Places
    stops: Places

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> Slices:
        return Slices(self.data, self.starts[rows], self.stops[rows])

    def sizes(self) -> Places:
        """The length of each."""
        return self.stops - self.starts

    def values(self) -> list[bytes]:
        """Each of them."""
        return [
            self.data[start:stop]
            for start, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The records of some items.

    labels: of the write that each is of, unless it is among `others`. attributes_json: UTF-8, which
    has not been checked. others: by row, those that are not of a ready-made vector in `space` that
    was written with that label, and nothing else.
    """

    ids: Sequence[str]
    labels: Labels
    attributes_json: Slices
    metadata: Slices
    space: int | None
    others: Mapping[int, BulkRecord]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> RecordColumns:
        start, stop, _ = rows.indices(len(self))
        return RecordColumns(
            self.ids[rows],
            self.labels[rows],
            self.attributes_json[rows],
            self.metadata[rows],
            self.space,
            {row - start: each for row, each in self.others.items() if start <= row < stop},
        )

    def sizes(self) -> Places:
        """How many bytes the attributes and the metadata of each item have."""
        return self.attributes_json.sizes() + self.metadata.sizes()

    def vector_labels(self, space: int) -> list[int | None]:
        """The label of each item's vector in a space; None: it has none."""
        found: list[int | None]
        found = self.labels.tolist() if space == self.space else [None] * len(self)
        for row, record in self.others.items():
            found[row] = record.labels.get(space)
        return found

    def ready_made(self, space: int) -> list[bool]:
        """Whether each item's vector in a space, if it has one, was not made from its payload."""
        found = [space == self.space] * len(self)
        for row, record in self.others.items():
            found[row] = space in record.ready_made
        return found

    def digests(self) -> list[bytes | None]:
        """The digest of each item's payload; None: it never had one."""
        found: list[bytes | None] = [None] * len(self)
        for row, record in self.others.items():
            found[row] = record.payload_digest or None
        return found


def record_columns(ids: Sequence[str], values: Sequence[bytes], labels: Labels) -> RecordColumns:
    """The records in the values of items' keys. labels: those that they are expected to have.

    Raises CorruptRecord.
    """
    data = b"".join([*values, PADDING])
    numbers = np.frombuffer(data, np.uint8)
    ends = np.cumsum(lengths_of(values))
    starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(values)]
    attributes = Slices(data, *_contents(numbers, starts + 1, ends, TEXT))
    metadata = Slices(data, *_contents(numbers, attributes.stops, ends, BYTES))
    fields = numbers[starts].astype(np.int64) - ARRAY
    if ((metadata.stops > ends) | ~np.isin(fields, ITEM_FIELDS)).any():
        return _unpacked(ids, values, labels)  # one is damaged, or of another program
    space = _only_space(ids, values)
    plain = (fields == PLAIN_FIELDS) & _are_plain(numbers, metadata.stops, ends, space, labels)
    rows = np.flatnonzero(~plain).tolist()
    others = {row: unpacked_record(ids[row], values[row]) for row in rows}
    return RecordColumns(ids, labels, attributes, metadata, space, others)


def _contents(
    numbers: npt.NDArray[np.uint8], markers: Places, ends: Places, kind: npt.NDArray[np.int64]
) -> tuple[Places, Places]:
    """Where the texts begin and end whose markers are at these places.

    ends: of the records; a text ends behind its record if it is cut off, or not of this kind.
    """
    markers = np.minimum(markers, ends)
    marker = numbers[markers].astype(np.int64)
    widths = kind[marker]
    lengths = marker & 0x1F
    for width in (1, 2, 4):
        rows = np.flatnonzero(widths == width)
        if not len(rows):
            continue
        length = np.zeros(len(rows), np.int64)
        for place in range(1, width + 1):
            length = length << 8 | numbers[markers[rows] + place]
        lengths[rows] = length
    starts = markers + 1 + widths
    return starts, np.where(widths == NOTHING, ends + 1, starts + lengths)


def _only_space(ids: Sequence[str], values: Sequence[bytes]) -> int | None:
    """The space in which some of the items have a ready-made vector and nothing else, if any."""
    for row in {0, len(values) // 2, len(values) - 1} if values else ():
        record = unpacked_record(ids[row], values[row])
        (space, *more) = record.ready_made or (None,)
        if space is not None and not more:
            label = record.labels.get(space, 0)
            if record == BulkRecord(
                record.attributes_json, record.metadata, {space: label}, None, b"", (space,)
            ):
                return space
    return None


def _are_plain(
    numbers: npt.NDArray[np.uint8],
    starts: Places,
    ends: Places,
    space: int | None,
    labels: Labels,
) -> npt.NDArray[np.bool_]:
    """Which records end as that of an item with a ready-made vector in `space`, of this label.

    starts: behind the metadata.
    """
    found = np.zeros(len(labels), np.bool_)
    if space is None:
        return found
    expected = record_ends(space, labels)
    size = len(expected[0])
    rows = np.flatnonzero((ends - starts == size) & (lengths_of(expected) == size))
    chosen = expected if len(rows) == len(expected) else [expected[row] for row in rows.tolist()]
    wanted = np.frombuffer(b"".join(chosen), np.uint8)
    are = numbers[starts[rows, None] + np.arange(size)]
    found[rows] = (are == wanted.reshape(are.shape)).all(axis=1)
    return found


def _unpacked(ids: Sequence[str], values: Sequence[bytes], labels: Labels) -> RecordColumns:
    """As `record_columns`, one by one."""
    records = [unpacked_record(*each) for each in zip(ids, values, strict=True)]
    return RecordColumns(
        ids,
        labels,
        _slices([record.attributes_json.encode() for record in records]),
        _slices([record.metadata for record in records]),
        None,
        dict(enumerate(records)),
    )


def _slices(texts: Sequence[bytes]) -> Slices:
    stops = np.cumsum(lengths_of(texts))
    return Slices(b"".join(texts), np.concatenate([np.zeros(1, np.int64), stops[:-1]]), stops)


def lengths_of(texts: Sequence[bytes]) -> Places:
    """The length of each."""
    return np.fromiter(map(len, texts), np.int64, len(texts))
