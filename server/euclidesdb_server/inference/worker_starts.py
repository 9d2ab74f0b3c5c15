"""WorkerStarts: how the workers of one server are started, and in which order."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.load_errors import LoadTimedOut
from euclidesdb_server.inference.load_slots import LoadSlots
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.shared_worker import SharedWorkers
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.inference.worker_seat import StartWorker


class WorkerStarts:
    """Thread-safe."""

    def __init__(self, config: ModelsConfig, workers: int) -> None:
        """workers: how many the server has at first; they share the cores."""
        cores = len(os.sched_getaffinity(0))
        self._config = config
        self._threads = config.worker_threads or max(1, cores // max(1, workers))
        self._slots = LoadSlots(cores)
        self._shared_workers = SharedWorkers()

    def of(self, folder: ModelFolder) -> StartWorker:
        """Starts the workers of one model; raises what WorkerProcess does, and FilesChanged.

        `start_timeout` counts from the moment when a worker has its turn.
        """
        last = threading.local()  # of a seat: each has its own thread

        def start(give_up: Callable[[], bool], device: str) -> WorkerProcess:
            with self._slots.taken(give_up, timed_out=getattr(last, "timed_out", False)):
                try:
                    worker = self._start(folder, give_up, device)
                except LoadTimedOut:
                    last.timed_out = True
                    raise
                last.timed_out = False
                return worker

        return start

    def _start(
        self, folder: ModelFolder, give_up: Callable[[], bool], device: str
    ) -> WorkerProcess:
        try:
            worker = WorkerProcess(
                folder,
                give_up,
                device,
                threads=folder.conf.threads or self._threads,
                max_image_pixels=self._config.max_image_pixels,
                confine=self._config.confine_workers,
                start_timeout=self._config.start_timeout,
                shared_workers=self._shared_workers,
            )
        except ModelLoadError:
            if not give_up():
                folder.check_unchanged()  # if they have changed, that is the reason
            raise
        try:
            folder.check_unchanged()  # after the worker has read the files
        except ModelLoadError:
            worker.stop()
            worker.release()
            raise
        return worker
