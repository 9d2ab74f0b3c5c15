"""A process that writes to a LevelDB until it is killed, and the check of what is left.

Its history is a sequence of writes by one thread: write n sets the count to n, adds item n and
removes item n - KEPT. So what is left is a prefix of the history, or it is not.
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

from euclidesdb_server.store.leveldb import LevelDB

KEPT: Final = 30
SYNC_EVERY: Final = 45
"""Without syncing each write, one of so many is synced."""
COUNT: Final = b"count"
PROGRESS: Final = struct.Struct("<QQ")


class Progress(NamedTuple):
    """Writes that were acknowledged, and those of them that were certainly synced."""

    acknowledged: int
    synced: int


def value_of(number: int, buffer: int) -> bytes:
    """The value of an item: a hundred fill LevelDB's write buffer."""
    return random.Random(number).randbytes(buffer // 100)


def write_until_killed(folder: Path, progress: Path, *, sync: bool, buffer: int) -> None:
    """Write, and note the progress outside the folder."""
    database = LevelDB(folder, sync=sync, write_buffer_bytes=buffer)
    synced = int(database.get(COUNT) or b"0")
    with progress.open("wb", buffering=0) as file:
        for number in range(synced + 1, sys.maxsize):
            batch = database.batch()
            batch.put(COUNT, b"%d" % number)
            batch.put(b"item %d" % number, value_of(number, buffer))
            batch.delete(b"item %d" % (number - KEPT))
            now = sync or number % SYNC_EVERY == 0
            database.write(batch, "writing", sync=now)
            synced = number if now else synced
            file.seek(0)
            file.write(PROGRESS.pack(number, synced))


def progress_in(file: Path) -> Progress:
    """What the killed process had noted."""
    content = file.read_bytes() if file.exists() else b""
    return Progress(*PROGRESS.unpack(content)) if content else Progress(0, 0)


def writes_in(folder: Path, *, sync: bool, buffer: int) -> int:
    """How many writes are left in a folder: AssertionError if it is not a prefix of the history."""
    database = LevelDB(folder, sync=sync, write_buffer_bytes=buffer)
    count = int(database.get(COUNT) or b"0")
    found = {key: value for rows in database.scan(b"item", b"item~") for key, value in rows}
    database.close()
    numbers = range(max(1, count - KEPT + 1), count + 1)
    assert found == {b"item %d" % number: value_of(number, buffer) for number in numbers}
    return count


if __name__ == "__main__":
    write_until_killed(
        Path(sys.argv[1]), Path(sys.argv[2]), sync=sys.argv[3] == "True", buffer=int(sys.argv[4])
    )
