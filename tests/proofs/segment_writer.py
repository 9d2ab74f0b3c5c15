"""A process that writes items and rewrites their segments, and the check of what is left of it.

Its history is fixed. Every kind of rewrite is in it: flushes, merges, also of segments of which
nothing is left, tombstones moved into bitmaps, compaction, and the rebuild of a segment that is
damaged; items are replaced and removed while segments are written. One thread does it all, so
what is left of it is a prefix of the history, or it is not.
"""

from __future__ import annotations

import itertools
import struct
import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.database.requests import AddRequest, ModelVector
from euclidesdb_server.engines.registry import create_engine
from euclidesdb_server.index import ModelSpace, SegmentBuilder
from tests.support.action_during_rewrite import ActionDuringRewrite
from tests.support.assembled import CALL, Database, no_models

MODEL: Final = "vectors"
DIM: Final = 4
ENGINES: Final[Mapping[str, Mapping[str, str]]] = {
    "exact": {},
    "faiss": {"index_type": "HNSW8"},
}
METADATA_BYTES: Final = 20_000
"""Of each item: a buffer of 64 KiB is full so often that LevelDB also merges its tables."""

Versions: TypeAlias = Mapping[str, int | None]
"""By id; None: the item does not exist."""


@dataclass(frozen=True, slots=True)
class Step:
    """writes: one batch each. A rewrite does its writes after it has read its rows."""

    what: str
    writes: Sequence[Versions] = ()


def write(*writes: Versions) -> Step:
    return Step("write", writes)


def items(letter: str, numbers: range, version: int = 1) -> Versions:
    return {f"{letter}{number}": version for number in numbers}


def removals(*names: str) -> Sequence[Versions]:
    """Removals, one after the other."""
    return [{name: None} for name in names]


HISTORY: Final = (
    write(items("a", range(12))),
    Step("flush"),
    write(items("a", range(3), version=2), *removals("a3", "a4")),
    write(items("b", range(12))),
    Step("flush", [*removals("a5", "b0"), items("b", range(1, 3), version=2)]),
    write(items("c", range(12)), *removals("b3", "c0")),
    Step("flush"),
    Step("merge first", [*removals("a6", "b4"), items("a", range(7, 9), version=2)]),
    write(*removals("a9", "b5", "c1")),
    Step("move tombstones"),
    write(items("d", range(3))),
    Step("compact", removals("d0", "c2")),
    Step("reopen damaged"),
    write(items("e", range(2))),
    Step("flush"),
    write(*removals("e0", "e1")),
    Step("merge last"),
    write(items("f", range(12)), items("c", range(3, 6), version=2)),
    Step("flush", removals("f0")),
    write(items("a", range(3), version=3), *removals("f1")),
    Step("compact"),
    write(items("a", range(12), version=4)),
)


class Progress(NamedTuple):
    """Writes that were acknowledged, and those of them that were certainly synced."""

    acknowledged: int
    synced: int


PROGRESS: Final = struct.Struct("<QQ")


def writes_of_history() -> list[Versions]:
    return [each for step in HISTORY for each in step.writes]


def states() -> list[dict[str, int]]:
    """The items after each number of writes."""

    def after(state: dict[str, int], change: Versions) -> dict[str, int]:
        changed = {**state, **change}
        return {name: version for name, version in changed.items() if version is not None}

    return [*itertools.accumulate(writes_of_history(), after, initial=dict[str, int]())]


def vector(name: str, version: int) -> npt.NDArray[np.float32]:
    """Whole numbers, so that distances are exact."""
    seed = zlib.crc32(f"{name} {version}".encode())
    return np.random.default_rng(seed).integers(-999, 1000, DIM).astype(np.float32)


def metadata(name: str, version: int) -> bytes:
    return np.random.default_rng([version, *name.encode()]).bytes(METADATA_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """A data folder, and how it is opened."""

    folder: Path
    engine: str = "exact"
    sync: bool = True
    buffer_bytes: int = 64 << 10

    def open(self) -> Database:
        return Database(
            self.folder,
            no_models(self.folder.parent / "models"),
            {MODEL: DIM},
            engine=create_engine(self.engine, ENGINES[self.engine], file=None),
            builder=SegmentBuilder(IndexConfig()),
            sync=self.sync,
            write_buffer_bytes=self.buffer_bytes,
        )


class Writer:
    """Goes through the history, and notes the progress outside the data folder."""

    def __init__(self, place: Place, progress: Path) -> None:
        self._place = place
        self._progress = progress.open("wb", buffering=0)
        self._acknowledged = 0
        self._database = self._opened()

    def run(self) -> None:
        for step in HISTORY:
            if step.what == "write":
                self._write(step.writes)
                continue
            self._rewrite(step)
            if (
                step.what != "move tombstones"
            ):  # the others name segments in the store, which is synced
                self._note(synced=True)
        self._database.close()

    def _opened(self) -> Database:
        database = self._place.open()
        database.compactor.close()  # the history says what is rewritten, and when
        return database

    def _rewrite(self, step: Step) -> None:
        space = self._database.spaces[MODEL]
        action = ActionDuringRewrite(lambda: self._write(step.writes))
        match step.what:
            case "flush":
                assert space.rewriter.flush(action)
            case "merge first":
                space.rewriter.merge(space.segments[:2], action)
            case "merge last":
                space.rewriter.merge(space.segments[-1:], action)
            case "move tombstones":
                space.rewriter.move_tombstones(threading.Event())
            case "compact":
                space.rewriter.compact(action)
            case "reopen damaged":
                self._reopen_damaged(space)
        assert action.is_done or not step.writes

    def _reopen_damaged(self, space: ModelSpace) -> None:
        (segment,) = space.segments
        self._database.close()
        damage(segment.folder)
        self._database = self._opened()
        self._database.spaces[MODEL].rewriter.verify(threading.Event())

    def _write(self, writes: Sequence[Versions]) -> None:
        for versions in writes:
            if None in versions.values():
                (removed,) = versions
                self._database.features.remove(removed)
            else:
                requests = [request(name, version) for name, version in versions.items() if version]
                outcomes = self._database.features.add_many(requests, CALL)
                assert not any(isinstance(outcome, Exception) for outcome in outcomes)
            self._acknowledged += 1
            self._note(synced=self._place.sync)

    def _note(self, *, synced: bool) -> None:
        # the process may be killed at any time: 16 bytes are there as a whole
        numbers = self._acknowledged, self._acknowledged
        packed = PROGRESS.pack(*numbers)
        self._progress.seek(0)
        self._progress.write(packed if synced else packed[: PROGRESS.size // 2])


def request(name: str, version: int) -> AddRequest:
    made = {MODEL: ModelVector(vector(name, version))}
    text = f'{{"version":{version}}}'
    return AddRequest(name, vectors=made, attributes_json=text, metadata=metadata(name, version))


def damage(folder: Path) -> None:
    """Change some bytes of the largest file of a segment."""
    largest = max(folder.iterdir(), key=lambda file: file.stat().st_size)
    with largest.open("r+b") as file:
        file.seek(largest.stat().st_size // 2)
        file.write(b"damage")


def progress_in(file: Path) -> Progress:
    """What the killed process had noted."""
    content = file.read_bytes() if file.exists() else b""
    return Progress(*PROGRESS.unpack(content.ljust(PROGRESS.size, b"\0")))


def main(folder: str, progress: str, engine: str, sync: str, buffer_bytes: str) -> None:
    place = Place(Path(folder), engine, sync == "True", int(buffer_bytes))
    Writer(place, Path(progress)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
