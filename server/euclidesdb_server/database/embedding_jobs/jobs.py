"""EmbeddingJobs: runs jobs in one thread, a step of each in turn.

So no more items than those of one step are with the models, however many jobs there are. A job that
cannot go on (its model is not in service, the disk is full) waits and says why, and the others go
on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.database.embedding_jobs.job import Job, JobStatus
from euclidesdb_server.database.embedding_jobs.job_call import JobCall
from euclidesdb_server.database.embedding_jobs.job_request import JobRequest
from euclidesdb_server.database.embedding_jobs.progress import JobOver
from euclidesdb_server.database.embedding_jobs.step import JobSteps
from euclidesdb_server.database.fields import ModelFields
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.errors import (
    DatabaseError,
    InvalidRequest,
    ShuttingDown,
    StorageError,
    UnknownJob,
)
from euclidesdb_server.store import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    FeatureStore,
    JobRecord,
)
from euclidesdb_server.system.thread_priority import lower_thread_priority
from euclidesdb_server.values.filters import All, Filter, OneOf, PredictionValue

SELECTED: Final = 1024
"""Items that are looked up at a time: those that still match are looked up again after them."""
RETRY_INTERVAL: Final = 1.0
"""Seconds after which a job that waits is tried again."""
MAX_RUNNING: Final = 100
MAX_KEPT: Final = 100
"""Jobs that are over are forgotten, the oldest first, when there are more."""
MAX_MESSAGE: Final = 1000

log = logging.getLogger(__name__)


class EmbeddingJobs:
    """Thread-safe. `close` is idempotent; what is not done then goes on at the next start.

    read_filter: what a caller's filter means now; may raise DatabaseError.
    """

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        table: ItemTable,
        steps: JobSteps,
        read_filter: Callable[[bytes], Filter],
    ) -> None:
        """Go on with the jobs that are not over."""
        self._store = store
        self._models = models
        self._fields = ModelFields(models)
        self._table = table
        self._steps = steps
        self._recover = steps.recover
        self._read_filter = read_filter
        self._condition = threading.Condition()
        self._jobs = {record.number: Job(record) for record in store.jobs.all()}
        self._found: dict[int, deque[tuple[str, int]]] = {}
        self._in_doubt: set[int] = set()
        self._closed = threading.Event()
        self._current: Job | None = None
        self._thread = threading.Thread(target=self._run, name="embedding-jobs", daemon=True)
        self._thread.start()

    def start(self, request: JobRequest) -> JobStatus:
        """Start a job; one that does the same and is not over is returned instead.

        When this returns, the job is on disk. Raises UnknownModel, ModelUnavailable,
        InvalidRequest, StorageError.
        """
        request.check()
        serving = self._models.resolve(request.model)
        if serving.model is None:
            raise self._models.refusal(request.model)
        if serving.model.folder.conf.input == "vector":
            raise InvalidRequest(f"model {request.model!r} takes vectors alone: it embeds nothing")
        space = serving.writable_space().record
        if request.condition:
            self._read_filter(request.condition)
        states = tuple(sorted({str(state) for state in request.states}))
        with self._condition:
            for job in self._jobs.values():
                same = (job.record.space, job.record.condition, job.record.states)
                if not job.is_over and same == (space.number, request.condition, states):
                    return job.status
            running = sum(not job.is_over for job in self._jobs.values())
            if running >= MAX_RUNNING:
                raise InvalidRequest(f"{running} jobs are running; cancel some of them first")
            record = JobRecord(
                max(self._jobs, default=0) + 1,
                space.model,
                space.fingerprint,
                space.number,
                request.condition,
                states,
                self._store.labels.last(),
                time.time_ns() // 1_000_000,
            )
            over = [number for number, job in self._jobs.items() if job.is_over]
            forgotten = over[: max(0, len(over) - MAX_KEPT + 1)]
            self._recover()
            self._store.jobs.write(record, forget=forgotten)
            for number in forgotten:
                del self._jobs[number]
            job = self._jobs[record.number] = Job(record)
            self._condition.notify_all()
        return job.status

    def get(self, number: int) -> JobStatus:
        """A job. Raises UnknownJob."""
        return self._job(number).status

    def all(self) -> list[JobStatus]:
        """All jobs, the newest first."""
        with self._condition:
            return [job.status for _, job in sorted(self._jobs.items(), reverse=True)]

    def cancel(self, number: int) -> JobStatus:
        """End a job; what it has made stays. One that is over stays as it is.

        When this returns, it makes nothing more. Raises UnknownJob, StorageError.
        """
        job = self._job(number)
        self._recover()
        self._end(job, CANCELLED)
        job.call.end()
        return job.status

    def close(self) -> None:
        """Give up the step that runs; nothing of it is written."""
        self._closed.set()
        with self._condition:
            self._condition.notify_all()
            current = self._current
        if current is not None:
            current.call.end()
        self._thread.join()

    def _job(self, number: int) -> Job:
        with self._condition:
            job = self._jobs.get(number)
        if job is None:
            raise UnknownJob(f"no job {number}")
        return job

    def _run(self) -> None:
        lower_thread_priority()
        while not self._closed.is_set():
            moved = False
            for job in self._running():
                if self._closed.is_set():
                    return
                moved |= self._advance(job)
            with self._condition:
                if not moved and not self._closed.is_set():
                    waits = any(not job.is_over for job in self._jobs.values())
                    self._condition.wait(RETRY_INTERVAL if waits else None)

    def _running(self) -> Iterator[Job]:
        with self._condition:
            jobs = [job for job in self._jobs.values() if not job.is_over]
        yield from jobs

    def _advance(self, job: Job) -> bool:
        """Make a step of a job; False if it has to wait."""
        with self._condition:
            self._current = job
            job.call = JobCall()
        if self._closed.is_set() or job.is_over:
            return False
        try:
            self._step(job)
        except JobOver:
            return True
        except DatabaseError as error:
            if isinstance(error, StorageError):
                self._in_doubt.add(job.record.number)
            self._found.pop(job.record.number, None)
            if not (job.is_over or self._closed.is_set()) and job.waiting != str(error):
                job.waiting = str(error)[:MAX_MESSAGE]
                log.info("embedding job %d waits: %s", job.record.number, error)
            return False
        except Exception as error:  # of this job alone: the others go on
            log.exception("embedding job %d has failed", job.record.number)
            self._fail(job, f"internal error: {type(error).__name__}")
            return False
        job.waiting = ""
        return True

    def _fail(self, job: Job, message: str) -> None:
        try:
            self._end(job, FAILED, message)
        except DatabaseError as error:
            job.waiting = str(error)

    def _end(self, job: Job, state: str, message: str = "") -> None:
        with job.lock:
            if not job.is_over:
                record = job.ended(state, message)
                try:
                    self._store.jobs.write(record)
                except StorageError:
                    self._in_doubt.add(record.number)
                    raise
                job.record = record
        self._found.pop(job.record.number, None)
        with self._condition:
            self._condition.notify_all()

    def _step(self, job: Job) -> None:
        """Raises JobOver, DatabaseError."""
        self._refresh(job)
        record = job.record
        if self._store.space_table.is_dropped(record.space):
            self._end(job, FAILED, f"version {record.fingerprint!r} has been dropped")
            return
        found = self._found.get(record.number)
        if not found:
            found = self._found[record.number] = deque(self._next(job))
        if not found:
            self._end(job, SUCCEEDED)
            return
        started = time.monotonic()
        ids, labels = zip(*found, strict=True)
        count = self._steps.make(job, ids, labels)
        for _ in range(count):
            found.popleft()
        if job.remaining is not None:
            job.remaining = max(0, job.remaining - count)
        job.note_rate(count, time.monotonic() - started)

    def _refresh(self, job: Job) -> None:
        """After a write that may have failed: what is stored counts."""
        if job.record.number not in self._in_doubt:
            return
        self._recover()
        with job.lock:
            job.record = self._store.jobs.get(job.record.number) or job.record
        self._in_doubt.discard(job.record.number)
        if job.is_over:
            raise JobOver

    def _next(self, job: Job) -> list[tuple[str, int]]:
        """The next items, with their first labels, ascending."""
        record = job.record
        self._steps.serving(record)
        field = self._fields.prediction(record.model, PredictionValue.STATE)
        if field is None:
            raise self._models.refusal(record.model)
        condition: Filter = OneOf(field, record.states)
        if record.condition:
            condition = All((self._read_filter(record.condition), condition))
        selection = self._table.view(self._check_open).select(condition, self._check_open)
        added = selection.added
        numbers = np.flatnonzero((added > record.position) & (added <= record.up_to))
        job.remaining = len(numbers)
        if len(numbers) > SELECTED:
            numbers = numbers[np.argpartition(added[numbers], SELECTED)[:SELECTED]]
        numbers = numbers[np.argsort(added[numbers])]
        return [*zip(selection.ids(numbers), added[numbers].tolist(), strict=True)]

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ShuttingDown("the server is stopping")
