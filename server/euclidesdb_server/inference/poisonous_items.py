"""PoisonousItems: those that killed a worker of a model, alone as well as in a batch.

A client that repeats such an item would kill two workers each time. So the error is remembered and
given again, for a while only: the worker may have died of something else at that very moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from cachetools import TTLCache

from euclidesdb_server.errors import DatabaseError, ModelFailed, copy_of
from euclidesdb_server.values.payload import Payload

MAX_ITEMS: Final = 1024
SECONDS: Final = 600.0


class PoisonousItems:
    """The most recent ones of one loaded model, up to MAX_ITEMS, for SECONDS each. Thread-safe.

    In memory only: a model that is loaded again, and a new server, know none.
    """

    def __init__(
        self, max_items: int = MAX_ITEMS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._errors: TTLCache[bytes, ModelFailed] = TTLCache(max_items, SECONDS, timer=clock)

    def add(self, payload: Payload, error: ModelFailed) -> None:
        """Remember an item. error: what it got."""
        with self._lock:
            self._errors[payload.digest] = error

    def error(self, payload: Payload) -> DatabaseError | None:
        """What an item got before, to be raised again; None if it is not among them."""
        with self._lock:  # even the length of such a cache is not read without changing it
            if not self._errors:  # so that the digest of a healthy item is not computed for this
                return None
        digest = payload.digest
        with self._lock:
            error = self._errors.get(digest)
        return None if error is None else copy_of(error)
