"""WorkerSeat: one worker of a model, replaced when it dies or hangs.

A worker that dies or hangs takes its batches in flight with it. Each of their requests is retried
once, in a batch of one, so that the one that kills workers fails alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from euclidesdb_server.errors import ModelFailed, ModelLoadError, UndecodableInput
from euclidesdb_server.inference.in_flight import MAX_BATCHES, EmbedRequest, InFlight
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.model_folder import FilesChanged
from euclidesdb_server.inference.model_health import ModelHealth
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.worker_output import read_outputs
from euclidesdb_server.inference.worker_process import EXIT_TIMEOUT, WorkerProcess
from euclidesdb_server.system.worker_protocol import ProtocolError
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

log = logging.getLogger(__name__)

StartWorker: TypeAlias = Callable[[Callable[[], bool], str], WorkerProcess]
"""Starts a worker on a device, the second argument. Gives up once the first one returns true.
Raises ModelLoadError or OSError."""

STARTS_TO_QUARANTINE: Final = 3
"""Failed restarts in a row of a model that once ran. (The first start has one attempt.)"""


class WorkerSeat:
    """Keeps one worker running and feeds it from the model's queue, until the model stops.

    run_counts: the items that its program ran, and the batches that they came in.
    """

    def __init__(
        self,
        conf: ProgramConf,
        device: str,
        start: StartWorker,
        queue: RequestQueue[Payload, Embedding],
        health: ModelHealth,
        *,
        name: str,
    ) -> None:
        """Begin to start the worker. name: of the thread."""
        self.run_counts = (0, 0)
        self._conf = conf
        self._device = device
        self._start = start
        self._queue = queue
        self._health = health
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the worker, after the model was stopped."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._health.stopped and (worker := self._start_worker()) is not None:
                self._health.worker_ready(worker.warning)
                try:
                    self._serve(worker)
                finally:
                    worker.release()
                if not self._health.wait_out_quarantine():
                    return
        except Exception as error:  # whatever it was, the waiting callers must get an error
            log.exception("a worker of model %r is not replaced", self._conf.name)
            self._health.give_up(f"internal error: {error}")

    def _start_worker(self) -> WorkerProcess | None:
        """A worker; None if the model stopped, or is given up now."""
        name = self._conf.name
        # in a shared worker, another model may have killed the process
        is_restart = self._health.started.is_set() or self._conf.worker
        attempts = STARTS_TO_QUARANTINE if is_restart else 1
        for attempt in range(1, attempts + 1):
            if self._health.stopped:
                return None
            try:
                return self._start(lambda: self._health.stopped, self._device)
            except (ModelLoadError, OSError) as error:
                log.warning("start %d of %d of model %r failed: %s", attempt, attempts, name, error)
                if self._health.stopped:
                    return None
                # another attempt would not change the files back
                if attempt == attempts or isinstance(error, FilesChanged):
                    self._health.give_up(str(error))
                    return None
        return None

    def _serve(self, worker: WorkerProcess) -> None:
        """Feed a worker until it dies or the model stops."""
        in_flight = InFlight(self._conf.max_batch_size, decodes_in_parallel=self._device != "cpu")
        receiver = threading.Thread(
            target=self._receive,
            args=(worker, in_flight),
            name=f"{threading.current_thread().name}-receiver",
        )
        receiver.start()
        try:
            self._feed(worker, in_flight)
            if self._health.stopped:
                in_flight.wait_for_room(1)  # the batches in flight are completed
                worker.stop()
        except OSError:
            log.debug("the worker broke its connection; the receiver handles it")
        except BaseException:
            worker.end(timeout=0)
            raise
        finally:
            receiver.join()

    def _feed(self, worker: WorkerProcess, in_flight: InFlight) -> None:
        while True:
            in_flight.wait_for_room(MAX_BATCHES)
            batch = self._queue.take(
                self._conf.max_batch_size,
                self._conf.max_wait_ms / 1000,
                give_up=lambda: in_flight.down or self._health.stopped,
                busy=in_flight.busy_for,
            )
            if not batch:
                return
            alone = batch[0].alone
            if alone:
                in_flight.wait_for_room(1)
            number = in_flight.add(batch)
            if number is None:
                self._queue.put_back(batch)
                return
            worker.send(number, [request.work for request in batch])
            if alone:
                in_flight.wait_for_room(1)

    def _receive(self, worker: WorkerProcess, in_flight: InFlight) -> None:
        """Complete batches until the worker is gone; then retry or fail its requests."""
        timeout = self._conf.inference_timeout
        try:
            while True:
                if worker.poll(timeout / 4):
                    header, parts = worker.receive()
                    self._complete(in_flight, header, parts)
                elif in_flight.stalled_for() > timeout:
                    worker.end(timeout=0)
                    how = f"it did not respond within inference_timeout = {timeout:g} s"
                    break
        except (EOFError, OSError):
            how = "it was stopped" if self._health.stopped else worker.end(EXIT_TIMEOUT)
        except Exception as error:  # ProtocolError, and whatever else a malformed reply causes
            worker.end(timeout=0)
            how = f"{type(error).__name__}: {error}"
        lost = in_flight.fail_all()
        if self._health.stopped:
            self._queue.put_back(lost)  # the queue refuses them, now or soon
        else:
            self._handle_crash(how, lost)
            self._queue.wake()

    def _handle_crash(self, how: str, lost: list[EmbedRequest]) -> None:
        name = self._conf.name
        log.error("the worker of model %r died with %d items: %s", name, len(lost), how)
        for request in lost:
            if request.alone:
                request.future.set_exception(
                    ModelFailed(f"the worker of model {name!r} died on this item: {how}")
                )
        self._queue.put_back(request for request in lost if not request.alone)
        self._health.worker_crashed(how)

    def _complete(self, in_flight: InFlight, header: dict[str, Any], parts: list[bytes]) -> None:
        try:
            requests = in_flight.complete(header["batch"])
            self._queue.wake()
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"a result for an unknown batch: {header}") from error
        try:
            results = read_outputs(header, parts, len(requests), self._conf)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            for request in requests:
                request.future.set_exception(
                    ModelFailed(
                        f"the worker of model {self._conf.name!r} sent a malformed result: {error}"
                    )
                )
            raise ProtocolError(f"a malformed result: {error}") from error
        run = sum(not isinstance(result, UndecodableInput) for result in results)
        items, batches = self.run_counts
        self.run_counts = (items + run, batches + (run > 0))
        if any(isinstance(result, Embedding) for result in results):
            self._health.item_embedded()
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, Embedding):
                request.future.set_result(result)
            else:
                request.future.set_exception(result)
