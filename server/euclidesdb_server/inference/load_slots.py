"""LoadSlots: how many workers of a server load their models at the same time.

A load keeps about one core busy. If all models of a server loaded at once, each would take as long
as all together, and would not be ready within `start_timeout`.

A load that was not ready in time may hang again. Such loads are repeated one at a time, next to the
others, so that they delay neither the first start nor the restart of another model.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from euclidesdb_server.inference.load_errors import LoadInterrupted

GIVE_UP_INTERVAL: Final = 0.2
"""Seconds between checks whether a load that waits for its turn is still needed."""


class LoadSlots:
    """Thread-safe."""

    def __init__(self, count: int) -> None:
        """count: the loads at the same time, in addition to one that timed out before."""
        self._slots = threading.Semaphore(count)
        self._slot_for_repeated = threading.Semaphore(1)

    @contextmanager
    def taken(self, give_up: Callable[[], bool], *, timed_out: bool) -> Iterator[None]:
        """Wait for a slot and hold it. timed_out: the last load of this model was not in time.

        Raises LoadInterrupted if `give_up` becomes true before there is one.
        """
        slots = self._slot_for_repeated if timed_out else self._slots
        while not slots.acquire(timeout=GIVE_UP_INTERVAL):
            if give_up():
                raise LoadInterrupted("it is no longer needed")
        try:
            yield
        finally:
            slots.release()
