"""ItemLocks: one writer at a time per item, any number of items at once."""

from __future__ import annotations

import threading
from typing import Final

STRIPES: Final = 1024


class ItemLocks:
    """A fixed set of locks shared out by id; two ids may share one, which only costs a wait."""

    def __init__(self) -> None:
        self._locks = tuple(threading.Lock() for _ in range(STRIPES))

    def of(self, item_id: str) -> threading.Lock:
        """The lock to hold while reading and rewriting that item."""
        return self._locks[hash(item_id) % STRIPES]
