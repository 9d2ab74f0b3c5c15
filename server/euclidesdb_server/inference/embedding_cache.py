"""EmbeddingCache: recent embeddings, so that a model does not run the same payload twice."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cachetools import LRUCache

from euclidesdb_server.errors import DatabaseError, copy_of
from euclidesdb_server.inference.model import Model
from euclidesdb_server.inference.taker import RunFuture
from euclidesdb_server.values.embedding import Embedding

Key: TypeAlias = tuple[Hashable, bytes]
"""The model version and the payload's digest."""

ENTRY_BYTES: Final = 500
"""The size of an entry in addition to its arrays."""


@dataclass(slots=True, eq=False)
class _Run:
    """A payload that its model is working on, and the futures of its callers."""

    future: Future[Embedding]
    waiting: list[RunFuture[Embedding]] = field(default_factory=list)


class EmbeddingCache:
    """The most recently used embeddings, up to a number of bytes. Thread-safe.

    hits, misses: the calls that were answered from the cache or by a pending run, and the others.
    Concurrent calls with one key and model share one run.
    """

    def __init__(self, max_bytes: int) -> None:
        # reentrant: canceling a run completes it in the same thread
        self._lock = threading.RLock()
        self._embeddings: LRUCache[Key, Embedding] = LRUCache(max_bytes, _size)
        self._pending: dict[tuple[Key, Model], _Run] = {}
        self.hits = self.misses = 0

    def embed(
        self, key: Key, model: Model, run: Callable[[], Future[Embedding]]
    ) -> Future[Embedding]:
        """The embedding of a payload: from the cache, from a pending run, or from `run`.

        model: only its own runs are shared: another instance of the version may be ended first.

        Each caller gets its own future; once all of them are canceled, so is the run. Raises what
        `run` raises.
        """
        future: RunFuture[Embedding] = RunFuture()
        with self._lock:
            known = self._embeddings.get(key)
            if known is not None:
                self.hits += 1
                future.set_result(known)
                return future
            pending = self._pending.get((key, model))
            is_new = pending is None
            if pending is None:
                pending = self._pending[key, model] = _Run(run())
                self.misses += 1
            else:
                self.hits += 1
            pending.waiting.append(future)
        future.add_done_callback(functools.partial(self._leave, pending))
        if is_new:
            pending.future.add_done_callback(functools.partial(self._complete, key, model, pending))
        return future

    @property
    def size_bytes(self) -> int:
        """About how much memory the embeddings take."""
        return int(self._embeddings.currsize)

    def _complete(self, key: Key, model: Model, run: _Run, outcome: Future[Embedding]) -> None:
        with self._lock:
            del self._pending[key, model]
            waiting, run.waiting = run.waiting, []
            if outcome.cancelled():
                return  # all callers canceled
            failure = outcome.exception()
            if failure is None:
                with suppress(MemoryError):  # then it is not cached, but the callers still get it
                    self._store(key, outcome.result())
        for future in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, RunFuture):
                future.times = outcome.times
            if failure is None:
                future.set_result(outcome.result())
            else:
                error = copy_of(failure) if isinstance(failure, DatabaseError) else failure
                future.set_exception(error)

    def _leave(self, run: _Run, future: Future[Embedding]) -> None:
        if not future.cancelled():
            return
        with self._lock:
            if future in run.waiting:
                run.waiting.remove(future)
            if not run.waiting:
                run.future.cancel()  # has no effect if the model has begun

    def _store(self, key: Key, embedding: Embedding) -> None:
        """Store an embedding, unless it is larger than the whole cache."""
        # a copy: the arrays are views, which would keep the whole batch in memory
        vector, predictions = embedding.vector.copy(), embedding.predictions
        embedding = Embedding(vector, None if predictions is None else predictions.copy())
        if _size(embedding) <= self._embeddings.maxsize:
            self._embeddings[key] = embedding


def embedding_cache(max_bytes: int) -> EmbeddingCache | None:
    """A cache of that size; None for 0."""
    return EmbeddingCache(max_bytes) if max_bytes else None


def _size(embedding: Embedding) -> int:
    predictions = 0 if embedding.predictions is None else embedding.predictions.nbytes
    return ENTRY_BYTES + embedding.vector.nbytes + predictions
