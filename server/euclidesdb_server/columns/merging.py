"""Merging: the rows of several blocks as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from euclidesdb_server.columns.attribute_columns import MAX_COLUMNS, rest_text
from euclidesdb_server.columns.block import (
    ATTRIBUTE,
    LABEL,
    REST,
    Block,
    Mask,
    attribute_paths,
)


def merged(sources: Sequence[tuple[Block, Mask]]) -> Block | None:
    """The rows of blocks, without those that a mask leaves out; None if there are none."""
    tables = []
    for block, kept in sources:
        batch = block.batch if kept.all() else block.batch.filter(pa.array(kept))
        if len(batch):
            tables.append(pa.Table.from_batches([batch]))
    if not tables:
        return None
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    table = _with_zeros(_with_fewer_columns(table))
    labels = table.column(LABEL).to_numpy()
    if (np.diff(labels) < 0).any():
        table = table.take(pa.array(np.argsort(labels, kind="stable"))).combine_chunks()
    return Block(table.to_batches()[0])


def _with_zeros(table: pa.Table) -> pa.Table:
    """With 0 for the vectors that the rows of another block do not have."""
    for place, name in enumerate(table.schema.names):
        if name.endswith(":vector") and name[0] != ATTRIBUTE and table.column(place).null_count:
            table = table.set_column(place, name, pc.fill_null(table.column(place), 0))
    return table


def _with_fewer_columns(table: pa.Table) -> pa.Table:
    """With the values of the rarest paths as text, if there are too many."""
    paths = attribute_paths(table.schema)
    if len(paths) <= MAX_COLUMNS:
        return table
    counts = {
        path: sum(len(table) - table.column(name).null_count for name in names.values())
        for path, names in paths.items()
    }
    rare = sorted(paths, key=lambda path: counts[path])[: len(paths) - MAX_COLUMNS]
    rest: list[str | None] = [None] * len(table)
    if REST in table.schema.names:
        rest = table.column(REST).to_pylist()
    kept = table
    for path in rare:
        for row, value in _pairs(table, paths[path]):
            before = (rest[row] or "")[1:-1]
            before += "," if before else ""
            rest[row] = f"[{before}{rest_text([(path, value)])[1:-1]}]"
        kept = kept.drop_columns([*paths[path].values()])
    if REST in kept.schema.names:
        kept = kept.drop_columns([REST])
    return kept.append_column(REST, pa.array(rest, pa.string())).combine_chunks()


def _pairs(table: pa.Table, names: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    """The rows of a path, and their values, from all of its columns."""
    found: dict[int, Any] = {}
    for kind, name in sorted(names.items(), key=lambda pair: pair[0] != "others"):
        column = table.column(name).combine_chunks()
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
