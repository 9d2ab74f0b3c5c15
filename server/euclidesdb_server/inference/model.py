"""What the rest of the server knows of a model."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.inference.model_folder import ModelFolder, VectorsFolder
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState


class Model(Protocol):
    """One model folder being served. Thread-safe. `close` is idempotent."""

    @property
    def folder(self) -> ModelFolder | VectorsFolder:
        """What it is."""

    @property
    def state(self) -> tuple[ModelState, str]:
        """Where it stands, and why it is not ready."""

    def wait_until_started(self, timeout: float | None = None) -> bool:
        """Wait until it was ready once, or is quarantined; False if `timeout` passed."""

    def embed(self, payload: Payload) -> Future[Embedding]:
        """Queue an item. Canceling the future before its turn spares the work.

        Raises InvalidRequest for a kind of input that the model does not take, Overloaded,
        ModelUnavailable, ShuttingDown. The future raises UndecodableInput or ModelFailed.
        """

    @property
    def run_counts(self) -> tuple[int, int]:
        """Items that its program ran so far, and the batches that they came in."""

    def waiting(self) -> int:
        """Items that wait for their turn."""

    def close(self, why: DatabaseError | None = None) -> None:
        """Answer what is being worked on, refuse the rest with `why`; None: the server stops."""
