"""Cuts off what a power cut left half written at the end of LevelDB's log, or of its MANIFEST.

Both are logs of records, each with a checksum (LevelDB's doc/log_format.md). When the power
fails during a write, its bytes may be there in part, or be garbage. That write was never
acknowledged, but LevelDB, told to be careful, refuses to open such a log. Damage before the
end is another matter: a whole record behind it shows that it is no torn write.

(Damage to the very last record looks like a torn write, and is treated as one. What is cut
off is kept beside the store, and the log says so.)
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import google_crc32c

log = logging.getLogger(__name__)

BLOCK: Final = 32768
HEADER: Final = struct.Struct("<IHB")
FULL, FIRST, LAST_KIND = 1, 2, 4
"""Kinds of record: whole, the first of several pieces; the greatest kind there is."""


def cut_torn_ends(folder: Path, kept: Path) -> bool:
    """Cut the newest log and the MANIFEST of the LevelDB in `folder` where they are torn.

    kept: the folder that gets what is cut off. Returns whether anything was.
    """
    cut = False
    for file in _candidates(folder):
        data = file.read_bytes()
        end = torn_from(data)
        if end is None:
            continue
        kept.mkdir(exist_ok=True)
        (kept / f"{file.name}-from-{end}").write_bytes(data[end:])
        with file.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
        log.warning(
            "%s ends in a torn write, which was never acknowledged: its %d bytes are now in %s",
            file, len(data) - end, kept,
        )  # fmt: skip
        cut = True
    return cut


def torn_from(data: bytes) -> int | None:
    """Where the torn record at the end of a log begins.

    None where there is none, or where a record behind it shows that it is damage.
    """
    position = 0
    for _, end, _ in _records(data, 0):
        position = end
    position = _next(position)
    if position >= len(data):
        return None
    return None if _has_record_after(data, position) else position


def _records(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and kind of the whole records from a position on, up to the first bad one."""
    while (position := _next(position)) < len(data):
        kind, end = _record_at(data, position)
        if end is None:
            return
        yield position, end, kind
        position = end


def _next(position: int) -> int:
    """Where the next record begins: a block's last bytes are left out if too few for a header."""
    left = BLOCK - position % BLOCK
    return position + left if left < HEADER.size else position


def _record_at(data: bytes, position: int) -> tuple[int, int | None]:
    """Kind and end of the record at a position; no end where there is no whole one."""
    left = BLOCK - position % BLOCK
    header = data[position : position + HEADER.size]
    if len(header) < HEADER.size:
        return 0, None
    checksum, length, kind = HEADER.unpack(header)
    end = position + HEADER.size + length
    if not 1 <= kind <= LAST_KIND or HEADER.size + length > left or end > len(data):
        return 0, None
    crc = google_crc32c.value(data[position + 6 : end])
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return kind, (end if masked == checksum else None)


def _has_record_after(data: bytes, position: int) -> bool:
    """Whether another write begins behind a bad record: a piece that only goes on does not."""
    block_end = min(len(data), position - position % BLOCK + BLOCK)
    for start in range(position + 1, block_end):  # there is no telling where the next one begins
        kind, end = _record_at(data, start)
        if end is not None and kind in (FULL, FIRST):
            return True
    for block in range(block_end, len(data), BLOCK):
        if any(kind in (FULL, FIRST) for _, _, kind in _records(data[block : block + BLOCK], 0)):
            return True
    return False


def _candidates(folder: Path) -> list[Path]:
    logs = sorted(folder.glob("*.log"), key=lambda file: file.stem.zfill(20))
    try:
        manifest = folder / (folder / "CURRENT").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return logs[-1:]
    return [*logs[-1:], *([manifest] if manifest.is_file() else [])]
