"""ServedModel: a model with a program, kept running by a seat for each of its workers.

Requests meet in a bounded queue, go to the workers in batches, and come back as embeddings. A
model that has no worker for long refuses requests with the reason; its space can still be searched
by vector and by id.
"""

from __future__ import annotations

from concurrent.futures import Future

from euclidesdb_server.errors import DatabaseError, InvalidRequest, ShuttingDown
from euclidesdb_server.inference.model_folder import ModelFolder
from euclidesdb_server.inference.model_health import ModelHealth
from euclidesdb_server.inference.poisonous_items import PoisonousItems
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.restarts import PAUSES, Pauses
from euclidesdb_server.inference.run_measures import RunMeasures
from euclidesdb_server.inference.worker_seat import StartWorker, WorkerSeat
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState


class ServedModel:
    """A `Model` with a program, run by a worker for each of the seats of its conf."""

    def __init__(
        self,
        folder: ModelFolder,
        start: StartWorker,
        *,
        pauses: Pauses = PAUSES,
    ) -> None:
        """Begin to load the model. pauses: before a worker is started again."""
        self.folder = folder
        conf = folder.conf
        self._queue: RequestQueue[Payload, Embedding] = RequestQueue(
            f"model {conf.name!r}", conf.max_queue, conf.item_cost
        )
        self.measures = RunMeasures()
        self._poisonous = PoisonousItems()
        self._health = ModelHealth(conf.name, self._queue, workers=len(conf.seats))
        self._seats = [
            WorkerSeat(
                conf,
                number,
                start,
                self._queue,
                self._health,
                poisonous=self._poisonous,
                pauses=pauses,
                measures=self.measures,
            )
            for number in range(len(conf.seats))
        ]

    @property
    def state(self) -> tuple[ModelState, str]:
        """As `Model.state`."""
        return self._health.state

    def wait_until_tried(self, timeout: float | None = None) -> bool:
        """As `Model.wait_until_tried`."""
        return self._health.tried.wait(timeout)

    def wait_until_started(self, timeout: float | None = None) -> bool:
        """As `Model.wait_until_started`."""
        return self._health.started.wait(timeout)

    def embed(self, payload: Payload, *, beyond_limit: bool = False) -> Future[Embedding]:
        """As `Model.embed`."""
        conf = self.folder.conf
        if payload.kind != conf.input:
            raise InvalidRequest(f"model {conf.name!r} takes {conf.input!r}, not {payload.kind!r}")
        error = self._poisonous.error(payload)
        if error is not None:
            refused: Future[Embedding] = Future()
            refused.set_exception(error)
            return refused
        return self._queue.put(payload, beyond_limit=beyond_limit)

    @property
    def run_counts(self) -> tuple[int, int]:
        """As `Model.run_counts`."""
        counts = [seat.run_counts for seat in self._seats]
        return sum(items for items, _ in counts), sum(batches for _, batches in counts)

    @property
    def queue_length(self) -> int:
        """As `Model.queue_length`."""
        return len(self._queue)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """As `Model.worker_pids`."""
        return tuple(seat.pid for seat in self._seats if seat.pid is not None)

    def close(self, why: DatabaseError | None = None) -> None:
        """As `Model.close`; ends the workers."""
        why = why or ShuttingDown("the server is stopping")
        self._health.stop()
        self._queue.refuse(why)
        for seat in self._seats:
            seat.join()
        self._health.tried.set()
        self._health.started.set()
