"""The server as its users run it: `python -m euclidesdb_server serve`, in its own process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

SERVING = "EuclidesDB is serving on "


def serve_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "euclidesdb_server", "serve", *map(str, arguments)]


def failed_start(*arguments: str | Path) -> tuple[int, str]:
    """The exit code and standard error of a server that fails to start."""
    ended = subprocess.run(
        serve_command(*arguments), capture_output=True, text=True, timeout=100, check=False
    )
    assert SERVING not in ended.stdout
    return ended.returncode, ended.stderr


class ServerProcess:
    """A server process; leaving the `with` block kills it if it still runs.

    log: the file for its standard error. environment: by default that of the tests. prefix: a
    command that executes the server's.
    """

    def __init__(
        self,
        *arguments: str | Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [*prefix, *serve_command(*arguments)],
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                env=environment,
            )
        self._workers: list[psutil.Process] = []
        self._address: str | None = None

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def address(self) -> str:
        """Wait until it serves; returns its address."""
        if self._address is not None:
            return self._address
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(SERVING), f"it printed {line!r}\n{self._log.read_text()}"
        self.workers()
        self._address = line.removeprefix(SERVING).strip()
        return self._address

    def workers(self) -> list[psutil.Process]:
        """Every process that it has started so far."""
        found = psutil.Process(self._process.pid).children(recursive=True)
        self._workers = [*{*self._workers, *found}]
        return self._workers

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, timeout: float = 100.0) -> int:
        """Wait for its end; fails if it still runs after `timeout` seconds."""
        return self._process.wait(timeout)

    def orphans(self, timeout: float = 60.0) -> Sequence[psutil.Process]:
        """Workers that still run `timeout` seconds after the server ended."""
        _, alive = psutil.wait_procs(self._workers, timeout)
        return alive

    def kill(self) -> None:
        """Send SIGKILL: the server cannot clean up."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
