"""FileWatch: notices that files have changed, so that what was read from them is read again.

It looks at them each second, which finds every way of changing a file: in place, by a rename, and
by a link in the path that now leads elsewhere, as in Kubernetes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self, TypeAlias

INTERVAL: Final = 1.0

log = logging.getLogger(__name__)

_Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]


class FileWatch:
    """A thread that calls when files have changed. Close it."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._watched: list[_Watched] = []
        self._thread = threading.Thread(target=self._run, name="file-watch", daemon=True)
        self._thread.start()

    def add(self, files: Sequence[Path], changed: Callable[[], object]) -> None:
        """Call `changed` in this thread soon after any of the files has changed.

        Call this before they are read for the first time: then no change is missed.
        """
        self._watched.append(_Watched(files, changed))

    def close(self) -> None:
        """Call nothing more. May be called again."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closed.wait(INTERVAL):
            for watched in [*self._watched]:
                watched.look()


class _Watched:
    def __init__(self, files: Sequence[Path], changed: Callable[[], object]) -> None:
        self._files = tuple(files)
        self._changed = changed
        self._seen = self._signature()

    def look(self) -> None:
        now = self._signature()
        if now == self._seen:
            return
        self._seen = now
        try:
            self._changed()
        except Exception:  # the outermost loop of this thread
            log.exception("%s changed, and could not be read again", self._files[0])

    def _signature(self) -> _Signature:
        return tuple(map(_signature, self._files))


def _signature(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    # the time of the last change of status: an owner or mode that lets the file be read
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
