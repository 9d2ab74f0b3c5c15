"""SocketLock: keeps two servers from taking one Unix socket at the same moment.

gRPC replaces the file of a socket without a look at who listens there, and a look of ours before
that is too early: another server may begin right after it. So a server holds a lock from its start
to its end, on a file next to the socket. The kernel releases the lock when the process ends,
however it ends; a file that is left behind keeps no server from starting.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SUFFIX: Final = ".lock"
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""A file system without locks; whether a server answers is all that can be known there."""


class SocketLock:
    """Holds the lock of one socket until `release`, which is idempotent."""

    def __init__(self, socket: Path) -> None:
        """Take the lock. Raises OSError if another server holds it, or it cannot be created."""
        self._path = socket.with_name(socket.name + SUFFIX)
        self._descriptor = -1
        while self._descriptor < 0:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if _locked(descriptor, self._path):
                    self._descriptor = descriptor
            finally:
                if self._descriptor < 0:
                    os.close(descriptor)

    def release(self) -> None:
        """Remove the file, and with it the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # the folder may be gone
                self._path.unlink()
            os.close(descriptor)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock an open file; False if it is not the one at `path` any more. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(f"another server uses it: {str(path)!r} is locked") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True
    with suppress(OSError):  # it is another user's
        os.fchmod(descriptor, 0o644)  # for a server of another user, whatever the umask
    try:
        # the server that held it before may have removed it since it was opened here
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
