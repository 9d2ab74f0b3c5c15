"""A LevelDB whose next write reaches the log, and fails at the sync.

What LevelDB does then: it reports an error, shows the write to no reader, and takes no other. When
it is opened again, it replays the log, and the write is there.
"""

from __future__ import annotations

import threading
from typing import Any

import plyvel

from euclidesdb_server.store import FeatureStore


class FailingSync:
    """Replaces the `plyvel.DB` of a store, until the store opens its folder again.

    begun: set when the write that is to fail has begun; it fails when `may_fail` is set.
    reads: the keys read since it failed.
    """

    def __init__(self, store: FeatureStore) -> None:
        opened: Any = store._leveldb._opened
        self._real = opened.database
        self._before: Any = None
        self.begun, self.may_fail = threading.Event(), threading.Event()
        self.reads: list[bytes] = []
        opened.database = self

    def write_batch(self, *, sync: bool) -> Any:  # noqa: ARG002
        return _FailingBatch(self, self._real)

    def get(self, key: bytes, **options: Any) -> bytes | None:
        if self._before is None:
            value: bytes | None = self._real.get(key, **options)
        else:
            self.reads.append(key)
            value = self._before.get(key, **options)
        return value

    def snapshot(self) -> Any:
        return self._real.snapshot()

    def raw_iterator(self, **options: Any) -> Any:
        return (self._before or self._real).raw_iterator(**options)

    def close(self) -> None:
        if self._before is not None:
            self._before.close()
        self._real.close()

    def fail(self, batch: Any) -> None:
        self.begun.set()
        assert self.may_fail.wait(60)
        self._before = self._real.snapshot()
        batch.write()
        raise plyvel.IOError(b"IO error: 000003.log: Input/output error")


class _FailingBatch:
    def __init__(self, database: FailingSync, real: Any) -> None:
        self._database = database
        self._batch = real.write_batch()
        self.put = self._batch.put
        self.delete = self._batch.delete
        self.approximate_size = self._batch.approximate_size

    def append(self, batch: _FailingBatch) -> None:
        self._batch.append(batch._batch)

    def write(self) -> None:
        self._database.fail(self._batch)
