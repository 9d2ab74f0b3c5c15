"""A data folder with an earlier version of a model, and a process that drops it.

As a program (`python -m tests.support.versions FOLDER BUFFER`) it drops the version, or continues a
drop, with a write buffer of LevelDB of so many bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.config.server import IndexConfig, ServerConfig
from euclidesdb_server.database import (
    Embedder,
    FeatureDatabase,
    ModelTable,
    Serving,
    SupersededSpace,
    VersionDrops,
    superseded_serving,
)
from euclidesdb_server.database.requests import AddRequest, AddVectorsRequest, ModelVector
from euclidesdb_server.database.steps import finish
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import Compactor, ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.assembled import CALL
from tests.support.builders import InProcessBuilder

MODEL: Final = "one"
OLD: Final = "one@old"
DIM: Final = 4


class Versions:
    """The store and the database of a data folder, with the versions `old` and `new` of one model.

    The space of `new` is open; that of `old`, if it has not been dropped, is not.
    """

    def __init__(
        self,
        folder: Path,
        *,
        retry_interval: float = 10.0,
        write_buffer_bytes: int = WRITE_BUFFER_BYTES,
    ) -> None:
        self.segments = folder / "segments"
        self.store = FeatureStore(folder / "leveldb", write_buffer_bytes=write_buffer_bytes)
        table = self.store.space_table
        earlier = [record for record in table.all() if record.fingerprint == "old"]
        is_new = not (earlier or table.dropped())
        servings = [Serving(MODEL, None, self._open("old" if is_new else "new"))]
        self.old: SupersededSpace | None = None
        for record in earlier:
            self.old = SupersededSpace(record, lambda: self._open("old"))
            servings.append(superseded_serving(self.old))
        self.models = ModelTable(servings, {})
        self.compactor = Compactor(IndexConfig())
        self.table = ItemTable(self.store, folder / "columns")
        self.features = FeatureDatabase(
            self.store,
            self.models,
            Embedder(self.models),
            self.compactor,
            self.table,
            limits=ServerConfig(),
            keep_payloads=True,
        )
        self.drops = VersionDrops(
            self.store,
            self.features.lock_items,
            self.segments,
            stop_rewriting=self.compactor.forget,
            retry_interval=retry_interval,
        )

    def add(self, ids: list[str], seed: int) -> None:
        """Give items a vector of the version in service."""
        columns = VectorColumns(ids, vectors(len(ids), seed))
        outcomes = self.features.add_vectors(AddVectorsRequest(MODEL, columns))
        assert not [each for each in outcomes if isinstance(each, DatabaseError)]

    def drop(self) -> None:
        """Drop the version `old`."""
        assert self.old is not None
        self.drops.begin(self.old)
        self.models.forget(self.old)

    def close(self) -> None:
        """Stop."""
        self.drops.close()
        self.features.close()
        self.compactor.close()
        self.table.close()
        self.store.close()

    def _open(self, fingerprint: str) -> ModelSpace:
        record = self.store.open_space(MODEL, fingerprint, DIM)
        builder = InProcessBuilder()
        return ModelSpace(record, ExactEngine(), self.store, self.segments, builder=builder)


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Versions]:
    """The versions in a data folder; a new one begins with the version `old` in service."""
    versions = Versions(folder, **options)
    try:
        yield versions
    finally:
        versions.close()


def vectors(count: int, seed: int) -> Matrix:
    """Random vectors."""
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def names(count: int) -> list[str]:
    """The ids of that many items."""
    return [f"item {number}" for number in range(count)]


def make(folder: Path, *, rows: int, **options: Any) -> None:
    """Fill a data folder.

    Items with a vector of `old`: `item N`, for N below `rows`, the first half of which also has a
    vector of `new`, and `described`. Some have been removed, so there are tombstones, and
    rows of `old` are in a segment.
    """
    with opened(folder, **options) as versions:
        versions.add(names(rows + 10), seed=1)
        add = AddRequest(
            "described",
            vectors={MODEL: ModelVector(vectors(1, seed=3)[0])},
            attributes_json='{"a":1}',
            metadata=b"m",
        )
        finish(versions.features.add(add, CALL))
        (space,) = versions.models.spaces()
        space.compact()
        for item_id in names(rows + 10)[rows:]:
            versions.features.remove(item_id)
    with opened(folder, **options) as versions:
        versions.add(names(rows // 2), seed=2)


def main(folder: Path, write_buffer_bytes: int) -> None:
    """Drop the version `old`, or continue to, and report when that is done."""
    with opened(folder, write_buffer_bytes=write_buffer_bytes) as versions:
        if versions.old is not None:
            versions.drop()
        assert versions.drops.wait_idle(60)
    print("deleted")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
