"""Checks LevelDB's logs and its MANIFEST before they are opened, and cuts off a torn write.

Both are logs of records, each with a checksum (LevelDB's doc/log_format.md). When the power
fails during a write, its bytes may be there in part, or be garbage. That write was never
acknowledged, but LevelDB, told to be careful, refuses to open such a log. Damage before the
end is another matter: a whole record behind it shows that it is no torn write. That is refused
here, as LevelDB passes over a part that holds zeros as if nothing had been there.

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
import numpy as np

from euclidesdb_server.errors import DataFolderError

log = logging.getLogger(__name__)

BLOCK: Final = 32768
HEADER: Final = struct.Struct("<IHB")
FULL, FIRST, LAST_KIND = 1, 2, 4
"""Kinds of record: whole, the first of several pieces; the greatest kind there is."""


def cut_torn_ends(folder: Path, kept: Path, *, in_order: bool, synced: bool) -> None:
    """Cut the log and the MANIFEST of the LevelDB in `folder` where they are torn.

    kept: the folder that gets what is cut off. in_order: the database was closed in order, so
    that nothing can be torn. synced: every write was synced; otherwise a power cut may take any
    part of what was written last, and a log ends at its first bad record.

    Raises DataFolderError naming a file that is damaged, OSError.
    """
    for file, end in _bad_ends(folder):
        data = file.read_bytes()
        is_log = file.suffix == ".log"
        if in_order or (_is_damage(folder, file, end) and (synced or not is_log)):
            raise DataFolderError(
                f"the store in {folder} is damaged: {_place(file, end)}; `euclidesdb verify` says "
                "what is there, and can repair it"
            )
        kept.mkdir(exist_ok=True)
        (kept / f"{file.name}-from-{end}").write_bytes(data[end:])
        with file.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
        log.warning(
            "%s ends in a torn write, which was never acknowledged: its %d bytes are now in %s",
            file, len(data) - end, kept,
        )  # fmt: skip


def damaged_logs(folder: Path, *, in_order: bool) -> list[str]:
    """The files that `cut_torn_ends` would refuse, and where. Raises OSError."""
    return [
        _place(file, end)
        for file, end in _bad_ends(folder)
        if in_order or _is_damage(folder, file, end)
    ]


def _is_damage(folder: Path, file: Path, end: int) -> bool:
    """Whether what is bad from `end` on cannot be a write that the power cut off."""
    if has_record_after(file.read_bytes(), end):
        return True
    logs = sorted(folder.glob("*.log"), key=lambda log: log.stem.zfill(20))
    if file.suffix == ".log":
        # what another log follows had been written
        newer = logs[logs.index(file) + 1 :]
        return any(log.stat().st_size for log in newer)
    # The MANIFEST's last record was written when it said where the rows of a log have gone, and
    # that log was then deleted. As long as there is another, it may not have been.
    return len(logs) < 2


def _bad_ends(folder: Path) -> Iterator[tuple[Path, int]]:
    for file in _logs(folder):
        end = bad_from(file.read_bytes())
        if end is not None:
            yield file, end


def _place(file: Path, end: int) -> str:
    return f"{file} at byte {end}"


def bad_from(data: bytes) -> int | None:
    """Where the first record of a log begins that is not whole; None where all are."""
    position = 0
    for _, end, _ in _records(data, 0):
        position = end
    position = _next(position)
    return None if position >= len(data) else position


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


def has_record_after(data: bytes, position: int) -> bool:
    """Whether another write begins behind a bad record: a piece that only goes on does not."""
    kinds = np.frombuffer(data, np.uint8)[HEADER.size - 1 :]
    # there is no telling where it begins: everywhere that a header of such a kind may be
    for start in np.flatnonzero((kinds == FULL) | (kinds == FIRST)).tolist():
        if start > position and _record_at(data, start)[1] is not None:
            return True
    return False


def _logs(folder: Path) -> list[Path]:
    manifest = folder / (folder / "CURRENT").read_text(errors="replace").strip()
    return [*folder.glob("*.log"), *([manifest] if manifest.is_file() else [])]
