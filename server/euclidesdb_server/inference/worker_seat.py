"""WorkerSeat: one worker of a model, replaced when it dies or hangs.

A worker that dies or hangs takes its batches in flight with it. Each of their requests is retried
once, in a batch of one, so that the one that kills workers fails alone, and is not given to a
worker again for a while. Such a worker is replaced at once, however many items kill theirs: they
count against themselves, not against the model.

A start that fails is repeated after a growing pause, and so is one whose worker dies without an
item. Other seats are not affected.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from euclidesdb_server.errors import (
    FailureReason,
    ModelFailed,
    ModelLoadError,
    UndecodableInput,
    copy_of,
)
from euclidesdb_server.inference.in_flight import EmbedRequest, InFlight
from euclidesdb_server.inference.load_errors import FilesChanged, LoadInterrupted, WorkerDied
from euclidesdb_server.inference.model_conf import ProgramConf
from euclidesdb_server.inference.model_health import ModelHealth
from euclidesdb_server.inference.poisonous_items import PoisonousItems
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.restarts import Pauses
from euclidesdb_server.inference.run_measures import RunMeasures
from euclidesdb_server.inference.worker_feed import WorkerFeed
from euclidesdb_server.inference.worker_output import read_outputs
from euclidesdb_server.inference.worker_process import EXIT_TIMEOUT, WorkerProcess
from euclidesdb_server.system.worker_protocol import ProtocolError
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

log = logging.getLogger(__name__)

StartWorker: TypeAlias = Callable[[Callable[[], bool], str], WorkerProcess]
"""Starts a worker on a device, the second argument. Gives up once the first one returns true.
Raises ModelLoadError or OSError."""

SHARED_DEATHS: Final = 3
"""Deaths of a shared worker in a row, while it loads a model or without an item of it, after which
that model is blamed. (A worker of the model's own has one attempt.)"""


STOP_TIMEOUT: Final = 5.0
"""Seconds that the batch in flight may take when the model stops: its callers have had their time
(`shutdown_grace`, or that of a replaced version)."""
POLL_INTERVAL: Final = 0.5
"""Seconds between checks whether a worker hangs."""


class WorkerSeat:
    """Keeps one worker running and feeds it from the model's queue, until the model stops.

    run_counts: the items that its program ran, and the batches that they came in. pid: of the
    worker; None while there is none.
    """

    def __init__(
        self,
        conf: ProgramConf,
        number: int,
        start: StartWorker,
        queue: RequestQueue[Payload, Embedding],
        health: ModelHealth,
        *,
        poisonous: PoisonousItems,
        pauses: Pauses,
        measures: RunMeasures,
    ) -> None:
        """Begin to start the worker of the seat with that number."""
        self.run_counts = (0, 0)
        self.pid: int | None = None
        self._conf = conf
        self._number = number
        self._device = conf.seats[number]
        self._start = start
        self._queue = queue
        self._health = health
        self._poisonous = poisonous
        self._pauses = pauses
        self._measures = measures
        self._was_ready = False
        self._failures = 0  # starts that failed and deaths without an item, in a row
        self._died_idle = False
        self._idle_deaths = 0  # in a row
        self._thread = threading.Thread(target=self._run, name=f"model-{conf.name}-{number}")
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the worker, after the model was stopped."""
        self._thread.join()

    def _run(self) -> None:
        while not self._health.stopped:
            try:
                worker = self._start(lambda: self._health.stopped, self._device)
            except Exception as error:  # whatever it is, waiting callers must get an error
                if self._health.stopped or not self._may_try_again(error):
                    return
                continue
            self._measures.worker_restarts.add(self._was_ready)
            self._was_ready = True
            self.pid = worker.pid
            self._health.worker_ready(self._number, worker.warning)
            began = time.monotonic()
            try:
                self._serve(worker)
            except Exception as error:  # as above
                log.exception("a worker of model %r is not served", self._conf.name)
                self._health.worker_died(self._number, f"internal error: {error}")
                self._died_idle = True
            finally:
                self.pid = None
                worker.release()
            if self._died_idle and not self._health.stopped:
                if time.monotonic() - began > self._pauses.limit:
                    self._failures = 0
                self._failures += 1
                self._health.wait(self._pauses.after(self._failures))

    def _may_try_again(self, error: Exception) -> bool:
        """Wait before the next start; False if there will not be one."""
        name, reason = self._conf.name, str(error) or repr(error)
        if not isinstance(error, ModelLoadError | OSError):
            log.error("a worker of model %r was not started", name, exc_info=error)
            reason = f"internal error: {reason}"
        self._failures += 1
        if isinstance(error, FilesChanged):
            self._health.seat_ended(self._number, reason)
            return False
        if not self._was_ready and self._is_at_fault(error) and self._health.reject(reason):
            return False
        pause = self._pauses.after(self._failures)
        log.warning(
            "start %d of a worker of model %r failed; the next one is in %.3g s: %s",
            self._failures, name, pause, reason,
        )  # fmt: skip
        self._health.start_failed(self._number, reason, pause)
        self._health.wait(pause)
        return True

    def _is_at_fault(self, error: Exception) -> bool:
        """Whether the model, which never was ready, is the cause of a failed start."""
        if isinstance(error, WorkerDied) and self._conf.worker:
            return self._failures >= SHARED_DEATHS
        return isinstance(error, ModelLoadError) and not isinstance(error, LoadInterrupted)

    def _serve(self, worker: WorkerProcess) -> None:
        """Feed a worker until it dies or the model stops."""
        self._died_idle = False
        in_flight = InFlight(self._conf.max_batch_size, decodes_in_parallel=self._device != "cpu")
        feed = WorkerFeed(self._conf, worker, in_flight)
        receiver = threading.Thread(
            target=self._receive,
            args=(worker, in_flight, feed),
            name=f"{threading.current_thread().name}-receiver",
        )
        receiver.start()
        self._queue.attach(feed)
        try:
            while taken := self._queue.take(feed, lambda: in_flight.down or self._health.stopped):
                feed.send(*taken)
            if self._health.stopped:
                in_flight.wait_until_idle()  # the batches in flight are completed
                worker.stop()
        except BaseException:
            worker.end(timeout=0)
            raise
        finally:
            self._queue.detach(feed)
            receiver.join()
            feed.close()

    def _receive(self, worker: WorkerProcess, in_flight: InFlight, feed: WorkerFeed) -> None:
        """Complete batches until the worker is gone; then retry or fail its requests."""
        timeout = self._conf.inference_timeout
        reason = FailureReason.CRASHED
        interval = min(timeout / 4, POLL_INTERVAL)
        try:
            while True:
                reply = worker.receive(interval)
                if reply is not None:
                    self._complete(in_flight, feed, *reply)
                elif in_flight.stalled_for() > timeout:
                    worker.end(timeout=0)
                    reason = FailureReason.TIMED_OUT
                    how = f"it did not respond within inference_timeout = {timeout:g} s"
                    break
                elif self._health.stopped and in_flight.stalled_for() > STOP_TIMEOUT:
                    worker.end(timeout=0)
                    how = "it was stopped"
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
            self._handle_crash(how, reason, lost)
            self._queue.wake()

    def _handle_crash(self, how: str, reason: FailureReason, lost: list[EmbedRequest]) -> None:
        name = self._conf.name
        for request in lost:
            if request.alone:
                error = ModelFailed(
                    f"the worker of model {name!r} died on this item: {how}", reason
                )
                if not self._conf.worker:  # an item of another model may have ended a shared one
                    self._poisonous.add(request.work, error)
                request.future.set_exception(copy_of(error))
        self._queue.put_back(request for request in lost if not request.alone)
        self._idle_deaths = 0 if lost else self._idle_deaths + 1
        # a shared worker may have been ended by an item of another model
        self._died_idle = self._idle_deaths >= (SHARED_DEATHS if self._conf.worker else 1)
        self._health.worker_died(self._number, how)
        log.error("the worker of model %r died with %d items: %s", name, len(lost), how)

    def _measure(self, requests: list[EmbedRequest]) -> None:
        """Record a batch whose results are there."""
        now = time.monotonic()
        if requests:
            self._measures.run_seconds.add(now - requests[0].taken)
            self._measures.batch_sizes.add(len(requests))
        for request in requests:
            request.future.times = (request.arrived, request.taken, now)
            self._measures.queue_seconds.add(request.taken - request.arrived)

    def _complete(
        self, in_flight: InFlight, feed: WorkerFeed, header: dict[str, Any], parts: list[bytes]
    ) -> None:
        try:
            requests = in_flight.complete(header["batch"])
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"a result for an unknown batch: {header}") from error
        self._queue.hand_over(feed)
        self._measure(requests)
        try:
            results = read_outputs(header, parts, len(requests), self._conf)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            for request in requests:
                request.future.set_exception(
                    ModelFailed(
                        f"the worker of model {self._conf.name!r} sent a malformed result: {error}",
                        FailureReason.INVALID_OUTPUT,
                    )
                )
            raise ProtocolError(f"a malformed result: {error}") from error
        run = sum(not isinstance(result, UndecodableInput) for result in results)
        items, batches = self.run_counts
        self.run_counts = (items + run, batches + (run > 0))
        if any(isinstance(result, Embedding) for result in results):
            self._failures = self._idle_deaths = 0
        for request, result in zip(requests, results, strict=True):
            if isinstance(result, Embedding):
                request.future.set_result(result)
            else:
                request.future.set_exception(result)
