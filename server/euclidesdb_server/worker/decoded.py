"""DecodedItems: what models that share a worker decoded last, so that each item is decoded once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Final

import torch
from cachetools import LRUCache

MAX_BYTES: Final = 128 << 20
UNDER_WAY_BYTES: Final = 1 << 20
"""What an item counts while it is being decoded: nobody knows its size yet."""


class DecodedItems:
    """The items decoded last, by their bytes and how they are decoded. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[bytes, Future[torch.Tensor]] = LRUCache(MAX_BYTES, _size)

    def get(self, data: bytes, how: bytes, decode: Callable[[bytes], torch.Tensor]) -> torch.Tensor:
        """What `decode` makes of the data; another thread's result, where there is one.

        how: what decides on the result beside the data. Raises what `decode` raises.
        """
        key = hashlib.sha256(how + data).digest()
        with self._lock:
            known = self._kept.get(key)
            mine: Future[torch.Tensor] = Future()
            if known is None:
                self._kept[key] = mine
        if known is not None:
            try:
                return known.result()
            except CancelledError:
                return decode(data)
        try:
            item = decode(data)
        except BaseException:
            with self._lock:
                self._kept.pop(key, None)
            mine.cancel()  # who waits for it sees for himself
            raise
        mine.set_result(item)
        with self._lock:
            self._kept.pop(key, None)
            if item.nbytes <= MAX_BYTES:
                self._kept[key] = mine  # counted anew, by its size
        return item


def _size(item: Future[torch.Tensor]) -> int:
    return item.result().nbytes if item.done() and not item.cancelled() else UNDER_WAY_BYTES
