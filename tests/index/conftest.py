"""A model space on a real store, written to as the database writes."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore, SpaceRecord
from tests.index.fake_engines import TIMEOUT, GatedEngine
from tests.support.builders import InProcessBuilder
from tests.support.stores import embedding, vector, write_item


class Place:
    """A data folder with one space, of rows of two numbers; `reopen` is a restart."""

    def __init__(self, folder: Path) -> None:
        self.engine: Any = GatedEngine()
        self.folder = folder
        self.fingerprint = "version 1"
        self._open()

    def _open(self) -> None:
        self.store = FeatureStore(self.folder / "leveldb", sync=False)
        record = self.store.open_space("model", self.fingerprint, 2)
        self.space = self.opened(record)

    def opened(self, record: SpaceRecord, **options: Any) -> ModelSpace:
        """The space once more, on the same store."""
        segments = self.folder / "segments"
        builder = InProcessBuilder()
        return ModelSpace(record, self.engine, self.store, segments, builder=builder, **options)

    def second_space(self, model: str) -> Place:
        """A space of another model in the same store, with an engine of its own."""
        other = copy.copy(self)
        other.engine = GatedEngine()
        other.space = other.opened(self.store.open_space(model, self.fingerprint, 2))
        return other

    def reopen(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self.store.close()

    def add(self, name: str, *values: float) -> int:
        """Write and publish a row; returns its label."""
        number = self.space.record.number
        before = self.store.item(name)
        replaces = [] if before is None else [before.labels[number]]
        label = write_item(self.store, name, {number: embedding(*values)}).labels[number]
        self.space.publish([label], [name], vector(*values)[None], replaces=replaces)
        return label

    def remove(self, name: str) -> None:
        record = self.store.item(name)
        assert record is not None
        self.store.remove((name, record))
        self.space.delete([record.labels[self.space.record.number]])

    def found(self, *query: float, k: int = 100) -> list[tuple[str, float]]:
        """Names and distances of the nearest rows."""
        found = self.space.search(vector(*query)[None], k)
        return list(zip(found.ids, found.distances[0].tolist(), strict=True))

    def names(self, *query: float, k: int = 100) -> list[str]:
        return [name for name, _ in self.found(*(query or (0, 0)), k=k)]

    @property
    def segments(self) -> Path:
        return self.folder / "segments" / str(self.space.record.number)

    def generations(self) -> list[str]:
        return sorted(entry.name for entry in self.segments.iterdir())

    def tombstones(self) -> list[int]:
        return self.store.tombstones(self.space.record.number).tolist()

    @contextmanager
    def compacting(self) -> Iterator[None]:
        """While the block runs, a compaction has taken its rows and is building."""
        self.engine.hold()
        failures: list[BaseException] = []
        thread = threading.Thread(target=_run, args=(self.space.compact, failures))
        thread.start()
        try:
            self.engine.wait_for_build()
            yield
        finally:
            self.engine.release()
            thread.join(TIMEOUT)
        assert not thread.is_alive()
        if failures:
            raise failures[0]


def _run(work: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        work()
    except Exception as error:
        failures.append(error)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()
