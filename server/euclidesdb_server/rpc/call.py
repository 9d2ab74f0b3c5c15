"""RpcCall: the deadline and cancellation of a call, as the database needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from euclidesdb_server.rpc.caller import UNKNOWN, Caller

FOREVER: Final = 365 * 86400.0
"""Seconds. A deadline that is farther away counts as none."""


class RpcCall:
    """The `Call` of a remote caller. Thread-safe."""

    def __init__(self, time_remaining: float | None, caller: Caller | None = None) -> None:
        """time_remaining: seconds until the caller's deadline; None: it has none."""
        self.caller = caller or Caller(UNKNOWN)
        has_deadline = time_remaining is not None and time_remaining < FOREVER
        self._deadline = time.monotonic() + (time_remaining or 0.0) if has_deadline else None
        self._lock = threading.Lock()
        self._ended = False
        self._callbacks: list[Callable[[], object]] = []

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None if it set none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def is_active(self) -> bool:
        """Whether the caller still waits: it has not left, and its deadline has not passed."""
        if self._ended:
            return False
        return self._deadline is None or time.monotonic() < self._deadline

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the call ends, for whatever reason; at once if it has ended."""
        with self._lock:
            if not self._ended:
                self._callbacks.append(callback)
                return
        callback()

    def end(self) -> None:
        """The call is answered, or its caller has left."""
        with self._lock:
            self._ended = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
