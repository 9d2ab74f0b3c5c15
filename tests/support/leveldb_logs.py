"""Writes LevelDB's logs, so that a test can compose what a crash leaves."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c

from euclidesdb_server.store.log_chain import BATCH
from euclidesdb_server.store.log_format import (
    BLOCK_SIZE,
    FIRST,
    FULL,
    HEADER,
    LAST,
    MIDDLE,
    read_records,
)


def fragment(content: bytes, kind: int = FULL) -> bytes:
    """A fragment of a record, as LevelDB writes it."""
    crc = google_crc32c.value(bytes([kind]) + content)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    return HEADER.pack(masked, len(content), kind) + content


def write_batch(sequence: int, key: bytes, value: bytes) -> bytes:
    """A write batch of one put with short key and value."""
    put = b"\x01" + bytes([len(key)]) + key + bytes([len(value)]) + value
    return BATCH.pack(sequence, 1) + put


def encoded(records: Sequence[bytes]) -> bytes:
    """A log of these records."""
    log = bytearray()
    for record in records:
        left, first = record, True
        while left or first:
            room = BLOCK_SIZE - len(log) % BLOCK_SIZE
            if room < HEADER.size:
                log += bytes(room)
                continue
            part, left = left[: room - HEADER.size], left[room - HEADER.size :]
            kind = (FIRST if left else FULL) if first else (MIDDLE if left else LAST)
            log += fragment(part, kind)
            first = False
    return bytes(log)


def contents(log: Path) -> list[bytes]:
    """The records of a log."""
    return [record.content for record in read_records(log.read_bytes()) if record.whole]


def log_of(folder: Path) -> Path:
    """The newest log of a LevelDB."""
    return max(folder.glob("*.log"))


def split_log(folder: Path, ends: Sequence[int]) -> list[Path]:
    """Distribute the records of the newest log over several, as if LevelDB had begun new ones.

    ends: the number of records up to the end of each log but the last.
    """
    log = log_of(folder)
    records = contents(log)
    files = [log.with_name(f"{int(log.stem) + number:06d}.log") for number in range(len(ends) + 1)]
    for file, begin, end in zip(files, [0, *ends], [*ends, len(records)], strict=True):
        file.write_bytes(encoded(records[begin:end]))
    return files


def replaced(folder: Path, copy: Path) -> Path:
    """A new copy of a folder in place of an old one."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy


def varint(number: int) -> bytes:
    """A number as LevelDB's MANIFEST holds it."""
    out = b""
    while number >= 0x80:
        out += struct.pack("B", number & 0x7F | 0x80)
        number >>= 7
    return out + struct.pack("B", number)


def newest_log(folder: Path) -> int:
    """The number of the log that LevelDB writes to: another once its write buffer has been full."""
    return max(int(file.stem) for file in folder.glob("*.log"))
