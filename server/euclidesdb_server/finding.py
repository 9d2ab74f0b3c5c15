"""Finder: from a query to the items most like it."""

from __future__ import annotations

import numpy as np

from euclidesdb_server.catalog import Catalog
from euclidesdb_server.checks import check_id, distinct
from euclidesdb_server.errors import InvalidRequest, UnknownItem
from euclidesdb_server.spaces import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.types import (
    Call,
    FindRequest,
    MetricKind,
    ModelAnswer,
    ModelVector,
    Neighbor,
    Vector,
)


class Finder:
    """Answers FindRequests. Thread-safe."""

    def __init__(self, store: FeatureStore, catalog: Catalog, *, max_top_k: int) -> None:
        self._store = store
        self._catalog = catalog
        self._max_top_k = max_top_k

    def find(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        """An answer per model, in the request's order; see `FeatureDatabase.find_similar`."""
        if not 1 <= request.top_k <= self._max_top_k:
            raise InvalidRequest(f"top_k = {request.top_k} should be 1 to {self._max_top_k}")
        models = distinct(request.models)
        if isinstance(request.query, str):
            return tuple(self._find_by_id(request, request.query, name) for name in models)
        if isinstance(request.query, ModelVector):
            if len(models) > 1:
                raise InvalidRequest(f"a vector is of one model, not of {len(models)}: {models}")
            queries = {models[0]: self._catalog.checked(models[0], request.query)}
        else:
            embeddings = self._catalog.embed(request.query, models, call)
            queries = {name: found.vector for name, found in embeddings.items()}
        return tuple(self._find_by_vector(request, name, queries[name]) for name in models)

    def _find_by_vector(self, request: FindRequest, model: str, query: Vector) -> ModelAnswer:
        space = self._catalog.space(model)
        return _answer(space, self._neighbors(request, space, query, request.top_k))

    def _find_by_id(self, request: FindRequest, item_id: str, model: str) -> ModelAnswer:
        """Neighbours of a stored item: it is left out, or put before others as near."""
        check_id(item_id)
        space = self._catalog.space(model)
        query = self._stored_vector(item_id, space)
        neighbors = self._neighbors(request, space, query, request.top_k + 1)
        others = [neighbor for neighbor in neighbors if neighbor.id != item_id]
        if request.include_self:
            distance = space.distance(query, query)
            place = 0
            if space.engine.metric.kind is MetricKind.INNER_PRODUCT:
                # a longer vector may well be nearer than the item itself
                place = sum(neighbor.distance < distance for neighbor in others)
            elif others:
                # an approximate engine may round an equal vector to below that
                distance = min(distance, others[0].distance)
            itself = self._neighbor(request, item_id, distance)
            others[place:place] = [] if itself is None else [itself]
        return _answer(space, others[: request.top_k])

    def _stored_vector(self, item_id: str, space: ModelSpace) -> Vector:
        with self._store.snapshot() as reader:
            record = reader.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            label = record.labels.get(space.record.number)
            found = None if label is None else reader.embedding(space.record.number, label)
        if found is None:
            raise UnknownItem(f"item {item_id!r} has no vector of model {space.record.model!r}")
        return found.vector

    def _neighbors(
        self, request: FindRequest, space: ModelSpace, query: Vector, most: int
    ) -> list[Neighbor]:
        """Up to `most` items of the nearest rows, as many as there are.

        The rows are those of one moment: an item that is rewritten meanwhile is found where it
        was, and never missed or found twice.
        """
        looked_at = most
        while True:
            distances, labels = space.search(query[np.newaxis], looked_at)
            ids = [self._store.id_of_row(label) for label in labels[0].tolist()]
            neighbors = [
                found
                for item_id, distance in zip(ids, distances[0].tolist(), strict=True)
                if item_id is not None
                and (request.accepts is None or request.accepts(item_id))
                and (found := self._neighbor(request, item_id, distance)) is not None
            ]
            if len(neighbors) >= most or len(ids) < looked_at:
                return neighbors[:most]
            looked_at *= 4  # some were not acceptable: look further

    def _neighbor(self, request: FindRequest, item_id: str, distance: float) -> Neighbor | None:
        """An answer with what was asked for; None where the item is gone meanwhile."""
        if not request.include_attributes and not request.include_metadata:
            return Neighbor(item_id, distance)
        record = self._store.item(item_id)
        if record is None:
            return None
        return Neighbor(
            item_id,
            distance,
            record.attributes_json if request.include_attributes else None,
            record.metadata if request.include_metadata else None,
        )


def _answer(space: ModelSpace, neighbors: list[Neighbor]) -> ModelAnswer:
    return ModelAnswer(
        space.record.model,
        space.record.fingerprint,
        space.engine.name,
        space.engine.metric,
        tuple(neighbors),
    )
