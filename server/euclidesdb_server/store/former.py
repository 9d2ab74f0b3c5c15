"""FormerLabels: the ids of labels that were replaced or removed a moment ago.

A search sees the rows of one moment. Where an item is rewritten before the search has named
its rows, the store no longer knows the old label: without this, the item would be missed by
searches as long as it is being updated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

REMEMBERED: Final = 1 << 15
"""Labels remembered at least: a search would have to take as long as that many writes."""


class FormerLabels:
    """Remembers the latest labels, `capacity` to twice as many. Thread-safe."""

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._latest: dict[int, str] = {}
        self._earlier: dict[int, str] = {}

    def remember(self, item_id: str, labels: Iterable[int]) -> None:
        """Call before the labels are deleted, so that they are known here or in the store."""
        with self._lock:
            if len(self._latest) >= self._capacity:
                self._earlier, self._latest = self._latest, {}
            self._latest.update(dict.fromkeys(labels, item_id))

    def item_id(self, label: int) -> str | None:
        """The id that the label had; None where it is forgotten, or was never replaced."""
        with self._lock:
            return self._latest.get(label) or self._earlier.get(label)
