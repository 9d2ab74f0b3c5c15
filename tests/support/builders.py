"""A builder double that starts no process."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.engines.vectors import load_vectors
from euclidesdb_server.index.segment_builder import BuildJob, Built, SegmentBuilder
from euclidesdb_server.system.file_sums import file_sum


class InProcessBuilder(SegmentBuilder):
    """Builds in the calling thread, so that a test can hold the engine in its hands."""

    def __init__(self) -> None:
        super().__init__(IndexConfig())

    def build(self, job: BuildJob, *, cancelled: threading.Event) -> Built:
        engine: Any = job.engine
        if hasattr(engine, "cancelled"):  # a double that can be held
            engine.cancelled = cancelled
        segment = engine.build(np.array(load_vectors(job.folder)), threads=job.threads)
        segment.save(job.folder)
        files = {file.name: file_sum(file) for file in sorted(job.folder.iterdir())}
        return Built(files, engine.load(job.folder).description)
