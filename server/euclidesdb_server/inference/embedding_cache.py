"""EmbeddingCache: what models said of payloads, so that the same bytes are not run twice."""

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
from euclidesdb_server.values.embedding import Embedding

Key: TypeAlias = tuple[Hashable, bytes]
"""Of the model's version, and the payload's digest."""

ENTRY_BYTES: Final = 500
"""What an entry takes beside its arrays."""


@dataclass(slots=True, eq=False)
class _Run:
    """A payload that is with its model, and the futures of those who wait for what it says."""

    future: Future[Embedding]
    waiting: list[Future[Embedding]] = field(default_factory=list)


class EmbeddingCache:
    """The answers used last, up to a number of bytes. Thread-safe.

    Those who ask at the same time share one run.
    """

    def __init__(self, most_bytes: int) -> None:
        # reentrant: to cancel a run is to land it, in the same thread
        self._lock = threading.RLock()
        self._kept: LRUCache[Key, Embedding] = LRUCache(most_bytes, _size)
        self._under_way: dict[Key, _Run] = {}

    def embed(self, key: Key, run: Callable[[], Future[Embedding]]) -> Future[Embedding]:
        """What a model version says of a payload: as known, as others wait for, or by `run`.

        Each caller has a future of its own; once all of them are cancelled, so is the run.
        Raises what `run` raises.
        """
        mine: Future[Embedding] = Future()
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                mine.set_result(known)
                return mine
            shared = self._under_way.get(key)
            first = shared is None
            if shared is None:
                shared = self._under_way[key] = _Run(run())
            shared.waiting.append(mine)
        mine.add_done_callback(functools.partial(self._leave, shared))
        if first:
            shared.future.add_done_callback(functools.partial(self._complete, key, shared))
        return mine

    def _complete(self, key: Key, run: _Run, answer: Future[Embedding]) -> None:
        with self._lock:
            del self._under_way[key]
            waiting, run.waiting = run.waiting, []
            if answer.cancelled():
                return  # nobody waited any more
            failure = answer.exception()
            if failure is None:
                with suppress(MemoryError):  # then it is not remembered, but those who wait hear it
                    self._keep(key, answer.result())
        for future in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            if failure is None:
                future.set_result(answer.result())
            else:
                own = copy_of(failure) if isinstance(failure, DatabaseError) else failure
                future.set_exception(own)

    def _leave(self, run: _Run, mine: Future[Embedding]) -> None:
        if not mine.cancelled():
            return
        with self._lock:
            if mine in run.waiting:
                run.waiting.remove(mine)
            if not run.waiting:
                run.future.cancel()  # where it is not with the model yet

    def _keep(self, key: Key, embedding: Embedding) -> None:
        """Remember it, where it is not larger than the whole cache."""
        # copied out of the answers of the whole batch, which would stay in memory with them
        vector, predictions = embedding.vector.copy(), embedding.predictions
        embedding = Embedding(vector, None if predictions is None else predictions.copy())
        if _size(embedding) <= self._kept.maxsize:
            self._kept[key] = embedding


def _size(embedding: Embedding) -> int:
    predictions = 0 if embedding.predictions is None else embedding.predictions.nbytes
    return ENTRY_BYTES + embedding.vector.nbytes + predictions
