"""Folders with rows, and what builds segments of them in child processes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.vectors import save_vectors
from euclidesdb_server.index.segment_builder import COMMAND, BuildJob, Built, SegmentBuilder


class Place:
    """Where segments are built."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.cancelled = threading.Event()
        self.vectors = np.random.default_rng(0).standard_normal((3000, 32), np.float32)

    def folder(self) -> Path:
        """A new one, with the rows in it."""
        folder = self._root / f"segment-{len(list(self._root.iterdir()))}"
        folder.mkdir(parents=True)
        save_vectors(folder, self.vectors)
        return folder

    def build(
        self,
        engine: SearchEngine,
        folder: Path | None = None,
        *,
        command: Sequence[str] = COMMAND,
        **config: Any,
    ) -> Built:
        builder = SegmentBuilder(IndexConfig(**{"build_timeout": 100, **config}), command)
        job = BuildJob(folder or self.folder(), engine, threads=1)
        return builder.build(job, cancelled=self.cancelled)
