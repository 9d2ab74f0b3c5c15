"""Models in real worker processes, which a test can stop, kill and count."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from support.programs import grey
from support.waiting import wait_for

from euclidesdb_server.models.folder import read_model_folder
from euclidesdb_server.models.served import ServedModel
from euclidesdb_server.models.worker_process import WorkerProcess
from euclidesdb_server.types import Embedding, Payload

SOON = 60.0
"""Seconds."""


class Running:
    """A ServedModel that takes pictures, and the processes that it started."""

    def __init__(self, folder: Path, *, start_timeout: float = SOON) -> None:
        self.pids: list[int] = []
        start = functools.partial(
            WorkerProcess,
            read_model_folder(folder),
            threads=1,
            max_image_pixels=10_000,
            start_timeout=start_timeout,
        )

        def start_and_note(give_up: Callable[[], bool], device: str) -> WorkerProcess:
            worker = start(give_up, device)
            self.pids.append(worker._process.pid)
            return worker

        self.model = ServedModel(read_model_folder(folder), start_and_note)

    def signal(self, number: int) -> None:
        os.kill(self.pids[-1], number)

    def embed(self, data: bytes) -> Future[Embedding]:
        return self.model.embed(Payload("image", data))

    def queue_up(self, *pictures: bytes) -> list[Future[Embedding]]:
        """Have the worker find these waiting together, behind two that are under way."""
        self.signal(signal.SIGSTOP)
        futures = []
        for picture in (grey(1), grey(2)):
            futures.append(self.embed(picture))
            wait_for(lambda: len(self.model._queue) == 0, "the worker was given the picture")
        futures += [self.embed(picture) for picture in pictures]
        return futures

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)


def value(future: Future[Embedding]) -> int:
    """Of the grey picture that was embedded."""
    return round(float(future.result(SOON).vector[0]) * 255)
