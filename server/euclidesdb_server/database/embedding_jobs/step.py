"""One step of a job: some items are read, run through the model, and written with the progress."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from euclidesdb_server.database.embedder import Embedder, EmbedTask
from euclidesdb_server.database.embedding_jobs.job import Job
from euclidesdb_server.database.embedding_jobs.job_call import JobCall
from euclidesdb_server.database.embedding_jobs.pace import STEP_SECONDS, Pace
from euclidesdb_server.database.embedding_jobs.progress import Progress
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.prepared_adds import failure_of
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.steps import Steps, Wait
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.database.writer import Writer
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    DeadlineExceeded,
    FailureReason,
    ModelFailed,
    ModelUnavailable,
    UndecodableInput,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore, JobRecord
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.payload import Payload

MAX_BYTES: Final = 16 << 20
"""Of their payloads; an item that is larger is a step of its own."""
ATTEMPTS: Final = 3
"""For an item that is written while it is with the model."""

NO_PAYLOAD: Final = "no_payload"
OTHER_INPUT: Final = "other_input"
UNREADABLE: Final = "corrupt_record"
"""Why an item is skipped: docs/api.md describes the reasons."""

POLL_INTERVAL: Final = 0.2
"""Seconds between checks whether a job whose model works on its items has been ended."""

Output: TypeAlias = Embedding | Failure
T = TypeVar("T")


@dataclass(slots=True)
class _Work:
    """Items to run, in the order of their first labels. position: that of the last one of the step.
    count: how many the step deals with. skipped: how many of them are left out, by reason.
    """

    ids: list[str] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    position: int = 0
    count: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    _before: list[tuple[int, int, Counter[str]]] = field(default_factory=list)
    """The position, the count and what was skipped before each item to run."""

    def add(self, item_id: str, payload: Payload) -> None:
        """An item to run, at the end; `move` passes it."""
        self._before.append((self.position, self.count, self.skipped.copy()))
        self.ids.append(item_id)
        self.payloads.append(payload)

    def move(self, position: int) -> None:
        """Go past the item that is there: it is to be run, or left out."""
        self.position = position
        self.count += 1

    def cut(self, runs: int) -> None:
        """Deal with no more than so many of the items to run, and what is before the next one."""
        if runs < len(self.ids):
            self.position, self.count, self.skipped = self._before[runs]
            del self.ids[runs:], self.payloads[runs:]


class JobSteps:
    """Makes steps; for one thread. Raises what keeps a job from going on (`DatabaseError`)."""

    def __init__(
        self, store: FeatureStore, models: ModelTable, embedder: Embedder, writer: Writer
    ) -> None:
        self._store = store
        self._models = models
        self._embedder = embedder
        self._writer = writer
        self._paces: dict[str, Pace] = {}
        self.recover = writer.recover

    def serving(self, record: JobRecord) -> Serving:
        """The version that a job runs, to be used in `ModelTable.lease`.

        Raises UnknownModel, ModelUnavailable if it is not in service.
        """
        serving = self._models.resolve(record.model)
        current = serving.record
        if serving.model is None:
            raise self._models.refusal(record.model)
        if current is None or current.number != record.space:
            version = "another one" if current is None else repr(current.fingerprint)
            raise ModelUnavailable(
                f"version {record.fingerprint!r} of model {record.model!r} is not in service, but "
                f"{version} is"
            )
        return serving

    def make(self, job: Job, ids: Sequence[str], labels: Sequence[int]) -> int:
        """Deal with the next items of a job, or some of them; returns how many.

        labels: their first ones, ascending.
        """
        record = job.record
        with self._models.lease([record.model]) as leased:
            leased.get(record.model)
            serving = self.serving(record)
            limit = self._pace(serving).step_size
            work = _Work(position=record.position)
            size = 0
            for item_id, label in zip(ids, labels, strict=True):
                payload = self._payload(serving, item_id, work.skipped)
                if payload is not None:
                    size += len(payload.data)
                    if len(work.ids) == limit or (work.ids and size > MAX_BYTES):
                        break
                    work.add(item_id, payload)
                work.move(label)
            self._run(job, serving, work)
            return work.count

    def _payload(self, serving: Serving, item_id: str, skipped: Counter[str]) -> Payload | None:
        """The payload of an item; None if it has no part in the job."""
        space = serving.writable_space().record.number
        try:
            with self._store.snapshot() as reader:
                found = reader.item(item_id)
                if found is None or space in found.labels:
                    return None  # it was removed or embedded meanwhile
                label = found.payload_label
                payload = None if label is None else reader.payload(label)
        except CorruptRecord:
            skipped[UNREADABLE] += 1
            return None
        conf = None if serving.model is None else serving.model.folder.conf
        if payload is None:
            skipped[NO_PAYLOAD] += 1
        elif conf is not None and payload.kind == conf.input:
            return payload
        else:
            skipped[OTHER_INPUT] += 1
        return None

    def _run(self, job: Job, serving: Serving, work: _Work) -> None:
        """Run the items, and write the outcomes; those that change meanwhile again."""
        space = serving.writable_space()
        for attempt in range(1, ATTEMPTS + 1):
            outputs = self._outputs(job, serving, work.payloads, may_end=attempt == 1)
            work.cut(len(outputs))
            progress = Progress(job, work.position, work.skipped, may_change=attempt < ATTEMPTS)
            if not work.ids:
                with progress.record() as record:
                    self._store.jobs.write(record)
                return
            made = zip(work.ids, work.payloads, outputs, strict=True)
            items = [_item(space, *each) for each in made]
            self._writer.write_unchanged(items, progress)
            if not progress.changed or attempt == ATTEMPTS:
                return
            ids, work.ids, work.payloads = progress.changed, [], []
            for item_id in ids:
                if (payload := self._payload(serving, item_id, work.skipped)) is not None:
                    work.ids.append(item_id)
                    work.payloads.append(payload)

    def _outputs(
        self, job: Job, serving: Serving, payloads: Sequence[Payload], *, may_end: bool
    ) -> list[Output]:
        """What the model makes of each payload, or of the first ones: if the step `may_end`, what
        it has made after STEP_SECONDS is written, though callers keep the model busy. Raises what
        may pass.
        """
        pace = self._pace(serving)
        outputs: list[Output] = []
        end = time.monotonic() + STEP_SECONDS
        while len(outputs) < len(payloads):
            if outputs and may_end and time.monotonic() >= end:
                break
            job.call.rest(pace.rest)
            chunk = payloads[len(outputs) :][: pace.next_chunk()]
            begun = time.monotonic()
            outputs += self._chunk(job, serving, chunk)
            pace.note(len(chunk), time.monotonic() - begun)
        return outputs

    def _chunk(self, job: Job, serving: Serving, payloads: Sequence[Payload]) -> list[Output]:
        # They are few: a queue that callers keep full must not keep them out.
        tasks = [EmbedTask(payload, [serving], beyond_limit=True) for payload in payloads]
        outputs: list[Output] = []
        for outcome in _finished(self._embedder.embed_many(tasks, job.call), job.call):
            if isinstance(outcome, UndecodableInput):
                outputs.append(Failure.now(FailureReason.UNDECODABLE.value, str(outcome)))
            elif isinstance(outcome, DatabaseError):
                raise outcome
            else:
                (output,) = outcome
                outputs.append(failure_of(output) if isinstance(output, ModelFailed) else output)
        return outputs

    def _pace(self, serving: Serving) -> Pace:
        if serving.model is None:
            raise self._models.refusal(serving.name)
        pace = self._paces.get(serving.name)
        if pace is None or pace.model is not serving.model:
            pace = self._paces[serving.name] = Pace(serving.model)
        return pace


def _finished(steps: Steps[T], call: JobCall) -> T:
    """The result of steps. Raises DeadlineExceeded soon after the call is ended."""
    while True:
        try:
            awaited: Wait = steps.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        while not awaited.future.done():
            if not call.is_active():  # a model that hangs must not keep the server from stopping
                steps.close()
                raise DeadlineExceeded("the job was ended")
            wait([awaited.future], POLL_INTERVAL)


def _item(space: ModelSpace, item_id: str, payload: Payload, output: Output) -> EmbeddedItem:
    """What is written of an item, if its payload is still the same."""
    if isinstance(output, Failure):
        return EmbeddedItem(item_id, {}, payload_digest=payload.digest, failures={space: output})
    return EmbeddedItem(item_id, {space: output}, payload_digest=payload.digest)
