"""Model: what the rest of the server knows of a model."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.inference.model_folder import ModelFolder, VectorsFolder
from euclidesdb_server.inference.run_measures import RunMeasures
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState


class Model(Protocol):
    """One version of a model. Thread-safe. `close` is idempotent."""

    @property
    def folder(self) -> ModelFolder | VectorsFolder:
        """What its folder says."""

    @property
    def state(self) -> tuple[ModelState, str]:
        """Its state, and the reason if it is not ready, or a warning if it is."""

    def wait_until_tried(self, timeout: float | None = None) -> bool:
        """Wait until each worker was ready, or failed to start for a reason that may pass, or the
        model is quarantined or closed; False if `timeout` passed first.
        """

    def wait_until_started(self, timeout: float | None = None) -> bool:
        """As `wait_until_tried`, and until one of the workers was ready."""

    def embed(self, payload: Payload, *, beyond_limit: bool = False) -> Future[Embedding]:
        """Queue an item. Canceling the future before the item is run saves the work.

        beyond_limit: queue it even if the queue is full, and take no place from other callers.

        Raises InvalidRequest for a kind of input that the model does not take, Overloaded,
        ModelUnavailable, ShuttingDown. The future raises UndecodableInput or ModelFailed.
        """

    @property
    def run_counts(self) -> tuple[int, int]:
        """The items that its program has run, and the batches that they came in."""

    @property
    def measures(self) -> RunMeasures:
        """Of its batches and workers."""

    @property
    def queue_length(self) -> int:
        """The number of items that wait for a worker."""

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The processes of its workers that are ready; models may share one."""

    def close(self, why: DatabaseError | None = None) -> None:
        """Answer the batches in flight, and fail the rest with `why`.

        None: the server stops.
        """
