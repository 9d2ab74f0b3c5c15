"""Shared workers: worker processes that serve several attached models.

Models whose model.conf names the same `worker` run in one process: they share a CUDA context, and
an image that several of them embed is decoded once. A crash of the process interrupts all of them.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from typing import Any, Final, TypeAlias

from euclidesdb_server.system.worker_protocol import send_message

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for a process to exit after its last model was detached."""

Spawn: TypeAlias = "Callable[[Connection[Any, Any]], subprocess.Popen[bytes]]"


class SharedWorker:
    """One process and its attached models. Thread-safe."""

    def __init__(self, spawn: Spawn) -> None:
        """Start the process. Raises OSError."""
        self._lock = threading.Lock()
        self._attached = 0
        self._control, theirs = Pipe(duplex=True)
        self._spawned = threading.Event()
        self._failure: OSError | None = None
        # The kernel kills a worker when the thread that started it ends (PR_SET_PDEATHSIG): this
        # thread outlives every model that is attached and detached.
        self._thread = threading.Thread(
            target=self._run, args=(spawn, theirs), name="shared-worker", daemon=True
        )
        self._thread.start()
        self._spawned.wait()
        if self._failure is not None:
            self._control.close()
            raise self._failure
        with suppress(OSError):  # it died: the first `attach` fails
            send_message(self._control, {"type": "share"})

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def attach(self) -> Connection[Any, Any]:
        """Attach one model: a connection to its own pipeline in the process.

        To be followed by `detach`. Raises OSError if the process died.
        """
        with self._lock:
            if self._control.closed:
                raise BrokenPipeError("its last model was just detached")
            self._attached += 1
        try:
            ours, theirs = Pipe(duplex=True)
            try:
                with self._lock:
                    send_handle(self._control, theirs.fileno(), self.process.pid)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
        except BaseException:
            self.detach()
            raise
        return ours

    def detach(self) -> None:
        """Detach one model; the process ends with the last."""
        with self._lock:
            self._attached -= 1
            if self._attached:
                return
            self._control.close()
        try:
            self.process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._thread.join()

    def _run(self, spawn: Spawn, theirs: Connection[Any, Any]) -> None:
        try:
            self.process = spawn(theirs)
        except OSError as error:
            self._failure = error
        finally:
            theirs.close()
            self._spawned.set()
        if self._failure is None:
            self.process.wait()


class SharedWorkers:
    """The shared workers of one server, by name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[str, SharedWorker] = {}

    def attach(self, name: str, spawn: Spawn) -> tuple[SharedWorker, Connection[Any, Any]]:
        """Attach a model to the shared worker of that name, which is started if it does not run.

        Returns the worker and the model's connection to it. Raises OSError.
        """
        with self._lock:
            worker = self._workers.get(name)
            if worker is not None and worker.alive:
                try:
                    return worker, worker.attach()
                except OSError:  # it just died
                    worker = None
            worker = self._workers[name] = SharedWorker(spawn)
            return worker, worker.attach()
