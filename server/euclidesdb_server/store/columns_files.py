"""What the store knows of the files with the columns of items: which ones it accepts.

As with segments, a file can be lost, damaged, or left over from another state of the store. So the
store names each file that it accepts, with its checksum, and no other is ever used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any, Final

import msgpack
import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack
from euclidesdb_server.values.arrays import Labels

log = logging.getLogger(__name__)

LABELS_AT_A_TIME: Final = 1024


@dataclass(frozen=True, slots=True)
class ColumnsFile:
    """A file of columns. checksum: CRC-32 of its bytes."""

    generation: int
    checksum: int


@dataclass(frozen=True, slots=True)
class ColumnsRecord:
    """files: those accepted. up_to_label: they hold every item whose last write has no greater
    label, as it was then.
    """

    files: Sequence[ColumnsFile] = ()
    up_to_label: int = 0


def read_columns(reader: StoreReader) -> ColumnsRecord:
    """The files that are accepted. Raises CorruptRecord."""
    value = reader.value(keys.COLUMNS)
    return ColumnsRecord() if value is None else unpack_columns(value)


def unpack_columns(value: bytes) -> ColumnsRecord:
    """The files in the value of `keys.COLUMNS`. Raises CorruptRecord."""
    what = "the list of files of columns"
    files, up_to = unpack(value, what, 2)
    try:
        named = [ColumnsFile(*(int(number) for number in each)) for each in files]
        return ColumnsRecord(named, int(up_to))
    except (TypeError, ValueError) as error:
        raise CorruptRecord(f"{what} has an unexpected form: {error}") from error


def put_columns_record(batch: Any, record: ColumnsRecord) -> None:
    """Name the files that are accepted."""
    files = [astuple(file) for file in record.files]
    batch.put(keys.COLUMNS, msgpack.packb([files, record.up_to_label]))


def labeled_items(
    reader: StoreReader, *, after: int, up_to: int
) -> Iterator[Sequence[tuple[int, str]]]:
    """The labels in (after, up_to] that records name, ascending, and their items, some at a time.

    One whose item cannot be read is left out.
    """
    pairs = reader.between(keys.label_key(after + 1), keys.label_key(up_to))
    while part := [*islice(pairs, LABELS_AT_A_TIME)]:
        named = []
        for key, value in part:
            label = keys.unpack_label(key[1:])
            try:
                named.append((label, value.decode()))
            except UnicodeDecodeError as error:
                log.error("the id of label %d is not UTF-8, and is left out: %s", label, error)
        yield named


def labels_up_to(reader: StoreReader, label: int) -> Labels:
    """The labels up to this one that records name, ascending."""
    pairs = reader.between(keys.label_key(0), keys.label_key(label))
    found = b"".join([key[1:] for key, _ in pairs])
    return np.frombuffer(found, ">i8").astype(np.int64)
