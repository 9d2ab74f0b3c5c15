"""Leases: how a model version that was replaced ends only after the last call that uses it."""

from __future__ import annotations

import threading


class Leases:
    """Counts the calls that use one model version. Thread-safe.

    A call that acquires a lease may use the model until it releases it. Once the version is
    retired, no lease is given any more, and the model can be closed when the last one is released.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._held = 0
        self._retired = False

    def acquire(self) -> bool:
        """Take a lease, to be followed by `release`; False if the version is retired."""
        with self._changed:
            if self._retired:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """Give a lease back."""
        with self._changed:
            self._held -= 1
            if self._retired and not self._held:
                self._changed.notify_all()

    def retire(self, timeout: float) -> bool:
        """Give no more leases, and wait for those held; False if `timeout` seconds passed first."""
        with self._changed:
            self._retired = True
            return self._changed.wait_for(lambda: not self._held, timeout)
