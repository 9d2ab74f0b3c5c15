"""Group commit: batches that wait while another is being written go to disk together.

LevelDB groups concurrent writes by itself, but then a failed write may have others directly
behind it: after a write that failed for lack of disk space, LevelDB carries on and appends the
next record behind the torn one, where the next start cannot read it, so an acknowledged write
would be lost. Here one group is written at a time, and the next only when its outcome is known.

The first thread to arrive is the leader: it writes its own batch with all that are waiting, up to
about `GROUP_BYTES`, and then hands leadership to the first thread that arrived meanwhile.

Knows nothing of LevelDB's errors or of what follows from a failed write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from euclidesdb_server.system.measures import SECONDS, SIZES, Distribution

GROUP_BYTES: Final = 1 << 20
"""A group takes waiting batches up to about this size, and at least one."""


class PendingWrite:
    """A batch on its way to disk.

    wake: released when the write is done, or when its thread is to lead the next group.
    """

    __slots__ = ("batch", "done", "error", "sync", "wake")

    def __init__(self, batch: Any, sync: bool) -> None:
        self.batch = batch
        self.sync = sync
        self.done = False
        self.error: Exception | None = None
        self.wake = threading.Lock()


class GroupCommit:
    """Writes batches in groups, one group at a time. Thread-safe.

    commit: writes a group, synced if any of it is to be; returns the error if that fails, and
    never raises.
    synced_in: seconds that a group took that was to be synced. group_sizes: its batches.
    """

    def __init__(self, commit: Callable[[Sequence[PendingWrite]], Exception | None]) -> None:
        self._commit = commit
        self._mutex = threading.Lock()
        self._committing = threading.Lock()
        self._waiting: list[PendingWrite] = []
        self._has_leader = False
        self.synced_in = Distribution(SECONDS)
        self.group_sizes = Distribution(SIZES)

    def write(self, batch: Any, *, sync: bool) -> Exception | None:
        """Write a plyvel batch with its group; returns the error of the group, if any."""
        write = PendingWrite(batch, sync)
        with self._mutex:
            follows, self._has_leader = self._has_leader, True
            if follows:
                write.wake.acquire()
                self._waiting.append(write)
        if not follows:  # then no other waits
            self._lead(write, [write])
            return write.error
        write.wake.acquire()
        if not write.done:
            self._lead(write, self._next_group())
        return write.error

    @contextmanager
    def held(self) -> Iterator[None]:
        """No group is written while this is open: writers wait. It waits for the one in flight."""
        with self._committing:
            yield

    def _next_group(self) -> list[PendingWrite]:
        """Take the first of the waiting batches from the queue, with those behind it."""
        with self._mutex:
            group: list[PendingWrite] = []
            size = 0
            while self._waiting and (not group or size < GROUP_BYTES):
                size += _size(self._waiting[0].batch)
                group.append(self._waiting.pop(0))
            return group

    def _lead(self, write: PendingWrite, group: Sequence[PendingWrite]) -> None:
        """Write a group, of which `write` is the leader's; then let the next thread lead."""
        with self._committing:
            begun = time.monotonic()
            error = self._commit(group)
            if any(member.sync for member in group):
                self.synced_in.add(time.monotonic() - begun)
                self.group_sizes.add(len(group))
        with self._mutex:
            self._has_leader = bool(self._waiting)
            if self._has_leader:
                self._waiting[0].wake.release()
        for member in group:
            member.error, member.done = error, True
            if member is not write:
                member.wake.release()


def _size(batch: Any) -> int:
    """About how many bytes a batch has; if its database was closed meanwhile, enough for a group.

    A leader that raised here would never pass leadership on.
    """
    try:
        return int(batch.approximate_size())
    except RuntimeError:
        return GROUP_BYTES
