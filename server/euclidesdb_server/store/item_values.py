"""The values of many items' keys, read in the order of the keys.

LevelDB reads a record that follows the one before in half a microsecond, and one that it has to
search in two if that is near the one before. It knows in one that a key is not stored, by a filter
that a scan does not use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from euclidesdb_server.store import keys
from euclidesdb_server.store.leveldb_reads import Readable

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
        near = _near(source, part)
        if near is None:
            found.update(zip(part, source.get_many(part), strict=True))
        else:
            found.update(near)
    return [*map(found.get, wanted)]


def values_within(
    max_bytes: int, source: Readable, ids: Sequence[str]
) -> list[bytes | None] | None:
    """As `item_values`, of ids of which most are stored; None if they are more bytes."""
    wanted = [*map(keys.ITEM.__add__, map(str.encode, ids))]
    found, size = dict[bytes, bytes](), 0
    for part in _parts(wanted):
        near = _near(source, part)
        scan: Any = source.scan_keys(part) if near is None else (each for each in [near])
        with closing(scan):
            for rows in map(dict, scan):
                found.update(rows)
                size += sum(map(len, rows.values()))
                if size > max_bytes:
                    return None
    return [*map(found.get, wanted)]


def _parts(wanted: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    in_order = sorted(wanted)
    for start in range(0, len(in_order), AT_A_TIME):
        yield in_order[start : start + AT_A_TIME]


def _near(source: Readable, wanted: Sequence[bytes]) -> dict[bytes, bytes] | None:
    """The rows from the first key to the last; None if most are not wanted.

    wanted: ascending.
    """
    if len(wanted) > PROBE and _neighbors(source, wanted[:PROBE]) is None:
        return None
    rows = _neighbors(source, wanted)
    if rows is None:
        return None
    found = dict(rows)
    if all(map(found.__contains__, wanted)):
        return found
    # some are not stored, or cannot be read, which a scan reports
    with closing(_scan(source, wanted)) as scan:
        return {key: value for rows in scan for key, value in rows}


def _scan(source: Readable, wanted: Sequence[bytes]) -> Any:
    return source.scan(wanted[0], wanted[-1])


def _neighbors(source: Readable, wanted: Sequence[bytes]) -> list[tuple[bytes, bytes]] | None:
    """The rows from the first key to the last; None if most are not wanted."""
    limit = len(wanted) + len(wanted) // 2
    rows = source.neighbors(wanted[0], wanted[-1], limit)
    return rows if len(rows) < limit else None
