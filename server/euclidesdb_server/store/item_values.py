"""The values of many items' keys, read in the order of the keys.

LevelDB reads a record that follows the one before in half a microsecond, and one that it has to
search in two if that is near the one before. It knows in one that a key is not stored, by a filter
that a scan does not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, TypeAlias

from euclidesdb_server.store import keys
from euclidesdb_server.store.leveldb_reads import Readable

Row: TypeAlias = tuple[bytes, bytes]

FEW: Final = 8
"""So many are looked up each: to begin a scan takes as long as to look up some."""
PROBE: Final = 32
"""Before many records are read as neighbors, so many are, to see whether they are."""
AT_A_TIME: Final = 1024
"""While so many are read, LevelDB cannot be opened again."""


def item_values(source: Readable, ids: Sequence[str]) -> list[bytes | None]:
    """The values of items' keys; None for those that are not stored. Raises as `Readable.get`."""
    wanted = [*map(keys.ITEM.__add__, map(str.encode, ids))]
    if len(wanted) <= FEW:
        return source.get_many(wanted)
    found: dict[bytes, bytes | None] = {}
    for part in _parts(wanted):
        rows = _read_as_neighbors(source, part)
        if rows is None:
            found.update(zip(part, source.get_many(part), strict=True))
        else:
            found.update(rows)
    return [*map(found.get, wanted)]


def values_within(
    max_bytes: int, source: Readable, ids: Sequence[str]
) -> list[bytes | None] | None:
    """As `item_values`, of ids of which most are stored; None if they are more bytes.

    Little more than `max_bytes` is read before it returns None.
    """
    wanted = [*map(keys.ITEM.__add__, map(str.encode, ids))]
    found, left = dict[bytes, bytes](), max_bytes
    for part in _parts(wanted):
        rows = _read_as_neighbors(source, part, left)
        if rows is None:
            with closing(_generator(source.scan_keys(part))) as scan:
                rows = _collected(scan, left)
            if rows is None:
                return None
        found.update(rows)
        left -= _size(rows.values())
    return [*map(found.get, wanted)]


def _parts(wanted: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    in_order = sorted(wanted)
    for start in range(0, len(in_order), AT_A_TIME):
        yield in_order[start : start + AT_A_TIME]


def _read_as_neighbors(
    source: Readable, wanted: Sequence[bytes], max_bytes: int | None = None
) -> dict[bytes, bytes] | None:
    """All rows from the first key to the last, read without a step for each key.

    None if most are not wanted, or if all together have more than `max_bytes`. wanted: ascending.
    """
    if len(wanted) > PROBE and _rows_between(source, wanted[:PROBE], max_bytes) is None:
        return None
    rows = _rows_between(source, wanted, max_bytes)
    if rows is None:
        return None
    found = dict(rows)
    if all(map(found.__contains__, wanted)):
        return found
    # some are not stored, or cannot be read, which a scan reports
    with closing(_generator(source.scan(wanted[0], wanted[-1]))) as scan:
        return _collected(scan, max_bytes)


def _rows_between(
    source: Readable, wanted: Sequence[bytes], max_bytes: int | None
) -> list[Row] | None:
    """What LevelDB's iterator finds from the first key to the last, which may be too few rows.

    None as `_read_as_neighbors`.
    """
    limit = len(wanted) + len(wanted) // 2
    rows = source.neighbors(wanted[0], wanted[-1], limit, max_bytes)
    if len(rows) == limit:
        return None
    if max_bytes is not None and _size(value for _, value in rows) > max_bytes:
        return None
    return rows


def _collected(scan: Iterator[list[Row]], max_bytes: int | None) -> dict[bytes, bytes] | None:
    """All rows of a scan; None as soon as they have more than `max_bytes`."""
    found, size = dict[bytes, bytes](), 0
    for rows in scan:
        found.update(rows)
        size += _size(value for _, value in rows)
        if max_bytes is not None and size > max_bytes:
            return None
    return found


def _size(values: Iterable[bytes]) -> int:
    return sum(map(len, values))


def _generator(scan: Any) -> Any:
    """A scan, typed as what `closing` takes: it is a generator."""
    return scan
