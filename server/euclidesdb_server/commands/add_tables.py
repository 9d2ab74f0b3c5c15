"""The rows of tables (CSV, TSV, JSONL, Parquet) as items.

A row that is not an item costs only itself. Parquet needs pyarrow, which is not imported before.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import click

MAX_CSV_FIELD: Final = 64 << 20
"""Characters; as much as a request may have. Python's own limit is 128 KiB."""
PARQUET_ROWS: Final = 128
"""Read at a time."""

# A number as JSON writes it, but for exponents: "007", "1e5" and "inf" stay texts.
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
_WORDS: Final[Mapping[str, bool]] = {"true": True, "True": True, "false": False, "False": False}

Row: TypeAlias = dict[str, Any]
Fields: TypeAlias = tuple[str, str, Any, Row]
"""Id, kind, value, attributes."""


class RowError(Exception):
    """Why a row is not an item."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of columns, None for the default. keep_text: those of which numbers stay texts."""

    id: str | None = None
    image: str | None = None
    text: str | None = None
    keep_text: frozenset[str] = frozenset()


class Rows:
    """The items of a table, and where each is: ("rows.csv:2", fields or why it is not an item).

    kinds: of the items that there may be. Raises ClickException if the table cannot be read, is
    empty, or its first row lacks the columns that are needed.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
        self._read = TABLES[path.suffix.lower()]
        given = {"image": columns.image, "text": columns.text}
        self._payloads = {kind: name for kind, name in given.items() if name is not None}
        for _, row in islice(self._rows(), 1):
            if isinstance(row, str):
                raise click.ClickException(f"{path}: {row}")
            if not self._payloads:
                self._payloads = {kind: kind for kind in given if kind in row}
            try:
                self._check(row)
            except RowError as error:
                raise click.ClickException(f"{path}: {error}") from error
            break
        else:
            raise click.ClickException(f"{path}: the table has no rows")
        self.kinds = frozenset(self._payloads)

    def __iter__(self) -> Iterator[tuple[str, Fields | str]]:
        for number, row in self._rows():
            place = f"{self._path}:{number}"
            try:
                yield place, row if isinstance(row, str) else self._fields(row)
            except RowError as error:
                yield place, str(error)

    def _rows(self) -> Iterator[tuple[int, Row | str]]:
        number = 0
        try:
            for number, row in self._read(self._path, self._columns):
                yield number, row
        except (OSError, csv.Error) as error:
            yield number + 1, f"the table cannot be read on: {error}"
        except UnicodeDecodeError as error:
            yield number + 1, f"the table is not UTF-8: {error.reason} at byte {error.start:,}"

    def _check(self, row: Row) -> None:
        """Raise RowError if the row lacks a column that is needed."""
        name = self._columns.id or "id"
        if name not in row:
            raise RowError(f"there is no column {name!r}; name that of the ids with --id-column")
        if not any(column in row for column in self._payloads.values()):
            wanted = " or ".join(map(repr, self._payloads.values() or ("image", "text")))
            raise RowError(
                f"there is no column {wanted}; name it with --image-column or --text-column"
            )

    def _fields(self, row: Row) -> Fields:
        self._check(row)
        id_name = self._columns.id or "id"
        item_id = row[id_name]
        if isinstance(item_id, bool) or not isinstance(item_id, str | int) or item_id == "":
            raise RowError(
                f"column {id_name!r}: the id must be a text or an integer, not {item_id!r:.100}"
            )
        given = {
            kind: row[column]
            for kind, column in self._payloads.items()
            if row.get(column) not in (None, "")
        }
        if len(given) != 1:
            raise RowError(
                f"{str(item_id)!r:.100} has {' and '.join(given) or 'neither image nor text'}; "
                "an item has one of them"
            )
        ((kind, value),) = given.items()
        taken = {id_name, *self._payloads.values()}
        attributes = {name: _plain(each) for name, each in row.items() if name not in taken}
        return str(item_id), kind, self._value(kind, value), attributes

    def _value(self, kind: str, value: Any) -> Any:
        """A text; or the path of an image, or its bytes."""
        place = f"column {self._payloads[kind]!r}"
        if kind == "text":
            if not isinstance(value, str):
                raise RowError(f"{place}: the text must be a string, not {value!r:.100}")
            return value
        if isinstance(value, Mapping):  # as the data sets of Hugging Face have it
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return self._path.parent / value if "://" not in value else value
        if isinstance(value, bytes):
            return value
        raise RowError(f"{place}: the image must be a path, not {value!r:.100}")


def _plain(value: Any) -> Any:
    """Dates, which Parquet has, as JSON has them."""
    return value.isoformat() if isinstance(value, date) else value


def _csv_rows(
    path: Path, columns: Columns, delimiter: str = ","
) -> Iterator[tuple[int, Row | str]]:
    csv.field_size_limit(MAX_CSV_FIELD)
    texts = columns.keep_text | {
        columns.id or "id",
        columns.image or "image",
        columns.text or "text",
    }
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        heads = next(reader, [])
        if len({*heads}) != len(heads):
            raise click.ClickException(f"{path}: two columns have the same name")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(heads):
                yield reader.line_num, f"{len(cells)} cells for {len(heads)} columns"
                continue
            row = dict(zip(heads, cells, strict=True))
            yield (
                reader.line_num,
                {
                    name: cell if name in texts else _typed(cell)
                    for name, cell in row.items()
                    if cell != "" or name in texts
                },
            )


def _tsv_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row | str]]:
    return _csv_rows(path, columns, "\t")


def _typed(cell: str) -> bool | int | float | str:
    """A cell of a CSV table: numbers and booleans as such."""
    if cell in _WORDS:
        return _WORDS[cell]
    found = _NUMBER.fullmatch(cell)
    if found is None:
        return cell
    return float(cell) if found[1] else int(cell)


def _json_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row | str]]:  # noqa: ARG001
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_constant=_refuse_constant)
            except json.JSONDecodeError as error:
                yield number, f"not valid JSON: {error.msg} at column {error.colno}"
                continue
            except (ValueError, RecursionError) as error:
                yield number, f"not valid JSON: {error}"
                continue
            yield number, row if isinstance(row, dict) else f"not a JSON object: {row!r:.100}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row | str]]:  # noqa: ARG001
    try:
        import pyarrow as pa  # noqa: PLC0415  only Parquet needs it
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{path}: a Parquet file needs the package pyarrow: pip install pyarrow"
        ) from error
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: cell for name, cell in row.items() if cell is not None}
    except pa.ArrowException as error:
        yield number + 1, f"the table cannot be read on: {error}"


TABLES: Final[Mapping[str, Callable[[Path, Columns], Iterator[tuple[int, Row | str]]]]] = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".parquet": _parquet_rows,
}
