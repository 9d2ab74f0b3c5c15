"""`euclidesdb serve`: run the server until SIGTERM, SIGINT or a permitted remote shutdown."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.errors import ShuttingDown, StartupError, StorageError
from euclidesdb_server.system.open_files import OpenFilesWatch, raise_limit

log = logging.getLogger(__name__)

SIGNAL_INTERVAL: Final = 1.0
"""Seconds after which a signal is noticed, at the latest."""
M_ARENA_MAX: Final = -8  # malloc.h
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(options: argparse.Namespace) -> int:
    """Serve; return 0 after a graceful stop, also during the start, 1 if it cannot start."""
    stop_wanted = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_wanted.set())
    _limit_arenas()
    raise_limit()
    # Concurrent searches each have a thread. By default faiss would start one OpenMP thread per
    # core in every one of them. (Workers have a separate setting.)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Threads of an index build must not spin while they wait: searches need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported late: it takes half a second, in which signals would be lost if this is a container's
    # first process, which has no default action for them; and faiss reads the settings above.
    from euclidesdb_server.app import Server  # noqa: PLC0415

    try:
        config = configuration(
            options.config, address=options.address, data=options.data, models=options.models
        )
        _configure_logging(config.server.log_file_path)
        server = Server(config, stop_wanted, strict=options.strict)
    except ShuttingDown as error:
        log.info("%s", error)
        return 0
    except (StartupError, StorageError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    with server, OpenFilesWatch():
        print(f"EuclidesDB is serving on {server.address}", flush=True)
        # A signal that arrives just before a wait begins does not end it: Python would run the
        # handler only when the wait is over.
        while not stop_wanted.wait(SIGNAL_INTERVAL):
            pass
    log.info("stopped")
    return 0


def _limit_arenas() -> None:
    """Make all threads share two memory arenas.

    glibc's default is eight per core, and each keeps the memory that was freed in it: after 40,000
    calls of all kinds a server held 90 MiB instead of 70.
    """
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def _configure_logging(file: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # names of files may have bytes of any encoding
            to_file = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
            handlers.append(to_file)
        except OSError as error:
            raise StartupError(f"[server] log_file_path: cannot write {file}: {error}") from error
    # it logs every CPU type that this machine does not have
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers)
