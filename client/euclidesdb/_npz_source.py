"""Reads items of an .npz file of NumPy's, some rows at a time."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from euclidesdb._item_rows import (
    ATTRIBUTES,
    FINGERPRINT,
    IDS,
    MODEL,
    PREDICTIONS,
    READY_MADE,
    VECTOR,
    BadRow,
    Row,
    RowVector,
    VectorColumn,
    missing_column,
)
from euclidesdb._row_batches import ROWS_AT_A_TIME, RowColumns, Wants


class NpzSource:
    """Reads a file of `NpzWriter`, or another one with an array of ids; `named` are of vectors.

    Raises ValueError if the arrays do not fit one another.
    """

    def __init__(self, path: Path, named: Mapping[str, VectorColumn]) -> None:
        with ExitStack() as opened:
            try:
                self._file = opened.enter_context(zipfile.ZipFile(path))
            except zipfile.BadZipFile as error:
                raise ValueError(f"{path} is not an .npz file: {error}") from error
            self._open(path, named, opened)
            self._opened = opened.pop_all()

    def _open(self, path: Path, named: Mapping[str, VectorColumn], opened: ExitStack) -> None:
        names = [name.removesuffix(".npy") for name in self._file.namelist()]
        ids = next((name for name in (IDS, "id") if name in names), None)
        for name in (ids or IDS, *named):
            if name not in names:
                raise missing_column(name, path, names)
        self._columns = {
            name: self._column(name.removeprefix(VECTOR), names)
            for name in names
            if name.startswith(VECTOR)
        } | {**named}
        wanted = [ids or IDS, ATTRIBUTES, *self._columns]
        for column in self._columns.values():
            wanted += [PREDICTIONS + column.name, READY_MADE + column.name]
        self._ids = ids or IDS
        self._members = {
            name: opened.enter_context(closing(_Member(self._file, name)))
            for name in wanted
            if name in names
        }
        self._count = self._members[self._ids].length
        for name, member in self._members.items():
            if member.length != self._count:
                raise ValueError(f"{path}: {name} has {member.length} rows for {self._count} ids")

    def batches(self) -> Iterator[NpzBatch]:
        """See RowSource."""
        for start in range(0, self._count, ROWS_AT_A_TIME):
            count = min(ROWS_AT_A_TIME, self._count - start)
            part = {name: member.read(count) for name, member in self._members.items()}
            yield NpzBatch(part, part[self._ids], self._columns)

    def count(self) -> int:
        """See RowSource."""
        return self._count

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def _column(self, name: str, names: Sequence[str]) -> VectorColumn:
        model, fingerprint = name, ""
        if MODEL + name in names:
            model = self._value(MODEL + name)
        if FINGERPRINT + name in names:
            fingerprint = self._value(FINGERPRINT + name)
        return VectorColumn(name, model, fingerprint)

    def _value(self, name: str) -> str:
        with closing(_Member(self._file, name)) as member:
            return _text(member.value())


class NpzBatch:
    """Rows of the arrays. See RowBatch."""

    def __init__(
        self,
        part: Mapping[str, npt.NDArray[Any]],
        ids: npt.NDArray[Any],
        columns: Mapping[str, VectorColumn],
    ) -> None:
        self._part = part
        self._ids = ids
        self._columns = columns

    def rows(self) -> Iterator[Row | BadRow]:
        """See RowBatch."""
        attributes = self._part.get(ATTRIBUTES)
        for row, item_id in enumerate(self._ids):
            yield Row(
                _text(item_id),
                None if attributes is None else _text(attributes[row]),
                vectors=[*self._vectors(row)],
            )

    def columns(self, wants: Wants) -> RowColumns | None:
        """See RowBatch."""
        given = [
            (name, column)
            for name, column in self._columns.items()
            if (~_is_missing(self._part[name])).any() and wants(column)
        ]
        if len(given) != 1:
            return None
        ((name, column),) = given
        values = self._part[name]
        predictions = self._part.get(PREDICTIONS + column.name)
        ready_made = self._part.get(READY_MADE + column.name)
        if (
            values.ndim != 2
            or values.dtype.kind not in "fiu"
            or _is_missing(values).any()
            or (predictions is not None and not _is_missing(predictions).all())
            or (ready_made is not None and not ready_made.all())
            or not wants.as_columns(column, values.shape[1])
        ):
            return None
        attributes = self._part.get(ATTRIBUTES)
        with np.errstate(over="ignore"):  # overflow gives an infinity, which the server refuses
            vectors = values.astype(np.float32, copy=False)
        return RowColumns(
            column, _texts(self._ids), vectors, None if attributes is None else _texts(attributes)
        )

    def _vectors(self, row: int) -> Iterator[RowVector]:
        for name, column in self._columns.items():
            values = _numbers(self._part[name][row])
            if values is None:
                continue
            predictions = self._part.get(PREDICTIONS + column.name)
            ready_made = self._part.get(READY_MADE + column.name)
            yield RowVector(
                column,
                values,
                None if predictions is None else _numbers(predictions[row]),
                None if ready_made is None else bool(ready_made[row]),
            )


class _Member:
    """An array of the file, read from the beginning."""

    def __init__(self, file: zipfile.ZipFile, name: str) -> None:
        self._file: IO[bytes] = file.open(f"{name}.npy")
        try:
            self._read_header(name)
        except BaseException:
            self._file.close()
            raise

    def _read_header(self, name: str) -> None:
        version = np.lib.format.read_magic(self._file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        self._shape, is_fortran, self._kind = read_header(self._file)
        if self._kind.hasobject:
            raise ValueError(f"{name} holds Python objects; use an array of texts or numbers")
        if is_fortran and len(self._shape) > 1:
            raise ValueError(f"{name} is in Fortran order; save np.ascontiguousarray of it")

    def close(self) -> None:
        self._file.close()

    @property
    def length(self) -> int:
        return self._shape[0] if self._shape else 0

    def read(self, count: int) -> npt.NDArray[Any]:
        """The next rows. Raises ValueError if the file ends before."""
        shape = (count, *self._shape[1:])
        size = int(np.prod(shape)) * self._kind.itemsize
        return np.frombuffer(self._bytes(size), self._kind).reshape(shape)

    def value(self) -> Any:
        """That of an array without dimensions."""
        return np.frombuffer(self._bytes(self._kind.itemsize), self._kind)[0]

    def _bytes(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{self._file.name} is damaged: {error}") from error
        if len(data) != size:
            raise ValueError(f"the file ends in the middle of {self._file.name}")
        return data


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
    """A row of numbers; None if all are NaN: there is no vector."""
    if not values.size or (values.dtype.kind == "f" and np.isnan(values).all()):
        return None
    return values.astype(np.float32, copy=False)


def _is_missing(rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Of which rows `_numbers` is None."""
    count = len(rows)
    if not rows.size:
        return np.ones(count, np.bool_)
    flat = rows.reshape(count, -1)
    missing = np.isnan(flat[:, 0]) if flat.dtype.kind == "f" else np.zeros(count, np.bool_)
    if missing.any():
        missing[missing] = np.isnan(flat[missing]).all(axis=1)
    return missing


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(values: npt.NDArray[Any]) -> list[str]:
    """`_text` of each."""
    if values.dtype.kind == "U":
        texts: list[str] = values.tolist()
        return texts
    return [*map(_text, values)]
