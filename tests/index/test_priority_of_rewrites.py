"""The server's own part of a rewrite runs at normal priority; only build processes lower theirs.

LevelDB starts its thread in the first write that makes it work in the background. If a rewrite
made that write at low priority, the thread would inherit it, and adds would wait for it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.engines import Segment
from euclidesdb_server.index import Compactor
from euclidesdb_server.values.arrays import Matrix
from tests.index.fake_engines import TIMEOUT, GatedEngine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it per thread")


def own_priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class NosyEngine(GatedEngine):
    """Notes the priority and the number of threads that a build is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: tuple[int, int] | None = None

    def build(self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None) -> Segment:
        self.given = (own_priority(), threads)
        return super().build(vectors, folder=folder)


def test_a_rewrite_keeps_the_priority_of_the_server_and_builds_with_the_threads_configured(place):
    place.engine = NosyEngine()
    place.reopen()
    place.space = place.opened(place.space.record, build_threads=3)
    compactor = Compactor(IndexConfig())
    place.add("a", *np.ones(2))
    compactor.request(place.space)
    assert compactor.wait_idle(TIMEOUT)
    compactor.close()
    assert place.engine.given == (own_priority(), 3)
