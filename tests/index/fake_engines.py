"""An engine double: exact search whose builds a test can hold, fail and count."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from euclidesdb_server.engines import Segment
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.metric import Metric

TIMEOUT = 30.0
"""Seconds after which a test that waits for a build has failed."""


class _Unsavable:
    """A segment whose files cannot be written to the end."""

    def __init__(self, segment: Segment, failure: Exception) -> None:
        self._segment = segment
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segment, name)

    def save(self, folder: Path) -> None:
        self._segment.save(folder)
        raise self._failure


class GatedEngine:
    """`ExactEngine`, but `build` waits for the gate, which is open at first.

    builds: how many were begun. failure: what `build` raises instead of building.
    save_failure: what saving raises, half done. A build of no rows does none of this: a space
    makes one when it is opened, as a check.
    """

    name = "gated"

    def __init__(self, metric: Any = "l2", **options: Any) -> None:
        self._exact = ExactEngine(ExactOptions(metric=metric))
        self._options = options
        self._gate = threading.Event()
        self._gate.set()
        self._begun = threading.Semaphore(0)
        self.builds = 0
        self.failure: Exception | None = None
        self.save_failure: Exception | None = None

    @property
    def metric(self) -> Metric:
        return self._exact.metric

    @property
    def build_options(self) -> Mapping[str, Any]:
        return self._options

    def build(self, vectors: Matrix, *, threads: int = 1) -> Segment:  # noqa: ARG002
        if len(vectors) == 0:
            return self._exact.build(vectors)
        self.builds += 1
        self._begun.release()
        assert self._gate.wait(TIMEOUT), "the test never opened the gate"
        if self.failure is not None:
            raise self.failure
        built = self._exact.build(vectors)
        return built if self.save_failure is None else _Unsavable(built, self.save_failure)

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
