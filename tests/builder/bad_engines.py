"""Engines as another package may bring them: each fails in its own way where it is built."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from euclidesdb_server.engines import Segment
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.vectors import vectors_path
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import L2, Metric
from euclidesdb_server.values.row_mask import RowMask

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class BadOptions:
    """how: what goes wrong."""

    how: str = ""
    folder: Path = Path()
    names: tuple[str, ...] = ()


class BadSegment:
    """Exact search, if nothing goes wrong."""

    exact = True

    def __init__(self, segment: Segment, how: str) -> None:
        self._segment = segment
        self._how = how
        self.description = f"bad, at nice {os.getpriority(os.PRIO_PROCESS, 0)}"

    @property
    def vectors(self) -> Matrix:
        return self._segment.vectors

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        if self._how == "aborts in a search":
            os.abort()
        found, rows = self._segment.search(queries, k, allowed)
        if self._how == "answers too little":
            return found[:, :-1], rows[:, :-1]
        if self._how == "ignores masks":
            return self._segment.search(queries, k, None)
        if self._how == "finds rows that are not there":
            return found, rows + 1_000_000
        return found, rows

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        return self._segment.search_exactly(queries, k, allowed)

    def save(self, folder: Path) -> None:
        self._segment.save(folder)
        if self._how == "saves a truncated file":
            with vectors_path(folder).open("r+b") as file:
                file.truncate(5)


class BadEngine:
    """`ExactEngine`, but it goes wrong as its options say, and does not know `needs_build`."""

    name: ClassVar[str] = "bad"
    Options = BadOptions

    def __init__(self, options: BadOptions | None = None) -> None:
        self.options: Any = options or BadOptions()
        self._exact = ExactEngine(ExactOptions())

    @property
    def metric(self) -> Metric:
        return L2

    @property
    def build_options(self) -> dict[str, Any]:
        return {}

    def build(
        self,
        vectors: Matrix,
        *,
        threads: int = 1,
        folder: Path | None = None,
    ) -> BadSegment:
        assert folder is None or folder.is_dir()
        match self.options.how:
            case "aborts":
                sys.stderr.write("the library's last words\n")
                sys.stderr.flush()
                os.abort()
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raises":
                raise LookupError("no such tree")
            case "hangs":
                signal.pause()
            case "computes for ever":
                while True:
                    pass
            case "takes all memory":
                np.ones(1 << 40)
            case "takes 400 MiB":
                np.empty(400 << 20, np.uint8)
            case "prints":
                print('{"files": {}}', flush=True)
                os.write(2, b"x" * (1 << 20))
            case "leaves the process":
                os._exit(0)
        assert not self.options.names or self.options.names == ("a", "b"), self.options
        assert isinstance(self.options.folder, Path)
        return BadSegment(self._exact.build(vectors, threads=threads), self.options.how)

    def load(self, folder: Path) -> BadSegment:
        if self.options.how == "cannot load":
            raise ValueError("not a forest")
        return BadSegment(self._exact.load(folder), self.options.how)


def python_path() -> str:
    """A PYTHONPATH with which a child process finds this module."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
