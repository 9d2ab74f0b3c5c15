"""GroupedWrites: single items of many calls, written together by one thread.

A call that adds one item waits for a model, and then for the disk. If each call had a thread for
its write, eight callers would keep the interpreter busy with changing threads. Here what comes
while a write is under way is one batch of the next one, which needs one lock and one sync.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError, ShuttingDown, copy_of
from euclidesdb_server.values.item_change import ItemChange

T = TypeVar("T")


class GroupedWrite(NamedTuple):
    """The outcome of an item.

    change: what has changed, or why nothing has. is_repeated: its request was applied before.
    """

    change: ItemChange | DatabaseError
    is_repeated: bool = False


class _Waiting(NamedTuple):
    item: EmbeddedItem
    outcome: Future[GroupedWrite]


class GroupedWrites:
    """Writes items by a thread of its own. Thread-safe; `close` ends the thread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grouped-writes")
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_writing = False

    def write(self, item: EmbeddedItem) -> Future[GroupedWrite]:
        """Write an item, as `Writer.write` would. After `close`, the outcome is ShuttingDown."""
        waiting = _Waiting(item, Future())
        with self._lock:
            self._waiting.append(waiting)
            is_writing, self._is_writing = self._is_writing, True
        if not is_writing:
            try:
                self.run(self._write_waiting)
            except ShuttingDown as error:
                while group := self._next_group():
                    for each in group:
                        each.outcome.set_result(GroupedWrite(copy_of(error)))
        return waiting.outcome

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Have the thread do something else that waits for writes. Raises ShuttingDown."""
        try:
            return self._thread.submit(work)
        except RuntimeError as error:
            raise ShuttingDown("the server is stopping") from error

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._thread.shutdown()

    def _write_waiting(self) -> None:
        while group := self._next_group():
            repeated = set[int]()
            try:
                changes = self._writer.write([each.item for each in group], repeated)
            except BaseException as error:  # each caller must get an answer
                for each in group:
                    each.outcome.set_exception(error)
                continue
            for position, (each, change) in enumerate(zip(group, changes, strict=True)):
                # the items of a batch fail by one error, and each caller raises its own
                own = copy_of(change) if isinstance(change, DatabaseError) else change
                each.outcome.set_result(GroupedWrite(own, position in repeated))

    def _next_group(self) -> list[_Waiting]:
        with self._lock:
            group, self._waiting = self._waiting, []
            self._is_writing = bool(group)
            return group
