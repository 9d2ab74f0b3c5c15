"""The database put together without gRPC: real store, real spaces, real registry."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.config.server import IndexConfig, ModelsConfig, ServerConfig
from euclidesdb_server.database.embedder import Embedder
from euclidesdb_server.database.feature_database import FeatureDatabase
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    Call,
    Conditions,
    FindRequest,
    ModelVector,
    NoCaller,
)
from euclidesdb_server.database.results import Item, ModelAnswer, Neighbor, Written
from euclidesdb_server.database.serving import Serving, superseded_serving
from euclidesdb_server.database.steps import finish
from euclidesdb_server.database.superseded_space import SupersededSpace
from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import Compactor, ModelSpace, SegmentBuilder
from euclidesdb_server.inference import EmbeddingCache, ModelRegistry
from euclidesdb_server.store import FeatureStore, SpaceRecord
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.builders import InProcessBuilder
from tests.support.images import encoded, noise
from tests.support.stores import vector

EMBEDDERS = {"color": 12, "gray": 4}
"""The models of the fixture `registry`, with the length of their features."""

SELDOM = IndexConfig()
OFTEN = IndexConfig(compact_rows=5, merge_factor=3)

CALL = NoCaller()
DEFAULT_LIMITS = ServerConfig()


def no_models(folder: Path) -> ModelRegistry:
    """A registry that runs nothing: enough for ready-made vectors."""
    folder.mkdir(exist_ok=True)
    return ModelRegistry(ModelsConfig(dir_path=folder))


def registry_with(registry: ModelRegistry, **models: Any) -> Any:
    """A registry with these models in place of its own of the same names."""
    return SimpleNamespace(models={**registry.models, **models}, broken=registry.broken)


class InOneThread:
    """A FeatureDatabase whose calls wait for models in the thread of their caller."""

    def __init__(self, features: FeatureDatabase) -> None:
        self.add_vectors = features.add_vectors
        self.get = features.get
        self.get_many = features.get_many
        self.update = features.update
        self.remove = features.remove
        self.remove_many = features.remove_many
        self.lock_items = features.lock_items
        self.list_models = features.list_models
        self.imports = features.imports
        self.compact = features.compact
        self.searches_quickly = features.searches_quickly
        self.close = features.close
        self._features = features

    def add(self, request: AddRequest, call: Call) -> Written:
        return finish(self._features.add(request, call))

    def add_many(
        self, requests: Sequence[AddRequest | DatabaseError], call: Call
    ) -> list[Written | DatabaseError]:
        return finish(self._features.add_many(requests, call))

    def find_similar(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        return finish(self._features.find_similar(request, call))


class Database:
    """A FeatureDatabase with its parts, and short forms of common calls.

    dims: the models whose spaces there are, with the length of their vectors; a model's
    fingerprint is the registry's, or "version 1". builder: by default one that starts no process.
    column_rows: in memory, before they are written to a file.

    Other versions of these models that are stored are served as superseded ones.
    """

    def __init__(
        self,
        folder: Path,
        models: ModelRegistry,
        dims: Mapping[str, int],
        *,
        engine: SearchEngine | None = None,
        index: IndexConfig = SELDOM,
        keep_payloads: bool = True,
        limits: ServerConfig = DEFAULT_LIMITS,
        fingerprint: str = "version 1",
        sync: bool = False,
        cache: EmbeddingCache | None = None,
        write_buffer_bytes: int = WRITE_BUFFER_BYTES,
        builder: SegmentBuilder | None = None,
        column_rows: int = 10_000,
    ) -> None:
        self.store = FeatureStore(
            folder / "leveldb", sync=sync, write_buffer_bytes=write_buffer_bytes
        )

        def space(record: SpaceRecord) -> ModelSpace:
            return ModelSpace(
                record,
                engine or ExactEngine(),
                self.store,
                folder / "segments",
                builder=builder or InProcessBuilder(),
            )

        try:
            self.spaces = {
                name: space(
                    self.store.open_space(name, self._fingerprint(models, name, fingerprint), dim)
                )
                for name, dim in dims.items()
            }
        except BaseException:
            self.store.close()
            raise
        self.compactor = Compactor(index)
        self.table = ItemTable(self.store, folder / "columns", flush_rows=column_rows)
        names = {**models.models, **self.spaces}
        servings = [Serving(name, models.models.get(name), self.spaces.get(name)) for name in names]
        current = {each.record.number for each in self.spaces.values()}
        earlier = [
            superseded_serving(SupersededSpace(record, functools.partial(space, record)))
            for record in self.store.spaces()
            if record.model in self.spaces and record.number not in current
        ]
        self.models = ModelTable([*servings, *earlier], models.broken)
        self.features = InOneThread(
            FeatureDatabase(
                self.store,
                self.models,
                Embedder(self.models, cache),
                self.compactor,
                self.table,
                limits=limits,
                keep_payloads=keep_payloads,
            )
        )

    @staticmethod
    def _fingerprint(models: ModelRegistry, name: str, otherwise: str) -> str:
        served = models.models.get(name)
        return otherwise if served is None else served.folder.fingerprint

    def add(
        self, item_id: str, *, texts: Mapping[str, Any] | None = None, **vectors: list[float]
    ) -> Written:
        """Add ready-made vectors by model; texts: `attributes_json` and `metadata`."""
        made = {name: ModelVector(vector(*values)) for name, values in vectors.items()}
        return self.features.add(AddRequest(item_id, vectors=made, **(texts or {})), CALL)

    def add_vectors(
        self, model: str, ids: list[str], vectors: object, **columns: Any
    ) -> dict[int, DatabaseError]:
        """Add by columns; why some are refused, by position."""
        made = VectorColumns(ids, np.array(vectors, np.float32), **columns)
        outcomes = self.features.add_vectors(AddVectorsRequest(model, made))
        return {
            row: error for row, error in enumerate(outcomes) if isinstance(error, DatabaseError)
        }

    def add_image(self, item_id: str, seed: int, *models: str, **others: Any) -> Written:
        """Add the image of that seed, embedded with the models."""
        return self.features.add(AddRequest(item_id, sample_image(seed), models, **others), CALL)

    def get(self, item_id: str) -> Item:
        return self.features.get(item_id, Include(vectors=True, predictions=True, payload=True))

    def vectors(self, item_id: str) -> dict[str, list[float]]:
        return {found.model: found.vector.tolist() for found in self.get(item_id).embeddings}

    def near(
        self, query: Any, model: str, top_k: int = 100, **options: Any
    ) -> tuple[Neighbor, ...]:
        """Neighbors of a stored id, a payload, or the numbers of a vector."""
        if isinstance(query, list):
            query = ModelVector(np.array(query, np.float32))
        request = FindRequest([query], (model,), Conditions(top_k, **options))
        (answer,) = self.features.find_similar(request, CALL)
        return tuple(answer.neighbors)

    def ids(self, query: Any, model: str, top_k: int = 100, **options: Any) -> list[str]:
        return [neighbor.id for neighbor in self.near(query, model, top_k, **options)]

    def close(self) -> None:
        self.features.close()
        self.compactor.close()
        self.table.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sample_image(seed: int) -> Payload:
    return Payload("image", encoded(noise(seed)))
