"""SpaceSizes: how much there is of a space, be it open or not.

The store does not keep the number of rows of a space. Those of a space that is not open are counted
in the background, when they are first asked for: a million take about a second. From then on only
tombstones are counted again, after a deletion.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.errors import DatabaseError, ShuttingDown
from euclidesdb_server.store import FeatureStore

WAIT: Final = 1.0
"""Seconds that a caller waits for numbers that are not known yet."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Count:
    """rows_ever: rows and tombstones of a space. rows: after so many deletions; None: unknown."""

    rows_ever: Future[int]
    rows: int | None = None
    deletions: int = -1


class SpaceSizes:
    """Counts in one thread. Thread-safe. `close` is idempotent.

    segments: the folder of all segments.
    """

    def __init__(self, store: FeatureStore, segments: Path) -> None:
        self._store = store
        self._segments = segments
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="space-sizes")
        self._counts: dict[int, _Count] = {}

    def disk_bytes(self, number: int) -> int:
        """About how many bytes a space takes on disk: its rows in the store, and its segments.

        0 if that cannot be read.
        """
        try:
            stored = self._store.space_data.size_in_bytes(number)
        except DatabaseError:
            return 0
        return stored + _bytes_below(self._segments / str(number))

    def rows(self, spaces: Iterable[SupersededSpace]) -> Mapping[int, int]:
        """The rows of spaces that are not open, by number, as far as they are known by now.

        Waits up to WAIT seconds for all of them together.
        """
        begun = {space: self._begun(space.record.number) for space in spaces}
        end = time.monotonic() + WAIT
        rows: dict[int, int] = {}
        for space, count in begun.items():
            number = space.record.number
            try:
                rows_ever = count.rows_ever.result(max(0.0, end - time.monotonic()))
                deletions = space.deletions
                if count.rows is None or count.deletions != deletions:
                    count.rows = rows_ever - len(self._store.tombstones(number))
                    count.deletions = deletions
                rows[number] = count.rows
            except TimeoutError:
                continue
            except (DatabaseError, CancelledError) as error:
                log.warning("the rows of space %d cannot be counted: %s", number, error)
                with self._lock:
                    self._counts.pop(number, None)  # the next call tries again
        return rows

    def close(self) -> None:
        """End the count in progress."""
        self._closed.set()
        self._threads.shutdown(cancel_futures=True)

    def _begun(self, number: int) -> _Count:
        with self._lock:
            if number not in self._counts:
                self._counts[number] = _Count(self._threads.submit(self._rows_ever, number))
            return self._counts[number]

    def _rows_ever(self, number: int) -> int:
        return self._store.space_data.count_rows_ever(number, self._check_open)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ShuttingDown("the server is stopping")


def _bytes_below(folder: Path) -> int:
    """About how many bytes the files in a folder take: segments come and go meanwhile."""
    size = 0
    for parent, _, names in os.walk(folder):  # leaves out a folder that is deleted meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size
