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

log = logging.getLogger(__name__)

M_ARENA_MAX: Final = -8  # malloc.h
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(options: argparse.Namespace) -> int:
    """Serve; returns 0 after a graceful stop, 1 where the server cannot start."""
    stop_wanted = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_wanted.set())
    _limit_arenas()
    # Searches run side by side, a thread each. Left alone, faiss would start as many OpenMP
    # threads as there are cores in every one of them. (Workers get a setting of their own.)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Threads of a build that wait for one another must not spin: that is what searches need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Only now: these take half a second, in which a container's first process, which has no
    # default action for signals, would be deaf to them; and faiss reads the setting above.
    from euclidesdb_server.app import Server  # noqa: PLC0415

    try:
        config = configuration(
            options.config, address=options.address, data=options.data, models=options.models
        )
        _configure_logging(config.server.log_file_path)
        server = Server(config, stop_wanted, strict=options.strict)
    except ShuttingDown:
        return 0
    except (StartupError, StorageError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    with server:
        print(f"EuclidesDB is serving on {server.address}", flush=True)
        stop_wanted.wait()
    log.info("stopped")
    return 0


def _limit_arenas() -> None:
    """Have all threads share two arenas of memory.

    glibc would give eight to each core, each of which keeps what was freed in it: after 40,000
    calls of all kinds a server held 90 MiB instead of 70.
    """
    with suppress(AttributeError, OSError):  # no glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def _configure_logging(file: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise StartupError(f"[server] log_file_path: cannot write {file}: {error}") from error
    # it tells of every processor that the machine is not
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers)
