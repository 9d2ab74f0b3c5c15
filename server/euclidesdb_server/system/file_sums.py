"""The size and the checksum of a file, by which a later reader knows that it is whole."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import ShuttingDown

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class FileSum:
    """size: in bytes. crc32: CRC-32 (ISO-HDLC, as in zlib) of all of them."""

    size: int
    crc32: int


def file_sum(file: Path, cancelled: threading.Event | None = None) -> FileSum:
    """Read a file once, in small pieces and without the GIL.

    Raises OSError; ShuttingDown if `cancelled` is set meanwhile.
    """
    size = crc32 = 0
    with file.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            size += len(chunk)
            crc32 = zlib.crc32(chunk, crc32)
            if cancelled is not None and cancelled.is_set():
                raise ShuttingDown("the server is stopping")
    return FileSum(size, crc32)
