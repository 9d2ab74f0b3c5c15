"""What the store knows of the files with the columns of items: which ones it accepts.

As with segments, a file can be lost, damaged, or left over from another state of the store. So the
store names each file that it accepts, with its checksum, and no other is ever used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import msgpack

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import StoreReader, unpack


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
