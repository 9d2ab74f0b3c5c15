"""Writes items as an .npz file of NumPy's: ids, attributes, vectors and predictions, an array each.

It holds neither metadata nor payloads. Written some rows at a time.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from euclidesdb._arrow_batches import ArrowBatch
from euclidesdb._arrow_rows import ArrowColumns
from euclidesdb._item_rows import (
    ATTRIBUTES,
    FINGERPRINT,
    IDS,
    MODEL,
    PREDICTIONS,
    READY_MADE,
    VECTOR,
    BadRow,
    RowVector,
    VectorColumn,
)
from euclidesdb._row_batches import RowColumns

TEXTS_AT_A_TIME: Final = 1024
TEXT_COMPRESSION: Final = 1
"""The quickest: most of an array of texts is zeros."""
MAX_TEXTS_BYTES: Final = 4 << 30
"""Of an array of texts, which has room for the longest in every row."""


class NpzWriter:
    """Writes the batches of an export, to temporary files until it is finished."""

    def __init__(self, path: Path, schema: Any) -> None:
        if "payload" in schema.names:
            raise ValueError("an .npz file cannot hold payloads; use .parquet, .arrow or .jsonl")
        self._path = path
        self._columns = ArrowColumns(schema)
        self._has_predictions = any(name.startswith(PREDICTIONS) for name in schema.names)
        with ExitStack() as opened:
            self._ids = _Texts(path, opened)
            self._attributes = _Texts(path, opened)
            self._vectors = {
                column: _Vectors(path, opened, column.name)
                for column in self._columns.vectors.values()
            }
            self._opened = opened.pop_all()

    def write(self, batch: Any) -> None:
        """See ItemWriter."""
        rows = ArrowBatch(self._columns, batch)
        columns = rows.columns(_Everything())
        if columns is not None:
            self._write_columns(columns)
            return
        for row in rows.rows():
            if isinstance(row, BadRow):
                raise row.error
            self._ids.add(row.id)
            self._attributes.add(row.attributes_json or "{}")
            of_row = {vector.column: vector for vector in row.vectors}
            for column, vectors in self._vectors.items():
                vectors.add(of_row.get(column))

    def _write_columns(self, columns: RowColumns) -> None:
        count = len(columns.ids)
        self._ids.add_all(columns.ids)
        self._attributes.add_all(columns.attributes_json or ["{}"] * count)
        for column, vectors in self._vectors.items():
            vectors.add_all(columns.vectors if column == columns.column else None, count)

    def finish(self) -> None:
        """See ItemWriter."""
        deflated, level = zipfile.ZIP_DEFLATED, TEXT_COMPRESSION
        with zipfile.ZipFile(self._path, "w", deflated, compresslevel=level) as file:
            self._save(file)

    def close(self) -> None:
        """See ItemWriter."""
        self._opened.close()

    def _save(self, file: zipfile.ZipFile) -> None:
        self._ids.save(file, IDS)
        self._attributes.save(file, ATTRIBUTES)
        for column, vectors in self._vectors.items():
            vectors.values.save(file, VECTOR + column.name)
            if self._has_predictions:
                vectors.predictions.save(file, PREDICTIONS + column.name)
            ready_made = np.array(vectors.ready_made, np.bool_)
            _save(file, READY_MADE + column.name, "|b1", ready_made.shape, [ready_made.tobytes()])
            for prefix, text in ((MODEL, column.model), (FINGERPRINT, column.fingerprint)):
                value = np.array(text)
                _save(file, prefix + column.name, value.dtype.str, (), [value.tobytes()])


class _Everything:
    """See Wants."""

    def __call__(self, column: VectorColumn) -> bool:  # noqa: ARG002
        return True

    def as_columns(self, column: VectorColumn, dim: int) -> bool:  # noqa: ARG002
        return True


def _temporary_file(path: Path) -> IO[bytes]:
    """One next to the file that is being written, on a disk that has room for it."""
    return tempfile.TemporaryFile(dir=path.parent)


class _Texts:
    """A column of texts on their way into a file."""

    def __init__(self, path: Path, opened: ExitStack) -> None:
        self._file = opened.enter_context(_temporary_file(path))
        self._sizes: list[int] = []
        self._longest = 1

    def add(self, text: str) -> None:
        self.add_all([text])

    def add_all(self, texts: Sequence[str]) -> None:
        for text in texts:
            if text.endswith("\0"):
                raise ValueError(
                    f"an .npz file cannot hold {text!r}, which ends with a null character; use "
                    ".parquet, .arrow or .jsonl"
                )
        encoded = [*map(str.encode, texts)]
        self._file.write(b"".join(encoded))
        self._sizes += map(len, encoded)
        self._longest = max(self._longest, *map(len, texts))

    def save(self, file: zipfile.ZipFile, name: str) -> None:
        size = 4 * self._longest * len(self._sizes)
        if size > MAX_TEXTS_BYTES:
            raise ValueError(
                f"an .npz file would need {size:,} bytes for {name}, whose longest has "
                f"{self._longest:,} characters; use .parquet, .arrow or .jsonl"
            )
        kind = f"<U{self._longest}"
        _save(file, name, kind, (len(self._sizes),), self._parts(kind), compressed=True)

    def _parts(self, kind: str) -> Iterator[bytes]:
        self._file.seek(0)
        for start in range(0, len(self._sizes), TEXTS_AT_A_TIME):
            sizes = self._sizes[start : start + TEXTS_AT_A_TIME]
            yield np.array([self._file.read(size).decode() for size in sizes], kind).tobytes()


class _Rows:
    """A column of vectors of one length; those that are missing become NaN."""

    def __init__(self, path: Path, opened: ExitStack, name: str) -> None:
        self._file = opened.enter_context(_temporary_file(path))
        self._name = name
        self._dim: int | None = None
        self._count = 0

    def add(self, vector: npt.NDArray[np.float32] | None) -> None:
        if vector is not None and self._dim is None:
            self._dim = len(vector)
            for _ in range(self._count):
                self._file.write(self._nothing())
        if vector is not None and len(vector) != self._dim:
            raise ValueError(
                f"an .npz file cannot hold {self._name} of lengths {self._dim} and {len(vector)}"
            )
        if self._dim is not None:
            self._file.write(self._nothing() if vector is None else vector.tobytes())
        self._count += 1

    def add_all(self, vectors: npt.NDArray[np.float32] | None, count: int) -> None:
        """Many rows; None: all are missing."""
        if vectors is None and self._dim is None:
            self._count += count
        elif vectors is None or not count:
            for _ in range(count):
                self.add(None)
        else:
            self.add(vectors[0])
            self._file.write(vectors[1:].tobytes())
            self._count += count - 1

    def save(self, file: zipfile.ZipFile, name: str) -> None:
        self._file.seek(0)
        _save(file, name, "<f4", (self._count, self._dim or 0), self._file)

    def _nothing(self) -> bytes:
        return np.full(self._dim or 0, np.nan, np.float32).tobytes()


class _Vectors:
    """All that is written of a model."""

    def __init__(self, path: Path, opened: ExitStack, name: str) -> None:
        self.values = _Rows(path, opened, VECTOR + name)
        self.predictions = _Rows(path, opened, PREDICTIONS + name)
        self.ready_made: list[bool] = []

    def add(self, vector: RowVector | None) -> None:
        self.values.add(None if vector is None else vector.values)
        self.predictions.add(None if vector is None else vector.predictions)
        self.ready_made.append(vector is None or bool(vector.ready_made))

    def add_all(self, vectors: npt.NDArray[np.float32] | None, count: int) -> None:
        """Ready-made vectors of many items; None: they have none."""
        self.values.add_all(vectors, count)
        self.predictions.add_all(None, count)
        self.ready_made += [True] * count


def _save(
    file: zipfile.ZipFile,
    name: str,
    kind: str,
    shape: tuple[int, ...],
    parts: Any,
    *,
    compressed: bool = False,
) -> None:
    """Write an array. parts: its bytes, or a file of them."""
    # a name alone is compressed as the file is
    entry: Any = f"{name}.npy" if compressed else zipfile.ZipInfo(f"{name}.npy")
    with file.open(entry, "w", force_zip64=True) as target:
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(target, header)
        if hasattr(parts, "read"):
            shutil.copyfileobj(parts, target, 1 << 20)
        else:
            for part in parts:
                target.write(part)
