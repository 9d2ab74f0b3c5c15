"""Worker processes that several models share.

Models whose model.conf names the same `worker` run in one process: one CUDA context, and one
decoding of an image that several of them are asked about. What kills it interrupts them all.
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

END_TIMEOUT: Final = 5.0
"""Seconds for a process that nobody needs any more."""

Spawn: TypeAlias = "Callable[[Connection[Any, Any]], subprocess.Popen[bytes]]"


class SharedWorker:
    """One process, and the models in it. Thread-safe."""

    def __init__(self, spawn: Spawn) -> None:
        """Start the process. Raises OSError."""
        self._lock = threading.Lock()
        self._attached = 0
        self._control, theirs = Pipe(duplex=True)
        self._spawned = threading.Event()
        self._failure: OSError | None = None
        # The kernel ends a worker when the thread that started it ends (PR_SET_PDEATHSIG): this
        # one stays, whichever models come and go.
        self._thread = threading.Thread(
            target=self._run, args=(spawn, theirs), name="shared-worker", daemon=True
        )
        self._thread.start()
        self._spawned.wait()
        if self._failure is not None:
            raise self._failure
        with suppress(OSError):  # it died: seen by the first to attach
            send_message(self._control, {"type": "share"})

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def attach(self) -> Connection[Any, Any]:
        """A connection to a pipeline of its own in the process, to be followed by `leave`.

        Raises OSError where it died.
        """
        with self._lock:
            if self._control.closed:
                raise BrokenPipeError("the last model just left")
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
            self.leave()
            raise
        return ours

    def leave(self) -> None:
        """One model less; the process ends with the last."""
        with self._lock:
            self._attached -= 1
            if self._attached:
                return
            self._control.close()
        try:
            self.process.wait(END_TIMEOUT)
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
        self._shared_workers: dict[str, SharedWorker] = {}

    def attach(self, name: str, spawn: Spawn) -> tuple[SharedWorker, Connection[Any, Any]]:
        """The shared worker of that name, and a connection to it; started where none runs.

        Raises OSError.
        """
        with self._lock:
            worker = self._shared_workers.get(name)
            if worker is not None and worker.alive:
                try:
                    return worker, worker.attach()
                except OSError:  # it is just dying
                    worker = None
            worker = self._shared_workers[name] = SharedWorker(spawn)
            return worker, worker.attach()
