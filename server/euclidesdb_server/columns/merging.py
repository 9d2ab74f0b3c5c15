"""Merging: the rows of several blocks as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.attribute_columns import LEAST_SHARE, MAX_COLUMNS, rest_text
from euclidesdb_server.columns.block import (
    ATTRIBUTE,
    LABEL,
    REST,
    Block,
    Mask,
    attribute_paths,
)

MAX_BYTES: Final = 1 << 30
"""Of what becomes one block: Arrow's strings have less than 2 GiB, and a merge holds all."""


def merged(sources: Sequence[tuple[Block, Mask]]) -> list[Block]:
    """The rows of blocks, without those that a mask leaves out.

    They are one block, or none, unless they are too large for one.
    """
    blocks: list[Block] = []
    batches: list[pa.RecordBatch] = []
    size = 0
    for block, kept in sources:
        batch = block.batch if kept.all() else block.batch.filter(pa.array(kept))
        if not len(batch):
            continue
        if batches and size + batch.nbytes > MAX_BYTES:
            blocks += _joined(batches)
            batches, size = [], 0
        batches.append(batch)
        size += batch.nbytes
    return blocks + _joined(batches)


def _joined(batches: Sequence[pa.RecordBatch]) -> list[Block]:
    if not batches:
        return []
    columns = _frequent_paths(batches)
    tables = [pa.Table.from_batches([_with_paths(batch, columns)]) for batch in batches]
    table = _with_zeros(pa.concat_tables(tables, promote_options="default").combine_chunks())
    labels = table.column(LABEL).to_numpy()
    if (np.diff(labels) < 0).any():
        table = table.take(pa.array(np.argsort(labels, kind="stable"))).combine_chunks()
    return [*map(Block, table.to_batches())]


def _with_zeros(table: pa.Table) -> pa.Table:
    """With 0 for the vectors that the rows of another block do not have."""
    for place, name in enumerate(table.schema.names):
        if name.endswith(":vector") and name[0] != ATTRIBUTE and table.column(place).null_count:
            table = table.set_column(place, name, pc.fill_null(table.column(place), 0))
    return table


def _frequent_paths(batches: Sequence[pa.RecordBatch]) -> set[str]:
    """The paths that have columns, as in a block that is made of all these rows."""
    counts: Counter[str] = Counter()
    for batch in batches:
        for path, names in attribute_paths(batch.schema).items():
            present = (len(batch) - batch.column(name).null_count for name in names.values())
            counts[path] += sum(present)
    least = sum(map(len, batches)) * LEAST_SHARE
    return {path for path, count in counts.most_common(MAX_COLUMNS) if count >= least}


def _with_paths(batch: pa.RecordBatch, columns: Collection[str]) -> pa.RecordBatch:
    """With columns of these paths alone; the values of others are kept as text."""
    paths = attribute_paths(batch.schema)
    rare = [path for path in paths if path not in columns]
    if not rare:
        return batch
    rest: list[list[str]] = [[] for _ in range(len(batch))]
    if REST in batch.schema.names:
        for row, text in enumerate(batch.column(REST).to_pylist()):
            if text is not None:
                rest[row].append(text[1:-1])
    for path in rare:
        for row, value in _pairs(batch, paths[path]):
            rest[row].append(rest_text([(path, value)])[1:-1])
    dropped = {REST, *(name for path in rare for name in paths[path].values())}
    kept = batch.select([name for name in batch.schema.names if name not in dropped])
    texts = [f"[{','.join(parts)}]" if parts else None for parts in rest]
    return kept.append_column(REST, pa.array(texts, pa.string()))


def _pairs(batch: pa.RecordBatch, names: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    """The rows of a path, and their values, from all of its columns."""
    found: dict[int, Any] = {}
    for kind, name in sorted(names.items(), key=lambda pair: pair[0] != "others"):
        column = batch.column(name)
        rows = pc.indices_nonzero(column.is_valid()).to_pylist()
        for row, value in zip(rows, column.drop_null().to_pylist(), strict=True):
            if kind == "others":
                found[row] = {}
            elif kind.startswith("lists"):
                before = found.get(row)
                # an element that is not a scalar, where there was one: the list equals nothing
                start = before if isinstance(before, list) else [] if before is None else [{}]
                found[row] = [*start, *value]
            else:
                found[row] = value
    yield from found.items()
