"""Embedder: runs models on payloads, many at a time."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final, TypeAlias

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Call
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import DatabaseError, DeadlineExceeded, ModelFailed, Overloaded
from euclidesdb_server.inference import EmbeddingCache, Model, RunFuture
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

MAX_PENDING: Final = 128
"""Payloads of one call that are with the models at a time: enough for one full batch behind
another, and few enough that a call with thousands leaves room in the queue for others."""

Embeddings: TypeAlias = tuple[Embedding, ...]
Outputs: TypeAlias = tuple[Embedding | ModelFailed, ...]
"""Of the models of a task, in their order: an embedding, or how the model failed on the payload."""


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """A payload, and the models to run on it.

    beyond_limit: it is queued even if the queue of a model is full (`Model.embed`).
    """

    payload: Payload
    servings: Sequence[Serving]
    beyond_limit: bool = False


class Embedder:
    """Runs payloads through models. Thread-safe.

    The caller holds a lease on each serving (`ModelTable.lease`). cache: None: no outputs are kept.
    """

    def __init__(self, models: ModelTable, cache: EmbeddingCache | None = None) -> None:
        self._models = models
        self._cache = cache

    async def embed_many(
        self, tasks: Sequence[EmbedTask], call: Call
    ) -> list[Outputs | DatabaseError]:
        """Run each task; its outcome has the output of each of its servings, in their order.

        Or the outcome is an error that says nothing of the payload's features: UnknownModel,
        InvalidRequest (another kind of input), UndecodableInput, ModelUnavailable, Overloaded, or
        DeadlineExceeded after the caller's deadline or cancellation.
        """
        outcomes: list[Outputs | DatabaseError] = []
        pending: deque[_Pending] = deque()
        try:
            for task in tasks:
                if len(pending) == MAX_PENDING:
                    outcomes.append(await pending.popleft().outcome(call))
                begun = self._begin(task, call)
                while isinstance(begun.error, Overloaded) and pending:
                    # The queue may be full of this very call: it moves on as items complete.
                    outcomes.append(await pending.popleft().outcome(call))
                    begun = self._begin(task, call)
                pending.append(begun)
            outcomes += [await each.outcome(call) for each in pending]
        finally:
            for each in pending:
                each.cancel()
        return outcomes

    def _begin(self, task: EmbedTask, call: Call) -> _Pending:
        """Hand a payload to each of its models."""
        begun = _Pending()
        try:
            for serving in task.servings:
                if serving.model is None:
                    raise self._models.refusal(serving.name)
            for serving in task.servings:
                if serving.model is not None:
                    future = self._embed(serving.model, task)
                    begun.futures[serving.name] = future
                    call.on_done(future.cancel)
        except DatabaseError as error:
            begun.cancel()
            begun.error = error
        return begun

    def _embed(self, model: Model, task: EmbedTask) -> Future[Embedding]:
        conf, payload = model.folder.conf, task.payload
        run = functools.partial(model.embed, payload, beyond_limit=task.beyond_limit)
        if self._cache is None or payload.kind != conf.input:
            return run()
        # A fingerprint may be a name that the user gave, to more than one model.
        version = (conf.name, model.folder.fingerprint, conf.feature_dim, conf.prediction_dim)
        key = (version, payload.digest)
        return self._cache.embed(key, model, run)


def all_made(outcome: Outputs | DatabaseError) -> Embeddings | DatabaseError:
    """The embeddings of all models; the first failure if there is one."""
    if isinstance(outcome, DatabaseError):
        return outcome
    made: list[Embedding] = []
    for output in outcome:
        if isinstance(output, ModelFailed):
            return output
        made.append(output)
    return tuple(made)


def _note(future: Future[Embedding], call: Call) -> None:
    """Note how long an item waited and was run, unless it came from the cache."""
    if isinstance(future, RunFuture) and future.times is not None:
        arrived, taken, done = future.times
        call.note("queue", arrived, taken)
        call.note("inference", taken, done)


class _Pending:
    """A payload that is with its models."""

    __slots__ = ("error", "futures")

    def __init__(self) -> None:
        self.futures: dict[str, Future[Embedding]] = {}
        self.error: DatabaseError | None = None

    async def outcome(self, call: Call) -> Outputs | DatabaseError:
        """Wait for all the models; the first error if one has no answer."""
        if self.error is not None:
            return self.error
        try:
            made: list[Embedding | ModelFailed] = []
            for future in self.futures.values():
                await Wait(future, call.time_remaining())
                try:
                    made.append(future.result(timeout=0))
                except ModelFailed as error:
                    made.append(error)
                else:
                    _note(future, call)
            return tuple(made)
        except (TimeoutError, CancelledError):
            return DeadlineExceeded(f"{', '.join(self.futures)} did not embed the item in time")
        except DatabaseError as error:
            return error
        finally:
            self.cancel()  # spares the other models the work if one has no answer

    def cancel(self) -> None:
        """Give up what has not been run."""
        for future in self.futures.values():
            future.cancel()
