"""Searcher: from queries to the items most like them.

All queries of a call are answered in one search of each space; what an answer must be beside
near (conditions) is seen to afterwards, query by query, and more is looked for where too
little is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from euclidesdb_server.database.embedder import Embedded, Embedder
from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.database.post_filter import PostFilter
from euclidesdb_server.database.requests import (
    Call,
    Conditions,
    FindRequest,
    ModelVector,
    ModelVectors,
    Query,
)
from euclidesdb_server.database.results import ModelAnswer, Neighbors
from euclidesdb_server.database.validation import check_id, distinct
from euclidesdb_server.errors import DatabaseError, InvalidRequest, ModelUnavailable, UnknownItem
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.payload import Payload

MAX_NEIGHBORS: Final = 1_000_000
"""In the answers to one call, for each model: they are held in memory."""
VERSIONS_TRIED: Final = 3
"""Of a model that is replaced between the queries of one call."""


@dataclass(slots=True)
class _SpaceQueries:
    """The queries of a search in one space.

    vectors: of those that can be asked, in order, shape (n, feature_dim). refused: why others
    cannot, by position among all. item_ids: of the stored items that they are about; None where
    none is.
    """

    space: ModelSpace
    vectors: Matrix
    refused: dict[int, DatabaseError]
    item_ids: list[str | None] | None = None


class Searcher:
    """Answers FindRequests. Thread-safe."""

    def __init__(
        self, store: FeatureStore, catalog: Catalog, embedder: Embedder, *, max_top_k: int
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._embedder = embedder
        self._max_top_k = max_top_k

    def find(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        """An answer per model, in the request's order; see `FeatureDatabase.find_similar`."""
        conditions, queries = request.conditions, request.queries
        models = distinct(request.models)
        self._check(conditions, len(queries))
        if isinstance(queries, ModelVectors):
            resolved = self._by_columns(queries, models)
        else:
            resolved = self._resolved(queries, models, call)
        return tuple(
            _answer(name, wanted.space, self._search(wanted, conditions))
            for name, wanted in resolved.items()
        )

    def _check(self, conditions: Conditions, queries: int) -> None:
        top_k = conditions.top_k
        if not 1 <= top_k <= self._max_top_k:
            raise InvalidRequest(f"top_k = {top_k} should be 1 to {self._max_top_k}")
        if conditions.max_distance is not None and math.isnan(conditions.max_distance):
            raise InvalidRequest("max_distance = nan is no number")
        if queries * top_k > MAX_NEIGHBORS:
            raise InvalidRequest(
                f"{queries} queries with top_k = {top_k} ask for more than "
                f"{MAX_NEIGHBORS:,} neighbors: ask in several calls"
            )

    def _by_columns(self, vectors: ModelVectors, models: Sequence[str]) -> dict[str, _SpaceQueries]:
        _check_single(models)
        space = self._catalog.space(models[0])
        unusable = self._catalog.unusable(space, vectors)
        values = vectors.values
        if unusable:
            values = np.delete(values, [*unusable], axis=0)
        return {models[0]: _SpaceQueries(space, values, unusable)}

    def _resolved(
        self, queries: Sequence[Query], models: Sequence[str], call: Call
    ) -> dict[str, _SpaceQueries]:
        """For each model, each query as a vector in its space, or why there is none."""
        payloads = [(query, models) for query in queries if isinstance(query, Payload)]
        for _ in range(VERSIONS_TRIED):
            spaces = {name: self._catalog.space(name) for name in models}  # raises
            said = self._embedder.embed_many(payloads, call) if payloads else []
            versions = {name: _spaces_of(said, name) for name in models}
            if all(len(found) <= 1 for found in versions.values()):
                break
        for name, found in versions.items():  # a model may have been replaced meanwhile
            spaces[name] = next(iter(found), spaces[name])
        return {
            name: self._in_space(name, space, queries, said, models)
            for name, space in spaces.items()
        }

    def _in_space(
        self,
        name: str,
        space: ModelSpace,
        queries: Sequence[Query],
        said: Sequence[Mapping[str, Embedded] | DatabaseError],
        models: Sequence[str],
    ) -> _SpaceQueries:
        """said: what the models say of the payloads among the queries."""
        embedded = iter(said)
        vectors: list[Vector] = []
        item_ids: list[str | None] = []
        refused: dict[int, DatabaseError] = {}
        for position, query in enumerate(queries):
            try:
                match query:
                    case ModelVector():
                        _check_single(models)
                        vectors.append(self._catalog.checked(space, query))
                    case Payload():
                        vectors.append(_embedded(next(embedded), name, space))
                    case str():
                        vectors.append(self._stored_vector(query, space))
                item_ids.append(query if isinstance(query, str) else None)
            except DatabaseError as error:
                refused[position] = error
        matrix = (
            np.stack(vectors) if vectors else np.empty((0, space.record.feature_dim), np.float32)
        )
        return _SpaceQueries(space, matrix, refused, item_ids if any(item_ids) else None)

    def _stored_vector(self, item_id: str, space: ModelSpace) -> Vector:
        check_id(item_id)
        with self._store.snapshot() as reader:
            record = reader.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            label = record.labels.get(space.record.number)
            found = None if label is None else reader.embedding(space.record.number, label)
        if found is None:
            raise UnknownItem(f"item {item_id!r} has no vector of model {space.record.model!r}")
        return found.vector

    def _search(
        self, queries: _SpaceQueries, conditions: Conditions
    ) -> list[Neighbors | Exception]:
        """The answer to each query, or why there is none."""
        space = queries.space
        # the item that a query is about is among the nearest, and is left out
        looked_at = conditions.top_k + (queries.item_ids is not None)
        found = space.search(queries.vectors, looked_at)
        distances: list[list[float]] = found.distances.tolist()
        answers: list[Neighbors | Exception]
        if queries.item_ids is None and conditions.ids_and_distances_only:
            answers = [*map(Neighbors, found.ids, distances)]
        else:
            search = PostFilter(self._store, space, conditions, looked_at)
            item_ids = queries.item_ids or [None] * len(distances)
            answers = [*map(search.answer, queries.vectors, item_ids, found.ids, distances)]
        for position, error in queries.refused.items():  # ascending
            answers.insert(position, error)
        return answers


def _spaces_of(
    said: Sequence[Mapping[str, Embedded] | DatabaseError], model: str
) -> set[ModelSpace]:
    """The spaces of the versions of a model that answered."""
    return {each[model].space for each in said if not isinstance(each, DatabaseError)}


def _embedded(said: Mapping[str, Embedded] | DatabaseError, name: str, space: ModelSpace) -> Vector:
    if isinstance(said, DatabaseError):
        raise said
    found = said[name]
    if found.space is not space:
        raise ModelUnavailable(f"model {name!r} was replaced by another version: try again")
    return found.embedding.vector


def _check_single(models: Sequence[str]) -> None:
    if len(models) > 1:
        raise InvalidRequest(f"a vector is of one model, not of {len(models)}: {[*models]}")


def _answer(name: str, space: ModelSpace, found: list[Neighbors | Exception]) -> ModelAnswer:
    return ModelAnswer(
        name,
        space.record.fingerprint,
        space.engine.name,
        space.metric,
        found,
    )
