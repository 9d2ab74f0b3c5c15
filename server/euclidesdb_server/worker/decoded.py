"""DecodedItems: recently decoded items, so that models in a shared worker decode each item once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Final

import torch
from cachetools import LRUCache

MAX_BYTES: Final = 128 << 20
PENDING_BYTES: Final = 1 << 20
"""What an item counts while it is being decoded, when its size is not known yet."""


class DecodedItems:
    """The most recently used decoded items, up to MAX_BYTES. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: LRUCache[bytes, Future[torch.Tensor]] = LRUCache(MAX_BYTES, _size)

    def get(
        self, data: bytes, decoding: bytes, decode: Callable[[bytes], torch.Tensor]
    ) -> torch.Tensor:
        """`decode(data)`, or the result of another thread that decoded the same item.

        decoding: identifies the settings that affect the result (`InputKind.decoding`). Raises
        what `decode` raises.
        """
        digest = hashlib.sha256(decoding)
        digest.update(data)  # not on a concatenated copy: an item may have megabytes
        key = digest.digest()
        with self._lock:
            known = self._items.get(key)
            pending: Future[torch.Tensor] = Future()
            if known is None:
                self._items[key] = pending
        if known is not None:
            try:
                return known.result()
            except CancelledError:
                return decode(data)
        try:
            item = decode(data)
        except BaseException:
            with self._lock:
                self._items.pop(key, None)
            pending.cancel()  # waiters decode the item themselves
            raise
        pending.set_result(item)
        with self._lock:
            self._items.pop(key, None)
            if item.nbytes <= MAX_BYTES:
                self._items[key] = pending  # inserted again, to count its actual size
        return item


def _size(item: Future[torch.Tensor]) -> int:
    return item.result().nbytes if item.done() and not item.cancelled() else PENDING_BYTES
