"""WorkerProcess: the server's end of one model worker.

A worker is a separate process (`euclidesdb_server.worker`), so a model that crashes, hangs or uses
too much memory harms nothing else. All communication goes through one socket pair, and the worker
ends when it closes.
"""

from __future__ import annotations

import functools
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.load_errors import LoadInterrupted, LoadTimedOut, WorkerDied
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.shared_worker import SharedWorker, SharedWorkers
from euclidesdb_server.system.child_process import (
    environment,
    how_it_ended,
    python_command,
)
from euclidesdb_server.system.worker_protocol import (
    Message,
    MessageReader,
    ProtocolError,
    limit_silence,
    send_message,
    shut_down,
)
from euclidesdb_server.values.payload import Payload

GIVE_UP_INTERVAL: Final = 0.2
"""Seconds between checks whether a worker that is loading is still needed."""
CLOSE_TIMEOUT: Final = 5.0
"""Seconds for a worker to exit after its connection was closed."""
EXIT_TIMEOUT: Final = 1.0
"""Seconds for a worker to exit by itself after it broke its connection, so that its own exit code
is reported."""


def _spawn(connection: Connection[Any, Any], *, threads: int) -> subprocess.Popen[bytes]:
    """A worker process that inherits `connection`, its end of the socket pair."""
    command = [*python_command("euclidesdb_server.worker"), str(connection.fileno())]
    return subprocess.Popen(  # noqa: S603  # our own module
        command, stdin=subprocess.DEVNULL, pass_fds=[connection.fileno()], env=environment(threads)
    )


def load_message(
    folder: ModelFolder, *, device: str, threads: int, max_image_pixels: int
) -> dict[str, Any]:
    """All that a worker needs to know to load a model, as JSON values."""
    conf = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(folder.conf).items()
    }
    return {
        "type": "load",
        "program": str(folder.program),
        "conf": conf,
        "device": device,
        "threads": threads,
        "max_image_pixels": max_image_pixels,
    }


class _GivenUp(ModelLoadError):
    """The model is no longer needed."""


class _Rejected(Exception):
    """The worker reports that it cannot serve the model."""

    def __init__(self, error: ModelLoadError) -> None:
        super().__init__(error)
        self.error = error


class WorkerProcess:
    """A worker that has loaded its model and passed the load check.

    One thread at a time sends; one receives; one releases it; any thread may end it. warning: what
    the load check found, though the model can be served; or empty.
    """

    warning = ""

    _silence = 0.0
    _shared: SharedWorker | None = None

    def __init__(
        self,
        folder: ModelFolder,
        give_up: Callable[[], bool],
        device: str = "cpu",
        *,
        threads: int,
        max_image_pixels: int,
        start_timeout: float,
        confine: bool = True,
        shared_workers: SharedWorkers | None = None,
    ) -> None:
        """Start a worker and wait until it is ready, or `give_up` becomes true.

        confine: as [models] confine_workers. shared_workers: run the models whose conf names a
        `worker`.

        Raises ModelLoadError with the worker's reason (LoadInterrupted or WorkerDied if that is
        what happened), or OSError.
        """
        spawn = functools.partial(_spawn, threads=threads)
        if shared_workers is not None and folder.conf.worker:
            self._shared, ours = shared_workers.attach(folder.conf.worker, spawn)
            self._process = self._shared.process
        else:
            ours, theirs = Pipe(duplex=True)
            try:
                self._process = spawn(theirs)
            except BaseException:
                ours.close()  # a start that lacks descriptors is repeated
                raise
            finally:
                theirs.close()
        self._connection: Connection[Any, Any] = ours
        try:
            load = load_message(
                folder, device=device, threads=threads, max_image_pixels=max_image_pixels
            )
            self._load({**load, "confine": confine}, give_up, start_timeout)
        except _Rejected as rejected:
            self.release()  # the process itself is healthy, and may serve other models
            raise rejected.error from None
        except _GivenUp:
            self.stop()
            self.release()
            raise
        except BaseException:
            self.end(timeout=0)
            self.release()
            raise

    @property
    def pid(self) -> int:
        """Of the process, which may be shared."""
        return self._process.pid

    def send(self, batch: int, payloads: Sequence[Payload]) -> None:
        """Send a batch. Raises OSError if the worker is dead."""
        header = {"type": "run", "batch": batch}
        send_message(self._connection, header, [payload.data for payload in payloads])

    def receive(self, timeout: float) -> Message | None:
        """The next reply; None if nothing more of it arrives for `timeout` seconds.

        Raises EOFError or OSError if the worker ended, ProtocolError for a malformed reply.
        """
        if timeout != self._silence:
            limit_silence(self._connection, timeout)
            self._silence = timeout
        try:
            return self._reader.read()
        except BlockingIOError:
            return None

    @functools.cached_property
    def _reader(self) -> MessageReader:
        return MessageReader(self._connection)

    def end(self, timeout: float) -> str:
        """Give the process `timeout` seconds to exit, then kill it; returns how it ended.

        The connection stays open until `release`: another thread may be using it.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return how_it_ended(code)

    def stop(self) -> None:
        """End a healthy worker; in a shared worker, only this model's part of it."""
        if self._shared is None:
            self.end(timeout=0)
            return
        try:
            shut_down(self._connection)
        except OSError:  # no file descriptor is left: end the whole process rather than nothing
            self.end(timeout=0)

    def release(self) -> None:
        """Close the connection, which ends a healthy worker, and wait for the process to exit.

        Only after every other thread has finished with it. Idempotent.
        """
        if self._connection.closed:
            return
        self._connection.close()
        if self._shared is None:
            self.end(CLOSE_TIMEOUT)
        else:
            self._shared.detach()

    def _load(
        self, load: dict[str, Any], give_up: Callable[[], bool], start_timeout: float
    ) -> None:
        deadline = time.monotonic() + start_timeout
        try:
            send_message(self._connection, load)
            while (reply := self.receive(GIVE_UP_INTERVAL)) is None:
                if give_up():
                    raise _GivenUp("it is no longer needed")
                if time.monotonic() > deadline:
                    raise LoadTimedOut(f"it did not load in start_timeout = {start_timeout:g} s")
            header, _ = reply
        except (EOFError, OSError, ProtocolError) as error:
            raise self._death() from error
        if header.get("type") != "ready":
            kind = LoadInterrupted if header.get("lacks_memory") else ModelLoadError
            raise _Rejected(kind(str(header.get("reason", header))))
        self.warning = str(header.get("warning", ""))

    def _death(self) -> ModelLoadError:
        """The error for a process that ended while it loaded the model."""
        with suppress(subprocess.TimeoutExpired):
            if self._process.wait(EXIT_TIMEOUT) == -signal.SIGKILL:
                # not by us: by the kernel, if memory has run out
                return LoadInterrupted(f"its worker died while loading: {self.end(0)}")
        return WorkerDied(f"its worker died while loading: {self.end(0)}")
