"""ServedModel: one model, kept running whatever it does.

Requests meet in a bounded queue, travel to the workers in batches, and come back as features
and predictions. When a worker dies or hangs it is replaced, and each request that it held is
tried once more, alone, so that the poisonous one fails by itself. A model that cannot be
loaded is quarantined with its reason, one that keeps dying for a while; its space can still be
searched by vector and by id.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from euclidesdb_server.errors import (
    DatabaseError,
    InvalidRequest,
    ModelFailed,
    ModelLoadError,
    ModelUnavailable,
    ShuttingDown,
    UndecodableInput,
)
from euclidesdb_server.inference.in_flight import WINDOW, EmbedRequest, InFlight
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.worker_output import read_answers
from euclidesdb_server.inference.worker_process import DYING, WorkerProcess
from euclidesdb_server.system.worker_protocol import ProtocolError
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

log = logging.getLogger(__name__)

CRASHES_TO_QUARANTINE: Final = 10
"""Deaths in a row, with no item answered in between, after which a model rests."""
REST: Final = 60.0
"""Seconds. It passed its load check each time, so it may be the items: it gets another chance."""
STARTS_TO_QUARANTINE: Final = 3
"""Failed restarts in a row of a model that once ran. (The first start has one chance.)"""


class ServedModel:
    """A `Model` with a program, run by a worker for each of the seats of its conf."""

    def __init__(
        self,
        folder: ModelFolder,
        start: Callable[[Callable[[], bool], str], WorkerProcess],
        *,
        rest: float = REST,
    ) -> None:
        """Begin to load the model.

        start: makes a worker on a device, or raises ModelLoadError; gives up once its first
            argument returns true.
        rest: seconds in quarantine after too many deaths.
        """
        self.folder = folder
        self._start = start
        self._rest = rest
        self._queue: RequestQueue[Payload, Embedding] = RequestQueue(
            f"model {folder.conf.name!r}",
            folder.conf.max_queue,
            # the cost of a text goes by its length; images are brought to one size
            (lambda payload: len(payload.data)) if folder.conf.input == "text" else None,
        )
        self._started = threading.Event()
        self._closing = threading.Event()
        self._given_up = False
        self._lock = threading.Lock()
        self._ready = 0
        self._crashes = 0
        self._resting = False
        self._items_run = 0
        self._batches_run = 0
        self._standing = (ModelState.LOADING, "")
        self._threads = [
            threading.Thread(target=self._run, args=(device,), name=f"model-{folder.conf.name}-{n}")
            for n, device in enumerate(folder.conf.seats)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def state(self) -> tuple[ModelState, str]:
        """Where the model stands, and why it is not ready."""
        return self._standing

    def wait_until_started(self, timeout: float | None = None) -> bool:
        """Wait until every worker was ready once, or the model is quarantined; False if `timeout`
        passed.
        """
        return self._started.wait(timeout)

    def embed(self, payload: Payload) -> Future[Embedding]:
        """As `Model.embed`."""
        if payload.kind != self.folder.conf.input:
            raise InvalidRequest(
                f"model {self.folder.conf.name!r} takes {self.folder.conf.input!r}, "
                f"not {payload.kind!r}"
            )
        return self._queue.put(payload)

    @property
    def run_counts(self) -> tuple[int, int]:
        """As `Model.run_counts`."""
        with self._lock:
            return self._items_run, self._batches_run

    def waiting(self) -> int:
        """As `Model.waiting`."""
        return len(self._queue)

    def close(self, why: DatabaseError | None = None) -> None:
        """As `Model.close`; ends the workers."""
        why = why or ShuttingDown("the server is stopping")
        self._closing.set()
        self._queue.refuse(why)
        for thread in self._threads:
            thread.join()
        self._queue.refuse(why)  # again: the model may just have left its quarantine
        self._started.set()

    def _over(self) -> bool:
        return self._given_up or self._closing.is_set()

    def _run(self, device: str) -> None:
        try:
            while not self._over() and (worker := self._start_worker(device)) is not None:
                self._came_up()
                try:
                    self._serve(worker, device)
                finally:
                    worker.release()
                if self._resting:
                    if self._closing.wait(self._rest) or self._given_up:
                        return
                    with self._lock:
                        if self._given_up:  # meanwhile, by another seat
                            return
                        self._crashes, self._resting = 0, False
                        self._queue.accept()
        except Exception as error:  # whatever it was, those who wait must hear of it
            log.exception("nobody runs model %r any more", self.folder.conf.name)
            self._give_up(f"internal error: {error}")

    def _start_worker(self, device: str) -> WorkerProcess | None:
        # it may be a neighbor that kills a shared process
        again = self._started.is_set() or self.folder.conf.worker
        chances = STARTS_TO_QUARANTINE if again else 1
        for chance in range(1, chances + 1):
            if self._over():
                return None
            try:
                return self._start(self._over, device)
            except (ModelLoadError, OSError) as error:
                name = self.folder.conf.name
                log.warning("start %d of %d of model %r failed: %s", chance, chances, name, error)
                if chance == chances and not self._over():
                    self._give_up(str(error))
        return None

    def _serve(self, worker: WorkerProcess, device: str) -> None:
        """Feed a worker until it dies or the model is closed, or given up."""
        in_flight = InFlight(self.folder.conf.max_batch_size, decodes_beside=device != "cpu")
        receiver = threading.Thread(
            target=self._receive,
            args=(worker, in_flight),
            name=f"{threading.current_thread().name}-answers",
        )
        receiver.start()
        try:
            self._feed(worker, in_flight)
            if self._over():
                in_flight.wait_for_room(1)  # what was handed over is answered
                worker.stop()
        except OSError:
            log.debug("the worker broke its connection; the receiver deals with it")
        except BaseException:
            worker.end(patience=0)
            raise
        finally:
            receiver.join()

    def _feed(self, worker: WorkerProcess, in_flight: InFlight) -> None:
        conf = self.folder.conf
        while True:
            in_flight.wait_for_room(WINDOW)
            batch = self._queue.take(
                conf.max_batch_size,
                conf.max_wait_ms / 1000,
                give_up=lambda: in_flight.down or self._over(),
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
        """Land batches until the worker is gone; then see to the requests that it held."""
        timeout = self.folder.conf.inference_timeout
        try:
            while True:
                if worker.poll(timeout / 4):
                    header, parts = worker.receive()
                    self._complete(in_flight, header, parts)
                elif in_flight.stalled_for() > timeout:
                    worker.end(patience=0)
                    how = f"it gave no answer for inference_timeout = {timeout:g} s"
                    break
        except (EOFError, OSError):
            how = "it was stopped" if self._over() else worker.end(DYING)
        except Exception as error:  # ProtocolError, and whatever else a mad worker brings about
            worker.end(patience=0)
            how = f"{type(error).__name__}: {error}"
        lost = in_flight.fail_all()
        if self._over():
            self._queue.put_back(lost)  # which is refused, or soon is
            return
        self._crashed(how, lost)
        self._queue.wake()

    def _crashed(self, how: str, lost: list[EmbedRequest]) -> None:
        name = self.folder.conf.name
        log.error("the worker of model %r died with %d items: %s", name, len(lost), how)
        for request in lost:
            if request.alone:
                request.future.set_exception(
                    ModelFailed(f"the worker of model {name!r} died on this item: {how}")
                )
        self._queue.put_back(request for request in lost if not request.alone)
        with self._lock:
            self._crashes += 1
            self._ready -= 1
            self._resting = self._resting or self._crashes >= CRASHES_TO_QUARANTINE
        if self._resting:
            self._quarantine(
                f"its worker died {self._crashes} times in a row: {how}; the next try is "
                f"{self._rest:g} s later"
            )
        elif self._ready == 0:
            self._standing = (ModelState.RESTARTING, how)

    def _complete(self, in_flight: InFlight, header: dict[str, Any], parts: list[bytes]) -> None:
        conf = self.folder.conf
        try:
            requests = in_flight.complete(header["batch"])
            self._queue.wake()
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"an answer to no batch: {header}") from error
        try:
            answers = read_answers(header, parts, len(requests), conf)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            for request in requests:
                request.future.set_exception(
                    ModelFailed(f"model {conf.name!r} gave no proper answer: {error}")
                )
            raise ProtocolError(f"no proper answer: {error}") from error
        run = sum(not isinstance(answer, UndecodableInput) for answer in answers)
        with self._lock:
            self._items_run += run
            self._batches_run += run > 0
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Embedding):
                self._crashes = 0
                request.future.set_result(answer)
            else:
                request.future.set_exception(answer)

    def _came_up(self) -> None:
        with self._lock:
            self._ready += 1
            if not (self._given_up or self._resting):
                self._standing = (ModelState.READY, "")
            if self._ready == len(self._threads):
                self._started.set()

    def _give_up(self, reason: str) -> None:
        """A worker cannot be had: no other is tried."""
        with self._lock:
            self._given_up = True
        self._quarantine(reason)
        self._queue.wake()

    def _quarantine(self, reason: str) -> None:
        log.error("model %r is quarantined: %s", self.folder.conf.name, reason)
        self._queue.refuse(
            ModelUnavailable(f"model {self.folder.conf.name!r} is quarantined: {reason}")
        )
        self._standing = (ModelState.QUARANTINED, reason)
        self._started.set()
