"""ReadyMadeVectors: a model without a program; clients send the vectors."""

from __future__ import annotations

from concurrent.futures import Future

from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.inference.model_folder import VectorsFolder
from euclidesdb_server.inference.run_measures import RunMeasures
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState


class ReadyMadeVectors:
    """A `Model` without a program, and so without a worker. Always ready."""

    state = (ModelState.READY, "")
    run_counts = (0, 0)
    queue_length = 0
    worker_pids = ()

    def __init__(self, folder: VectorsFolder) -> None:
        self.folder = folder
        self.measures = RunMeasures()

    def wait_until_tried(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        """True: there is nothing to start."""
        return True

    def wait_until_started(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        """True: there is nothing to start."""
        return True

    def embed(
        self,
        payload: Payload,
        *,
        beyond_limit: bool = False,  # noqa: ARG002
    ) -> Future[Embedding]:
        """Raises InvalidRequest: there is no program to run."""
        raise InvalidRequest(
            f"model {self.folder.conf.name!r} takes ready-made vectors, not {payload.kind!r}"
        )

    def close(self, why: DatabaseError | None = None) -> None:
        """Does nothing: there is no worker to end."""
