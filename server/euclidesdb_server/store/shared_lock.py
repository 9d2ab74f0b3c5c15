"""SharedLock: a readers-writer lock, held by any number of threads at once or by one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """`with lock:` shares it; `with lock.exclusive():` waits until all others have released it.

    An exclusive holder has precedence: while one waits, new shared holders wait, too.
    Not reentrant: a thread that holds it must not acquire it again.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._shared_holders = 0
        self._exclusive = False

    def __enter__(self) -> None:
        with self._mutex:  # the condition's own `with` costs three calls more
            while self._exclusive:
                self._changed.wait()
            self._shared_holders += 1

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self._shared_holders -= 1
            if self._exclusive and not self._shared_holders:
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone; from this call on, new shared holders wait."""
        with self._changed:
            while self._exclusive:
                self._changed.wait()
            self._exclusive = True
            while self._shared_holders:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._exclusive = False
                self._changed.notify_all()
