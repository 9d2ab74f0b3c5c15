"""Models in real worker processes, which a test can stop, kill and count."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.served_model import ServedModel
from euclidesdb_server.inference.worker_process import WorkerProcess
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from tests.support.programs import gray
from tests.support.waiting import wait_for

SOON = 60.0
"""Seconds."""


class Running:
    """A ServedModel that takes images, and the processes that it started.

    may_start: while it is clear, no further process starts.
    """

    def __init__(self, folder: Path, *, start_timeout: float = SOON) -> None:
        self.pids: list[int] = []
        self.may_start = threading.Event()
        self.may_start.set()
        model = read_model_folder(folder)
        assert isinstance(model, ModelFolder)
        start = functools.partial(
            WorkerProcess,
            model,
            threads=1,
            max_image_pixels=10_000,
            start_timeout=start_timeout,
        )

        def start_and_note(give_up: Callable[[], bool], device: str) -> WorkerProcess:
            assert self.may_start.wait(SOON)
            worker = start(give_up, device)
            self.pids.append(worker._process.pid)
            return worker

        self.model = ServedModel(model, start_and_note)

    def signal(self, number: int) -> None:
        os.kill(self.pids[-1], number)

    def embed(self, data: bytes) -> Future[Embedding]:
        return self.model.embed(Payload("image", data))

    def queue_up(self, *images: bytes) -> list[Future[Embedding]]:
        """Queue these images together, behind two in flight; `go_on` resumes the worker."""
        self.signal(signal.SIGSTOP)
        futures = []
        for image in (gray(1), gray(2)):
            futures.append(self.embed(image))
            wait_for(lambda: len(self.model._queue) == 0, "the worker was given the image")
        futures += [self.embed(image) for image in images]
        return futures

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)


def value(future: Future[Embedding]) -> int:
    """Of the gray image that was embedded."""
    return round(float(future.result(SOON).vector[0]) * 255)
