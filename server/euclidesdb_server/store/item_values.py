"""The values of many items' keys, read in the order of the keys.

LevelDB reads a record that follows the one before in half a microsecond, one that it has to search
in two if that is near the one before, and in twelve if it is anywhere. The same holds for keys that
are not stored, as those of new items: it has to look for each in every level.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from euclidesdb_server.store import keys
from euclidesdb_server.store.leveldb_reads import Readable

FEW: Final = 8
"""So many are looked up each: to begin a scan takes as long as to read ten."""
PROBE: Final = 32
"""Before many records are read as neighbors, so many are, to see whether they are."""
AT_A_TIME: Final = 1024
"""While so many are read, LevelDB cannot be opened again."""


def item_values(source: Readable, ids: Sequence[str]) -> list[bytes | None]:
    """The values of items' keys; None for those that are not stored. Raises as `Readable.get`."""
    return values_within(sys.maxsize, source, ids) or []


def values_within(
    max_bytes: int, source: Readable, ids: Sequence[str]
) -> list[bytes | None] | None:
    """As `item_values`; None if they are more bytes, as soon as that is known."""
    wanted = [*map(keys.ITEM.__add__, map(str.encode, ids))]
    in_order = sorted(wanted)
    found, size = dict[bytes, bytes](), 0
    for start in range(0, len(in_order), AT_A_TIME):
        for rows in _rows(source, in_order[start : start + AT_A_TIME]):
            found.update(rows)
            size += sum(map(len, rows.values()))
            if size > max_bytes:
                return None
    return [*map(found.get, wanted)]


def _rows(source: Readable, wanted: Sequence[bytes]) -> Iterator[dict[bytes, bytes]]:
    """The rows of some keys, which are ascending, and perhaps of some between them."""
    if len(wanted) <= FEW:
        values = zip(wanted, source.get_many(wanted), strict=True)
        yield {key: value for key, value in values if value is not None}
        return
    scan: Any = None
    if len(wanted) > PROBE and _neighbors(source, wanted[:PROBE]) is not None:
        rows = _neighbors(source, wanted)
        if rows is not None:
            by_key = dict(rows)
            if all(map(by_key.__contains__, wanted)):
                yield by_key
                return
            # few are stored, or one is damaged, which a scan reports
            scan = source.scan(wanted[0], wanted[-1])
    scan = source.scan_keys(wanted) if scan is None else scan
    with closing(scan):
        yield from map(dict, scan)


def _neighbors(source: Readable, wanted: Sequence[bytes]) -> list[tuple[bytes, bytes]] | None:
    """The rows from the first key to the last; None if most are not wanted."""
    limit = len(wanted) + len(wanted) // 2
    rows = source.neighbors(wanted[0], wanted[-1], limit)
    return rows if len(rows) < limit else None
