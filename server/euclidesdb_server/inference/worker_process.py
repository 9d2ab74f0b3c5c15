"""The parent's end of one model worker: start it, hand it batches, read answers, kill it.

The worker is a process of its own (`euclidesdb_server.worker`), so a model that crashes, hangs
or runs away takes nothing else with it. It is told everything over one socket pair, and ends
when that closes.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.shared_worker import SharedWorker, SharedWorkers
from euclidesdb_server.system.worker_protocol import (
    ProtocolError,
    limit_silence,
    receive_message,
    send_message,
    shut_down,
)
from euclidesdb_server.values.payload import Payload

OPENMP: Final = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
"""Left alone, libgomp's threads spin between parallel regions, on cores that others need: a
forward pass of `digits` on two threads took 3.5 ms of processor time alone, and takes 0.6 ms. Not
spinning at all, they sleep between the layers of a large model: a ResNet-18's lone image took 45
ms instead of 35. So they spin for some tens of microseconds."""
GIVE_UP_INTERVAL: Final = 0.2
"""Seconds between looks at whether a worker that is loading is still wanted."""
END_TIMEOUT: Final = 5.0
"""Seconds for a worker that was told to end."""
DYING: Final = 1.0
"""Seconds for a worker whose connection broke: time for its exit code to be its own."""


def _spawn(connection: Connection[Any, Any], *, threads: int) -> subprocess.Popen[bytes]:
    """A worker process that is told everything over the other end of `connection`."""
    environment = {**OPENMP, **os.environ, "OMP_NUM_THREADS": str(threads)}
    # -P: a module in the folder that the server was started in must not shadow a real one
    command = [sys.executable, "-P", "-m", "euclidesdb_server.worker", str(connection.fileno())]
    return subprocess.Popen(  # noqa: S603  # our own module
        command, stdin=subprocess.DEVNULL, pass_fds=[connection.fileno()], env=environment
    )


def load_message(
    folder: ModelFolder, *, device: str, threads: int, max_image_pixels: int
) -> dict[str, Any]:
    """All that a worker must know of its model (JSON values)."""
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
    """Nobody wants the model any more."""


class _Refused(Exception):
    """The worker says that it cannot serve the model."""


class WorkerProcess:
    """A worker that has loaded its model and passed the load check.

    One thread sends and in the end releases, one receives, any may end it.
    """

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
        shared_workers: SharedWorkers | None = None,
    ) -> None:
        """Start a worker and wait until it is ready, or `give_up` becomes true.

        shared_workers: the processes of models whose conf names a `worker`.

        Raises ModelLoadError with the worker's reason, OSError.
        """
        spawn = functools.partial(_spawn, threads=threads)
        if shared_workers is not None and folder.conf.worker:
            self._shared, ours = shared_workers.attach(folder.conf.worker, spawn)
            self._process = self._shared.process
        else:
            ours, theirs = Pipe(duplex=True)
            self._process = spawn(theirs)
            theirs.close()
        self._connection: Connection[Any, Any] = ours
        try:
            limit_silence(ours, folder.conf.inference_timeout)
            load = load_message(
                folder, device=device, threads=threads, max_image_pixels=max_image_pixels
            )
            self._load(load, give_up, start_timeout)
        except _Refused as error:
            self.release()  # the process is well, and may serve others
            raise ModelLoadError(str(error)) from error
        except _GivenUp:
            self.stop()
            self.release()
            raise
        except BaseException:
            self.end(patience=0)
            self.release()
            raise

    def send(self, batch: int, payloads: Sequence[Payload]) -> None:
        """Hand over a batch. Raises OSError where the worker is dead."""
        header = {"type": "run", "batch": batch, "kinds": [payload.kind for payload in payloads]}
        send_message(self._connection, header, [payload.data for payload in payloads])

    def poll(self, timeout: float) -> bool:
        """Whether an answer, or the worker's end, is there within `timeout` seconds."""
        return self._connection.poll(timeout)

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next answer. Raises EOFError or OSError at its end, OSError where it stops halfway
        for inference_timeout, ProtocolError for nonsense.
        """
        return receive_message(self._connection)

    def end(self, patience: float) -> str:
        """Give the process `patience` seconds to end, then kill it; say how it ended.

        The connection stays open until `release`: another thread may be using it.
        """
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"it exited with code {code}"
        return f"it was ended by signal {-code} ({signal.Signals(-code).name})"

    def stop(self) -> None:
        """End a worker that is well; of a process that others share, its part of it."""
        if self._shared is None:
            self.end(patience=0)
            return
        try:
            shut_down(self._connection)
        except OSError:  # no descriptor is left: better all of it than none
            self.end(patience=0)

    def release(self) -> None:
        """Close the connection, which ends a worker that is well, and see the process out.

        For when no other thread uses it any more. Idempotent.
        """
        if self._connection.closed:
            return
        self._connection.close()
        if self._shared is None:
            self.end(END_TIMEOUT)
        else:
            self._shared.leave()

    def _load(
        self, load: dict[str, Any], give_up: Callable[[], bool], start_timeout: float
    ) -> None:
        deadline = time.monotonic() + start_timeout
        try:
            send_message(self._connection, load)
            while not self.poll(GIVE_UP_INTERVAL):
                if give_up():
                    raise _GivenUp("it is not wanted any more")
                if time.monotonic() > deadline:
                    raise ModelLoadError(f"it did not load in {start_timeout:g} s")
            header, _ = self.receive()
        except (EOFError, OSError, ProtocolError) as error:
            raise ModelLoadError(f"its worker died while it loaded: {self.end(DYING)}") from error
        if header.get("type") != "ready":
            raise _Refused(str(header.get("reason", header)))
