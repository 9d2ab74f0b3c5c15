"""An engine double: exact search whose builds a test can hold, fail and count."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from euclidesdb_server.engines import Segment
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.errors import ShuttingDown
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.metric import Metric

TIMEOUT = 30.0
"""Seconds after which a test that waits for a build has failed."""


@dataclass(frozen=True, slots=True)
class GatedOptions:
    """trees: changes nothing but the identity of a segment."""

    metric: Literal["l2", "cosine", "inner_product"] = "l2"
    trees: int = 0


class GatedEngine:
    """`ExactEngine`, but `build` waits for the gate, which is open at first.

    builds: how many were begun. failure: what `build` raises instead of building.
    """

    name = "gated"
    Options = GatedOptions

    def __init__(self, options: GatedOptions | None = None) -> None:
        self.options = options or GatedOptions()
        self._exact = ExactEngine(ExactOptions(metric=self.options.metric))
        self.cancelled = threading.Event()
        self._gate = threading.Event()
        self._gate.set()
        self._begun = threading.Semaphore(0)
        self.builds = 0
        self.failure: Exception | None = None

    @property
    def metric(self) -> Metric:
        return self._exact.metric

    @property
    def build_options(self) -> Mapping[str, Any]:
        return {"trees": self.options.trees}

    def build(self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None) -> Segment:  # noqa: ARG002
        self.builds += 1
        self._begun.release()
        deadline = time.monotonic() + TIMEOUT
        while not self._gate.wait(0.01):
            if self.cancelled.is_set():
                raise ShuttingDown("cancelled")
            assert time.monotonic() < deadline, "the test never opened the gate"
        if self.failure is not None:
            raise self.failure
        return self._exact.build(vectors)

    def load(self, folder: Path) -> Segment:
        return self._exact.load(folder)

    def hold(self) -> None:
        """Keep every build from finishing until `release`."""
        while self._begun.acquire(blocking=False):
            pass
        self._gate.clear()

    def wait_for_build(self) -> None:
        """Wait until a build has begun since `hold`: its rows are taken by then."""
        assert self._begun.acquire(timeout=TIMEOUT), "no build was begun"

    def release(self) -> None:
        """Let builds finish."""
        self._gate.set()
