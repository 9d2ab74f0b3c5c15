"""JobCall: the `Call` of a job, which waits for its models without a deadline until it is ended."""

from __future__ import annotations

import threading
from collections.abc import Callable


class JobCall:
    """One step of a job. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] | None = []
        self._ended = threading.Event()

    def time_remaining(self) -> float | None:
        """None: there is no deadline."""
        return None

    def is_active(self) -> bool:
        """Whether it has not been ended."""
        return self._callbacks is not None

    def on_done(self, callback: Callable[[], object]) -> None:
        """As `Call.on_done`."""
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def note(self, part: str, begun: float, ended: float) -> None:
        """Nothing: a job reports its own rate."""

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is ended."""
        self._ended.wait(seconds)

    def end(self) -> None:
        """Give up what the models have not begun. Idempotent."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks or [], None
        self._ended.set()
        for callback in callbacks:
            callback()
