"""RunMeasures: what is measured of the batches and the workers of one model."""

from __future__ import annotations

from euclidesdb_server.system.measures import SECONDS, SIZES, Counter, Distribution


class RunMeasures:
    """Thread-safe.

    batch_sizes: items of a batch. queue_seconds: of an item, from its arrival until it was given to
    a worker. run_seconds: of a batch, from then until its results were there: decoding, the forward
    pass, and the wait for the batch before. worker_restarts: workers that became ready in
    the place of others.
    """

    def __init__(self) -> None:
        self.batch_sizes = Distribution(SIZES)
        self.queue_seconds = Distribution(SECONDS)
        self.run_seconds = Distribution(SECONDS)
        self.worker_restarts = Counter()
