"""Checks LevelDB's logs and its MANIFEST before they are opened, and cuts off a torn write.

Both are logs of records, each with a checksum (LevelDB's doc/log_format.md). If the power fails
during a write, only part of its bytes may be there, or garbage. That write was never
acknowledged, but LevelDB with paranoid checks refuses to open such a log, so it is cut off here.
Damage before the end is different: if an intact record follows it, it was not a torn write. That
is refused here, because LevelDB skips a part that was overwritten with zeros without an error.

Damage to the very last record cannot be told from a torn write, and is treated as one. What is
cut off is kept next to the store, and the server's log reports it.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np

from euclidesdb_server.errors import DataFolderError

log = logging.getLogger(__name__)

BLOCK_SIZE: Final = 32768
HEADER: Final = struct.Struct("<IHB")
FULL, FIRST, MAX_KIND = 1, 2, 4
"""Kinds of record: a whole one, the first of several fragments; the greatest kind in use."""


def truncate_torn_writes(
    folder: Path, saved_to: Path, *, clean_shutdown: bool, synced: bool
) -> None:
    """Cut the torn write, if any, off the log and the MANIFEST of the LevelDB in `folder`.

    saved_to: the folder that receives what is cut off.
    clean_shutdown: the database was closed cleanly, so nothing can be torn.
    synced: every write was synced; otherwise a power cut may have taken any part of the latest
        writes, and a log simply ends at its first invalid record.

    Raises DataFolderError naming a file that is damaged, OSError.
    """
    for file, end in _invalid_tails(folder):
        data = file.read_bytes()
        is_log = file.suffix == ".log"
        if clean_shutdown or (_is_damage(folder, file, end) and (synced or not is_log)):
            raise DataFolderError(
                f"the store in {folder} is damaged: {_place(file, end)}; "
                "run `euclidesdb verify` to list the damage, with --repair to repair it"
            )
        saved_to.mkdir(exist_ok=True)
        (saved_to / f"{file.name}-from-{end}").write_bytes(data[end:])
        with file.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
        log.warning(
            "%s ends in a torn write, which was never acknowledged: its %d bytes are now in %s",
            file, len(data) - end, saved_to,
        )  # fmt: skip


def damaged_logs(folder: Path, *, clean_shutdown: bool) -> list[str]:
    """The files that `truncate_torn_writes` would refuse, with the position. Raises OSError."""
    return [
        _place(file, end)
        for file, end in _invalid_tails(folder)
        if clean_shutdown or _is_damage(folder, file, end)
    ]


def find_invalid_record(data: bytes) -> int | None:
    """The position of the first record of a log that is not intact; None if all are."""
    position = 0
    while (position := _next_record(position)) < len(data):
        end = _end_of_record(data, position)
        if end is None:
            return position
        position = end
    return None


def has_record_after(data: bytes, position: int) -> bool:
    """Whether an intact record that begins a write starts after `position`.

    A later fragment of a write does not count: it may belong to the torn write.
    """
    kinds = np.frombuffer(data, np.uint8)[HEADER.size - 1 :]
    # its position is unknown: try each at which a header of such a kind may be
    for start in np.flatnonzero((kinds == FULL) | (kinds == FIRST)).tolist():
        if start > position and _end_of_record(data, start) is not None:
            return True
    return False


def _invalid_tails(folder: Path) -> Iterator[tuple[Path, int]]:
    """Each log with an invalid record, and the position of the first one."""
    manifest = folder / (folder / "CURRENT").read_text(errors="replace").strip()
    for file in [*folder.glob("*.log"), *([manifest] if manifest.is_file() else [])]:
        end = find_invalid_record(file.read_bytes())
        if end is not None:
            yield file, end


def _is_damage(folder: Path, file: Path, end: int) -> bool:
    """Whether what is invalid from `end` on cannot be a write that a power cut interrupted."""
    if has_record_after(file.read_bytes(), end):
        return True
    logs = sorted(folder.glob("*.log"), key=lambda log: log.stem.zfill(20))
    if file.suffix == ".log":
        # a log is complete once a newer one has been started
        newer = logs[logs.index(file) + 1 :]
        return any(log.stat().st_size for log in newer)
    # The MANIFEST's last record says which table now holds the rows of a log, and that log is
    # deleted once it is written. While there are two logs, it may not have been.
    return len(logs) < 2


def _place(file: Path, end: int) -> str:
    return f"{file} at byte {end}"


def _next_record(position: int) -> int:
    """Where the next record begins: the end of a block is unused if too short for a header."""
    left = BLOCK_SIZE - position % BLOCK_SIZE
    return position + left if left < HEADER.size else position


def _end_of_record(data: bytes, position: int) -> int | None:
    """The end of the intact record at a position; None if there is not one."""
    left = BLOCK_SIZE - position % BLOCK_SIZE
    header = data[position : position + HEADER.size]
    if len(header) < HEADER.size:
        return None
    checksum, length, kind = HEADER.unpack(header)
    end = position + HEADER.size + length
    if not 1 <= kind <= MAX_KIND or HEADER.size + length > left or end > len(data):
        return None
    crc = google_crc32c.value(data[position + 6 : end])
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return end if masked == checksum else None
