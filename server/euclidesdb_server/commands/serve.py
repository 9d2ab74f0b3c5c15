"""`euclidesdb serve`: run the server until SIGTERM, SIGINT or a permitted remote shutdown.

SIGHUP opens the log file again and loads the model folders that are new or have changed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.commands.serve_log import configure_logging
from euclidesdb_server.errors import ShuttingDown, StartupError, StorageError
from euclidesdb_server.system.allocator import (
    SERVED_BLOCK,
    give_large_blocks_back,
    limit_arenas,
)
from euclidesdb_server.system.confinement import hide_memory
from euclidesdb_server.system.long_lived import long_lived
from euclidesdb_server.system.open_files import OpenFilesWatch, raise_limit
from euclidesdb_server.system.signals import handle_signals

if TYPE_CHECKING:
    from euclidesdb_server.app import Server

log = logging.getLogger(__name__)


def run(
    *,
    config: Path | None,
    address: str | None,
    data: Path | None,
    models: Path | None,
    strict: bool,
    allow_anonymous: bool,
) -> int:
    """Serve; return 0 after a graceful stop, also during the start, 1 if it cannot start."""
    stop_wanted, reload_wanted = threading.Event(), threading.Event()
    handle_signals(
        {
            signal.SIGTERM: stop_wanted.set,
            signal.SIGINT: stop_wanted.set,
            signal.SIGHUP: reload_wanted.set,
        }
    )
    hide_memory()
    limit_arenas()
    give_large_blocks_back(SERVED_BLOCK)
    raise_limit()
    # Concurrent searches each have a thread. By default faiss would start one OpenMP thread per
    # core in every one of them. (Workers have a separate setting.)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Threads of an index build must not spin while they wait: searches need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported late: it takes half a second, and starts threads, which inherit what is done with
    # signals; and faiss reads the settings above.
    with long_lived():
        from euclidesdb_server.app import Server  # noqa: PLC0415

    try:
        settings = configuration(
            config, address=address, data=data, models=models, allow_anonymous=allow_anonymous
        )
        log_file_from = settings.where("server", "log_file_path")
        configure_logging(settings.server, log_file_from)
        server = Server(settings, stop_wanted, strict=strict)
    except ShuttingDown as error:
        log.info("%s", error)
        return 0
    except (StartupError, StorageError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
        return 1
    with server, OpenFilesWatch():
        print(f"EuclidesDB is serving on {server.address}", flush=True)
        print(f"its data is in {settings.database.db_path}", flush=True)
        threading.Thread(
            target=_reload_when, args=(reload_wanted, server), name="reload", daemon=True
        ).start()
        stop_wanted.wait()
    log.info("stopped")
    return 0


def _reload_when(wanted: threading.Event, server: Server) -> None:
    """Load the model folders that are new or have changed, each time that it is wanted."""
    while wanted.wait():
        wanted.clear()
        try:
            log.info("reloading: model folders that are new or have changed are loaded")
            server.load_changed_models()
        except ShuttingDown:
            return
        except Exception:  # the outermost loop of this thread
            log.exception("the model folders could not be reloaded")
