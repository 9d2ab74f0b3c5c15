"""The real server in a separate process, which can be killed and restarted on the same folder."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

LOG_LINES = 25


class ServerFailed(Exception):
    """The server died or did not answer; the message ends with the end of its log."""


class ServerProcess:
    """`euclidesdb serve` on a free loopback port.

    data: its data folder; created if missing, kept over restarts.
    models: the models folder; None: the shipped models.
    config: a configuration file for all other settings.
    log: the file that receives all its output.

    Use it from one thread. Leaving the `with` block kills the server if it still runs.
    """

    def __init__(
        self, *, data: Path, log: Path, models: Path | None = None, config: Path | None = None
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._options = ["--address", self.address, "--data", str(data)]
        if models is not None:
            self._options += ["--models", str(models)]
        if config is not None:
            self._options += ["--config", str(config)]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self, *, timeout: float = 180.0) -> float:
        """Start the server and wait until it answers; return the seconds taken.

        Raises ServerFailed.
        """
        started = time.monotonic()
        command = [sys.executable, "-m", "euclidesdb_server", "serve", *self._options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own server, no shell
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        while not self._answers():
            if self._wait(0.05) is not None:
                raise self.failure("the server ended before it answered")
            if time.monotonic() - started > timeout:
                raise self.failure(f"the server did not answer within {timeout:.0f} s")
        return time.monotonic() - started

    @property
    def pid(self) -> int:
        """The id of the running process. Raises ServerFailed if it does not run."""
        if self._process is None:
            raise ServerFailed("the server is not running")
        return self._process.pid

    def kill(self) -> None:
        """Kill it with SIGKILL: like a crash, this allows no cleanup."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, *, timeout: float = 60.0) -> None:
        """Stop it with SIGTERM. Raises ServerFailed unless it exits in time with code 0."""
        if self._process is None:
            return
        self._process.terminate()
        code = self._wait(timeout)
        if code is None:
            raise self.failure(f"the server did not stop within {timeout:.0f} s of SIGTERM")
        if code != 0:
            raise self.failure("the server did not stop gracefully")
        self._process = None

    def failure(self, message: str) -> ServerFailed:
        """An error with `message`, the exit code if the server ended, and the end of its log."""
        code = None if self._process is None else self._process.poll()
        state = "" if code is None else f" (exit code {code})"
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(f"    {line}" for line in lines[-LOG_LINES:]) or "    (empty)"
        return ServerFailed(f"{message}{state}; the end of its log:\n{tail}")

    def _answers(self) -> bool:
        # The server opens its port only after its models have passed their load checks.
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1.0):
                return True
        except OSError:
            return False

    def _wait(self, seconds: float) -> int | None:
        """The exit code, or None if it still runs after `seconds`."""
        if self._process is None:
            return None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
