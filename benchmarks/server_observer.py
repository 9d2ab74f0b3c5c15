"""Observes a server from outside: its memory, its build processes, and the files of its segments.

A thread looks every 50 ms, in /proc and in the folder of the segments, so it needs Linux. What
lives shorter may be missed: that matters for no file of a segment, which lives until it is merged.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

INTERVAL = 0.05
BUILDER = b"euclidesdb_server.builder"
UNFINISHED = ".tmp"
VECTORS = "vectors.f32"
GRAPH = "index.faiss"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in memory. private: without the pages of mapped files, which `resident` includes."""

    resident: int = 0
    private: int = 0

    def largest(self, other: Memory) -> Memory:
        """The larger one of each figure."""
        return Memory(max(self.resident, other.resident), max(self.private, other.private))


@dataclass(frozen=True, slots=True)
class Sample:
    """The memory of the server at one moment of `time.monotonic()`."""

    at: float
    memory: Memory


@dataclass(slots=True)
class Build:
    """A build process. segment: what it builds, or "" as long as that is not known."""

    pid: int
    segment: str = ""
    peak: Memory = Memory()


class ServerObserver:
    """Observes the server until it is closed; then its figures are complete.

    samples: in the order of time. builds: all build processes, also those that ended. file_sizes:
    the largest size of each file of each segment ever seen.
    """

    def __init__(self, pid: int, segments: Path) -> None:
        """segments: the folder that holds a folder of segments for each space."""
        self.samples: list[Sample] = []
        self.builds: list[Build] = []
        self.file_sizes: dict[tuple[str, str], int] = {}
        self._pid = pid
        self._folder = segments
        self._running: dict[int, Build] = {}
        self._finished: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start: float, stop: float) -> list[Sample]:
        """The samples of an interval of `time.monotonic()`."""
        return [sample for sample in self.samples if start <= sample.at <= stop]

    def size(self, segment: str, file: str) -> int:
        """The largest size of a file of a segment."""
        return self.file_sizes.get((segment, file), 0)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look_at_files()
            memory = memory_of(self._pid)
            if memory is not None:
                self.samples.append(Sample(time.monotonic(), memory))
            self._look_at_builds()

    def _look_at_files(self) -> None:
        """Note the sizes of the files of segments."""
        folders = set(self._folder.glob("*/*"))
        finished = {folder for folder in folders if folder.suffix != UNFINISHED}
        self._finished &= finished
        for folder in folders - self._finished:
            with suppress(OSError):  # it is renamed or deleted meanwhile
                for file in folder.iterdir():
                    key = segment_of(folder), file.name
                    size = file.stat().st_size
                    self.file_sizes[key] = max(self.file_sizes.get(key, 0), size)
                if folder in finished:
                    self._finished.add(folder)  # its files do not change any more

    def _look_at_builds(self) -> None:
        running = {}
        for pid in _builders(self._pid):
            build = self._running.get(pid)
            if build is None:
                build = Build(pid)
                self.builds.append(build)
            running[pid] = build
            if not build.segment:
                build.segment = _segment_mapped_by(pid)
            build.peak = build.peak.largest(memory_of(pid) or Memory())
        self._running = running


def segment_of(folder: Path) -> str:
    """SPACE/GENERATION, whether the segment is finished or not."""
    return f"{folder.parent.name}/{folder.stem}"


def memory_of(pid: int) -> Memory | None:
    """The memory of a process; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    figures = dict(line.split(":", 1) for line in lines)
    try:
        return Memory(*(int(figures[key].split()[0]) << 10 for key in ("VmRSS", "RssAnon")))
    except KeyError:  # a zombie
        return None


def _builders(server: int) -> list[int]:
    """The build processes of a server. Each is the child of one of its threads."""
    found = []
    for task in Path(f"/proc/{server}/task").glob("*/children"):
        with suppress(OSError):
            for pid in map(int, task.read_text().split()):
                with suppress(OSError):
                    if BUILDER in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(pid)
    return found


def _segment_mapped_by(pid: int) -> str:
    """The segment whose vectors a build process has mapped; "" if it has not mapped any yet."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            path = line.split(maxsplit=5)[5:]
            if path and Path(path[0]).name == VECTORS:
                return segment_of(Path(path[0]).parent)
    return ""
