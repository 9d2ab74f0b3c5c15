"""SegmentBuilder: builds segments in child processes, so that no vector can harm the server.

Engines that compute nothing from the rows have nothing to build: their segment is the file of
vectors, and its checksum is computed here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.engines.engine_reference import reference
from euclidesdb_server.engines.protocol import SearchEngine, needs_build
from euclidesdb_server.engines.vectors import read_shape
from euclidesdb_server.errors import ShuttingDown, StorageError
from euclidesdb_server.system.child_process import python_command
from euclidesdb_server.system.file_sums import FileSum, file_sum
from euclidesdb_server.system.fsync import sync
from euclidesdb_server.system.job_process import JobCancelled, JobProcess, Outcome
from euclidesdb_server.system.measures import LONG_SECONDS, Counter, Distribution

COMMAND: Final = python_command("euclidesdb_server.builder")


class BuildFailed(Exception):
    """A segment could not be built. The message says why, for people."""


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What to build.

    folder: holds the rows as `engines/vectors.py` describes, scaled to unit length if the metric
        normalizes. The segment's files are written there.
    threads: how many the build may use.
    """

    folder: Path
    engine: SearchEngine
    threads: int


@dataclass(frozen=True, slots=True)
class Built:
    """A segment on disk. files: all that are in its folder, by name."""

    files: Mapping[str, FileSum]
    description: str


class SegmentBuilder:
    """Builds segments. Several may be built at once, from different threads.

    running: builds now. built, failed: those that have ended; not those that were cancelled.
    built_in: seconds of those that were built.
    """

    def __init__(self, config: IndexConfig, command: Sequence[str] = COMMAND) -> None:
        """command: of the child process."""
        self._config = config
        self._child = JobProcess(command)
        self.running, self.built, self.failed = Counter(), Counter(), Counter()
        self.built_in = Distribution(LONG_SECONDS)

    def build(self, job: BuildJob, *, cancelled: threading.Event) -> Built:
        """Build a segment, sync its files, and prove that it can be loaded and searched.

        The child process ends at once when `cancelled` is set, or the calling thread ends.

        Raises BuildFailed, also if the child crashed or hung; ShuttingDown if `cancelled` is set.
        What is in the folder is of no use then, and the caller's to delete.
        """
        begun = time.monotonic()
        self.running.add()
        try:
            built = self._build(job, cancelled)
        except BuildFailed:
            self.failed.add()
            raise
        finally:
            self.running.add(-1)
        self.built.add()
        self.built_in.add(time.monotonic() - begun)
        return built

    def _build(self, job: BuildJob, cancelled: threading.Event) -> Built:
        try:
            if not needs_build(job.engine):
                return _as_it_is(job, cancelled)
            rows, dim = read_shape(job.folder)
            outcome = self._child.run(
                {
                    "folder": str(job.folder),
                    "engine": reference(job.engine),
                    "threads": job.threads,
                    "memory_mib": self._config.build_memory_mib,
                },
                threads=job.threads,
                timeout=self._config.build_seconds(rows, dim),
                cancelled=cancelled,
            )
        except JobCancelled as error:
            raise ShuttingDown("the server is stopping") from error
        except (OSError, StorageError) as error:
            raise BuildFailed(str(error)) from error
        built = self._built(outcome)
        _check_files(job.folder, built.files)
        return built

    def _built(self, outcome: Outcome) -> Built:
        result = outcome.results[0] if outcome.results else None
        if isinstance(result, dict) and "failed" in result:
            raise BuildFailed(str(result["failed"]))
        if outcome.failure is not None:
            limit = self._config.build_memory_mib
            limited = f" (its memory was limited to {limit} MiB)" if limit else ""
            raise BuildFailed(f"the build process failed: {outcome.failure}{limited}")
        try:
            files: Any = result["files"]  # type: ignore[index]  # TypeError is handled
            sums = {str(name): FileSum(int(size), int(crc)) for name, (size, crc) in files.items()}
            return Built(sums, str(result["description"]))  # type: ignore[index]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BuildFailed(
                f"the build process answered {json.dumps(result)[:200]}, which is not a segment"
            ) from error


def _as_it_is(job: BuildJob, cancelled: threading.Event) -> Built:
    """The segment of an engine that builds nothing."""
    description = job.engine.load(job.folder).description
    files = {}
    for file in sorted(job.folder.iterdir()):
        if cancelled.is_set():
            raise JobCancelled
        sync(file)
        files[file.name] = file_sum(file)
    sync(job.folder)
    return Built(files, description)


def _check_files(folder: Path, files: Mapping[str, FileSum]) -> None:
    """Raise BuildFailed unless the files are those in the folder, by name and size."""
    try:
        there = {file.name: file.stat().st_size for file in folder.iterdir()}
    except OSError as error:
        raise BuildFailed(str(error)) from error
    reported = {name: each.size for name, each in files.items()}
    if there != reported:
        raise BuildFailed(f"the build process reported the files {reported}, but left {there}")
