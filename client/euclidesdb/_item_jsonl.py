"""Items as JSON Lines: one JSON object a line, which holds all of an item."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb._arrow_rows import ArrowColumns
from euclidesdb._checks import shown
from euclidesdb._item_rows import BadRow, Row, RowFailure, RowVector, VectorColumn
from euclidesdb._row_batches import SingleRow

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class JsonlWriter:
    """Writes the batches of an export."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._columns = ArrowColumns(schema)
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, batch: Any) -> None:
        """Write the items of a batch."""
        for row in self._columns.rows(batch):
            if isinstance(row, BadRow):
                raise row.error
            self._file.write(_line(row) + "\n")

    def finish(self) -> None:
        """See ItemWriter."""
        self._file.flush()

    def close(self) -> None:
        """See ItemWriter."""
        self._file.close()


class JsonlSource:
    """Reads such a file; `named` are further keys of vectors."""

    def __init__(self, path: Path, named: Mapping[str, VectorColumn]) -> None:
        self._named = named
        self._file = path.open(encoding="utf-8")

    def batches(self) -> Iterator[SingleRow]:
        """See RowSource."""
        return map(SingleRow, self._rows())

    def count(self) -> None:
        """It is not known."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rows(self) -> Iterator[Row | BadRow]:
        for number, line in enumerate(self._file, 1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield BadRow("", ValueError(f"line {number} is not JSON: {error}"))
                continue
            try:
                yield _row(found, self._named)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                item_id = found.get("id") if isinstance(found, dict) else None
                kind = "it has no" if isinstance(error, KeyError) else f"{type(error).__name__}:"
                why = f"line {number} is not an item: {kind} {error}"
                yield BadRow(item_id if isinstance(item_id, str) else "", ValueError(why))


def _line(row: Row) -> str:
    found: dict[str, Any] = {"id": row.id}
    if row.attributes_json is not None:
        same = False
        try:
            attributes = json.loads(row.attributes_json)
            same = _encode(attributes) == row.attributes_json
            found["attributes"] = attributes
        except (ValueError, RecursionError):  # such as a number that is infinite as a float
            pass
        if not same:
            found["attributes_json"] = row.attributes_json
    if row.metadata is not None:
        found["metadata"] = _base64(row.metadata)
    found["vectors"] = [_vector(vector) for vector in row.vectors]
    if row.failures:
        found["failures"] = [_failure(failure) for failure in row.failures]
    if row.payload_kind == "text":
        found["payload"] = {"kind": "text", "text": row.payload.decode()}
    elif row.payload_kind is not None:
        found["payload"] = {"kind": row.payload_kind, "data": _base64(row.payload)}
    if row.payload_digest:
        found["payload_digest"] = row.payload_digest.hex()
    text = _encode(found)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which an escape may hold
        text = json.dumps(found)
    return text


def _vector(vector: RowVector) -> dict[str, Any]:
    column = vector.column
    found: dict[str, Any] = {"model": column.model, "fingerprint": column.fingerprint}
    if column.name != column.model:
        found["name"] = column.name
    found["values"] = vector.values.tolist()
    if vector.predictions is not None:
        found["predictions"] = vector.predictions.tolist()
    if vector.ready_made is not None:
        found["ready_made"] = vector.ready_made
    return found


def _row(found: Any, named: Mapping[str, VectorColumn]) -> Row:
    if not isinstance(found, dict):
        raise TypeError(f"it must be an object, not {shown(found)}")
    attributes_json = found.get("attributes_json")
    if attributes_json is None and "attributes" in found:
        attributes_json = json.dumps(found["attributes"], ensure_ascii=False)
    vectors = [
        RowVector(
            VectorColumn(
                each.get("name", each["model"]), each["model"], each.get("fingerprint", "")
            ),
            np.array(each["values"], np.float32),
            np.array(each["predictions"], np.float32) if "predictions" in each else None,
            each.get("ready_made"),
        )
        for each in found.get("vectors", ())
    ]
    vectors += [
        RowVector(column, np.array(found[key], np.float32))
        for key, column in named.items()
        if found.get(key) is not None
    ]
    payload = found.get("payload") or {}
    kind = payload.get("kind")
    data = payload["text"].encode() if kind == "text" else base64.b64decode(payload.get("data", ""))
    return Row(
        found["id"],
        attributes_json,
        base64.b64decode(found["metadata"]) if "metadata" in found else None,
        vectors,
        kind,
        data,
        bytes.fromhex(found.get("payload_digest", "")),
        [
            RowFailure(
                VectorColumn(
                    each.get("name", each["model"]), each["model"], each.get("fingerprint", "")
                ),
                each["reason"],
                each["message"],
                datetime.fromisoformat(each["time"]),
            )
            for each in found.get("failures", ())
        ],
    )


def _failure(failure: RowFailure) -> dict[str, Any]:
    column = failure.column
    return {
        "name": column.name,
        "model": column.model,
        "fingerprint": column.fingerprint,
        "reason": failure.reason,
        "message": failure.message,
        "time": failure.time.isoformat(),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
