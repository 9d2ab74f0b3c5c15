"""GroupedWrites: single items of many calls, written together by one thread.

A call that adds one item waits for a model, and then for the disk. If each call had a thread for
its write, eight callers would keep the interpreter busy with changing threads. Here what comes
while a write is under way is one batch of the next one, which needs one lock and one sync. (So an
item that another writer has locked holds up those of its batch, for as long as that write takes.)
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import NamedTuple

from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import DatabaseError, ShuttingDown, copy_of
from euclidesdb_server.values.item_change import ItemChange

log = logging.getLogger(__name__)


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
        self._lock = threading.Lock()
        self._closed = False
        self._waiting = SimpleQueue[_Waiting | None]()
        self._thread = threading.Thread(target=self._run, name="grouped-writes", daemon=True)
        self._thread.start()

    def write(self, item: EmbeddedItem) -> Future[GroupedWrite]:
        """Write an item, as `Writer.write` would. After `close`, the outcome is ShuttingDown."""
        waiting = _Waiting(item, Future())
        with self._lock:
            if self._closed:
                waiting.outcome.set_result(GroupedWrite(ShuttingDown("the server is stopping")))
            else:
                self._waiting.put(waiting)
        return waiting.outcome

    def close(self) -> None:
        """Write what waits, and end the thread. Idempotent."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            group = [waiting]
            while not self._waiting.empty():
                waiting = self._waiting.get()
                if waiting is None:
                    self._waiting.put(None)  # the last one
                    break
                group.append(waiting)
            self._write(group)

    def _write(self, group: list[_Waiting]) -> None:
        repeated = set[int]()
        try:
            changes = self._writer.write([each.item for each in group], repeated)
        except Exception:  # a fault of ours; each caller must get an answer
            log.exception("%d single items were not written", len(group))
            for each in group:
                each.outcome.set_exception(RuntimeError("the write of its group failed"))
            return
        for position, (each, change) in enumerate(zip(group, changes, strict=True)):
            # the items of a batch fail by one error, and each caller raises its own
            own = copy_of(change) if isinstance(change, DatabaseError) else change
            each.outcome.set_result(GroupedWrite(own, position in repeated))
