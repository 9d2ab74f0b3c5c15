"""Files of items: the formats by their suffixes, written under another name until complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from euclidesdb._arrow import pyarrow
from euclidesdb._arrow_batches import ArrowBatch, arrow_batches
from euclidesdb._arrow_rows import ArrowColumns
from euclidesdb._item_jsonl import JsonlSource, JsonlWriter
from euclidesdb._item_rows import VectorColumn
from euclidesdb._npz_source import NpzSource
from euclidesdb._npz_writer import NpzWriter
from euclidesdb._row_batches import ROWS_AT_A_TIME, RowSource

GROUP_BYTES: Final = 32 << 20
GROUP_ROWS: Final = 1 << 16
"""Of a row group of a Parquet file."""
ROWS_WITH_PAYLOADS: Final = 1024
"""Fewer are read at a time if they may have images."""


class ItemWriter(Protocol):
    """Writes the batches of an export to a file, which is complete when it is finished."""

    def write(self, batch: Any) -> None:
        """Write a batch. Raises ValueError if the format cannot hold it."""

    def finish(self) -> None:
        """Write what is left. Raises ValueError if the format cannot hold it."""

    def close(self) -> None:
        """Close what is open. Idempotent."""


class ArrowWriter:
    """Arrow's IPC file format, which pandas, polars and DuckDB map into memory."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._writer = pyarrow("ipc").new_file(str(path), schema)

    def write(self, batch: Any) -> None:
        """See ItemWriter."""
        self._writer.write_batch(batch)

    def finish(self) -> None:
        """See ItemWriter."""
        self._writer.close()

    def close(self) -> None:
        """See ItemWriter."""
        self._writer.close()


class ParquetWriter:
    """Parquet; some batches become one row group.

    Vectors are written as they are: compressed, they are hardly smaller, and take three times as
    long to read. The least number of a column of them says nothing.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._schema = schema
        others = [*_columns_but_vectors(schema)]
        self._writer = pyarrow("parquet").ParquetWriter(
            str(path),
            schema,
            use_dictionary=["payload_kind"],
            compression=dict.fromkeys(others, "snappy"),
            write_statistics=others,
        )
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, batch: Any) -> None:
        """See ItemWriter."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        """See ItemWriter."""
        if self._batches:
            self._flush()
        self._writer.close()

    def close(self) -> None:
        """See ItemWriter."""
        self._writer.close()

    def _flush(self) -> None:
        table = pyarrow().Table.from_batches(self._batches, self._schema)
        self._writer.write_table(table, row_group_size=max(1, self._rows))
        self._batches, self._rows, self._bytes = [], 0, 0


def _columns_but_vectors(schema: Any) -> Iterator[str]:
    """The names that Parquet gives to the columns that do not hold lists of numbers."""
    types = pyarrow().types
    for field in schema:
        if types.is_struct(field.type):
            for inner in field.type:
                yield f"{field.name}.{inner.name}"
        elif not (types.is_list(field.type) or types.is_fixed_size_list(field.type)):
            yield str(field.name)


class ArrowSource:
    """Reads a file of Arrow's IPC format."""

    def __init__(self, path: Path, named: Mapping[str, VectorColumn]) -> None:
        arrow = pyarrow()
        self._file = arrow.memory_map(str(path))
        try:
            self._reader = arrow.ipc.open_file(self._file)
            self._columns = ArrowColumns(self._reader.schema, named, path)
        except BaseException:
            self._file.close()
            raise

    def batches(self) -> Iterator[ArrowBatch]:
        """See RowSource."""
        numbers = range(self._reader.num_record_batches)
        return arrow_batches(self._columns, map(self._reader.get_batch, numbers))

    def count(self) -> int:
        """See RowSource."""
        return sum(
            self._reader.get_batch(number).num_rows
            for number in range(self._reader.num_record_batches)
        )

    def close(self) -> None:
        """See RowSource."""
        self._file.close()


class ParquetSource:
    """Reads a Parquet file, some rows at a time."""

    def __init__(self, path: Path, named: Mapping[str, VectorColumn]) -> None:
        self._file = pyarrow("parquet").ParquetFile(str(path))
        try:
            self._columns = ArrowColumns(self._file.schema_arrow, named, path)
        except BaseException:
            self._file.close()
            raise

    def batches(self) -> Iterator[ArrowBatch]:
        """See RowSource."""
        may_be_large = "payload" in self._file.schema_arrow.names
        rows = ROWS_WITH_PAYLOADS if may_be_large else ROWS_AT_A_TIME
        return arrow_batches(self._columns, self._file.iter_batches(rows))

    def count(self) -> int:
        """See RowSource."""
        return int(self._file.metadata.num_rows)

    def close(self) -> None:
        """See RowSource."""
        self._file.close()


_WRITERS: Final[Mapping[str, Callable[[Path, Any], ItemWriter]]] = {
    ".arrow": ArrowWriter,
    ".jsonl": JsonlWriter,
    ".npz": NpzWriter,
    ".parquet": ParquetWriter,
}
_SOURCES: Final[Mapping[str, Callable[[Path, Mapping[str, VectorColumn]], RowSource]]] = {
    ".arrow": ArrowSource,
    ".jsonl": JsonlSource,
    ".npz": NpzSource,
    ".parquet": ParquetSource,
}


def check_format(path: Path) -> str:
    """The suffix of a file of items. Raises ValueError if it is not one that is known."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise ValueError(f"{path}: the name of a file of items must end with one of {known}")
    return suffix


@contextmanager
def complete_file(path: Path, schema: Any) -> Iterator[ItemWriter]:
    """A writer of a file that is there when the context ends, and not if it raises.

    A file of this name is replaced then.
    """
    make = _WRITERS[check_format(path)]
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with closing(make(partial, schema)) as writer:
            yield writer
            writer.finish()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def open_source(path: Path, named: Mapping[str, VectorColumn]) -> RowSource:
    """An open file of items. named: its further columns of vectors. Raises OSError, ValueError."""
    return _SOURCES[check_format(path)](path, named)
