"""The limit of open files of this process, to which each connection of a client counts.

At the limit, connections are not accepted: clients wait until their timeout has passed. LevelDB and
segments need files, too, so connections should be refused earlier.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
import time
from contextlib import suppress
from typing import Final, Self

CHECK_INTERVAL: Final = 1.0
LOG_INTERVAL: Final = 60.0
"""Seconds between messages while the limit is reached."""

FILES_FOR_DATA: Final = 1500
"""Kept for what is not a connection: LevelDB has a thousand tables open. Of a low limit, half."""

log = logging.getLogger(__name__)


def raise_limit() -> None:
    """Allow this process as many open files as its user may allow it.

    The soft limit of 1,024 that most systems set is there for programs that use select().
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems refuse "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_permitted() -> int:
    """As many files as may be connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - FILES_FOR_DATA, soft // 2)


class OpenFilesWatch:
    """A thread that logs an error while the limit is reached, at most once a minute."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="open-files", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. May be called again."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        logged_at = -LOG_INTERVAL
        while not self._closed.wait(CHECK_INTERVAL):
            reason = _why_none_can_be_opened()
            if reason and time.monotonic() - logged_at >= LOG_INTERVAL:
                logged_at = time.monotonic()
                soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
                log.error(
                    "no new connection can be accepted: %s (the limit of open files, ulimit -n, "
                    "is %d)",
                    reason,
                    soft,
                )


def _why_none_can_be_opened() -> str:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return str(error.strerror) if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return ""
