"""PixelBudget: how many pixels the threads of a worker decode at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Bounds the memory of decoding, whose peak is a few bytes for each pixel. Thread-safe.

    limit: pixels of all images in decoding together. A single image may exceed it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until an image of `pixels` fits; it counts until the block ends."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._in_flight or self._in_flight + pixels <= self._limit
            )
            self._in_flight += pixels
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= pixels
                self._changed.notify_all()
