"""Searcher: from queries to the items most similar to them.

It chooses the models and turns each query into a vector; `space_search` answers all queries of a
call in one space. What a call may cost is counted first, and it ends when its caller has left
(`search_work`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.embedder import Embedder, Embeddings, EmbedTask
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import (
    Call,
    Conditions,
    FindRequest,
    ModelVector,
    ModelVectors,
    Query,
)
from euclidesdb_server.database.results import ModelAnswer
from euclidesdb_server.database.search_work import PAIR_PRODUCTS, SearchWork
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.single_search import answer_single, single_query, stored_vector
from euclidesdb_server.database.space_search import SpaceQueries, SpaceSearch, rows_wanted
from euclidesdb_server.database.validation import check_id, check_vector, check_vectors
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.payload import Payload

MAX_NEIGHBORS: Final = 1_000_000
"""In the answers to one call, for each model: they are held in memory."""

QUICK_PRODUCTS: Final = 1 << 22
"""Of two numbers, in a search of one query: a millisecond."""
QUICK_TOP_K: Final = 100
"""So many neighbors are sent in a millisecond or so."""

NO_EMBEDDINGS: Final[Embeddings] = ()


class Searcher:
    """Answers FindRequests. Thread-safe. limits: the keys `max_...` of [server]."""

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        embedder: Embedder,
        *,
        limits: ServerConfig,
    ) -> None:
        self._store = store
        self._models = models
        self._embedder = embedder
        self._limits = limits

    async def find(self, request: FindRequest, call: Call) -> tuple[ModelAnswer, ...]:
        """An answer for each model; see `FeatureDatabase.find_similar`."""
        self._check(request.conditions, len(request.queries))
        work = SearchWork(
            call,
            self._limits.max_comparisons,
            max_reply_bytes=self._limits.max_reply_bytes,
        )
        if (query := single_query(request)) is not None:
            return (answer_single(self._store, self._models, query, request, work),)
        chosen = [] if request.models else self._models_for(request.queries, work)
        names = [*dict.fromkeys(request.models)] or [serving.name for serving in chosen]
        if isinstance(request.queries, ModelVectors):
            _check_single(names)
            serving = self._models.resolve(names[0])
            _count_work([serving], request, work)
            columns = self._columns(serving.searchable_space(), request.queries)
            return (self._search(serving, columns, request, work),)
        tasks = request.queries
        if Payload in map(type, tasks):
            with self._models.lease(names) as leased:
                servings = [leased.get(name) for name in names]
                if chosen:  # one of them may have been unloaded since
                    servings = [each for each in servings if each.model is not None] or servings
                _count_work(servings, request, work)  # raises before any model runs
                embedded = await self._embedded(tasks, servings, call)
        else:
            servings = chosen or [self._models.resolve(name) for name in names]
            _count_work(servings, request, work)
            embedded = [NO_EMBEDDINGS] * len(tasks)
        return tuple(
            self._search(
                serving, self._queries(place, servings, tasks, embedded, work), request, work
            )
            for place, serving in enumerate(servings)
        )

    def is_quick(self, models: Sequence[str], top_k: int) -> bool:
        """Whether one query without a model to run is answered in a millisecond or so."""
        products = 0
        for name in models:
            space = self._models.open_space(name)
            if space is None:
                return False
            rows = space.rows_compared_singly(top_k)
            products += rows * (space.record.feature_dim + PAIR_PRODUCTS)
        return bool(models) and top_k <= QUICK_TOP_K and products <= QUICK_PRODUCTS

    def _check(self, conditions: Conditions, queries: int) -> None:
        top_k = conditions.top_k
        if not 1 <= top_k <= self._limits.max_top_k:
            raise InvalidRequest(f"top_k = {top_k} should be 1 to {self._limits.max_top_k}")
        if conditions.max_distance is not None and math.isnan(conditions.max_distance):
            raise InvalidRequest("max_distance must not be NaN")
        if queries * top_k > MAX_NEIGHBORS:
            raise InvalidRequest(
                f"{queries} queries with top_k = {top_k} would return more than "
                f"{MAX_NEIGHBORS:,} neighbors: split them into several calls"
            )

    def _models_for(
        self, queries: Sequence[Query | DatabaseError] | ModelVectors, work: SearchWork
    ) -> list[Serving]:
        """The models to search if the request names none.

        For raw items: those that are ready and take their kind; for stored items: those served now
        that have a vector of one of them.
        """
        readable = [] if isinstance(queries, ModelVectors) else queries
        kinds = {_kind(query) for query in readable if not isinstance(query, DatabaseError)}
        if isinstance(queries, ModelVectors) or "vector" in kinds:
            raise InvalidRequest("models is empty: a vector needs the model whose space it is in")
        if not kinds:
            for query in readable:
                if isinstance(query, DatabaseError):
                    raise query
            raise InvalidRequest("models is empty, and there is no query to choose them by")
        if len(kinds) > 1:
            raise InvalidRequest(
                f"models is empty, and the queries are of several kinds ({', '.join(sorted(kinds))}"
                "): name the models"
            )
        (kind,) = kinds
        if kind != "id":
            return self._models.servings_for(kind)
        return self._models_with([query for query in readable if isinstance(query, str)], work)

    def _models_with(self, ids: Sequence[str], work: SearchWork) -> list[Serving]:
        """The models served now that have a vector of one of the items; all if there are none."""
        spaces: set[int] = set()
        for item_id in ids:
            work.check()
            with suppress(DatabaseError):  # its own outcome will tell
                check_id(item_id)
                record = self._store.item(item_id)
                spaces.update(() if record is None else record.labels)
        return self._models.servings_with(spaces)

    def _columns(self, space: ModelSpace, queries: ModelVectors) -> SpaceQueries:
        errors = check_vectors(space.record, queries.values, queries.fingerprint, self._models)
        vectors = queries.values
        if errors:
            vectors = np.delete(vectors, [*errors], axis=0)
        return SpaceQueries(len(queries), vectors, errors)

    async def _embedded(
        self, queries: Sequence[Query | DatabaseError], servings: Sequence[Serving], call: Call
    ) -> list[Embeddings | DatabaseError]:
        """The outputs of the models for each query that is a payload."""
        tasks = [EmbedTask(query, servings) for query in queries if isinstance(query, Payload)]
        outputs = iter(await self._embedder.embed_many(tasks, call))
        return [next(outputs) if isinstance(query, Payload) else NO_EMBEDDINGS for query in queries]

    def _queries(
        self,
        place: int,
        servings: Sequence[Serving],
        queries: Sequence[Query | DatabaseError],
        embedded: Sequence[Embeddings | DatabaseError],
        work: SearchWork,
    ) -> SpaceQueries:
        """Each query as a vector in the space of `servings[place]`, or why there is none."""
        space = servings[place].searchable_space()
        vectors: list[Vector] = []
        item_ids: list[str | None] = []
        errors: dict[int, DatabaseError] = {}
        for position, (query, outputs) in enumerate(zip(queries, embedded, strict=True)):
            if isinstance(query, str):
                work.check()
            try:
                match query:
                    case DatabaseError():
                        raise query
                    case Payload():
                        if isinstance(outputs, DatabaseError):
                            raise outputs
                        vectors.append(outputs[place].vector)
                    case ModelVector():
                        _check_single([serving.name for serving in servings])
                        fingerprint = query.fingerprint
                        check_vector(space.record, query.values, fingerprint, self._models)
                        vectors.append(query.values)
                    case str():
                        vectors.append(stored_vector(self._store, query, space))
                item_ids.append(query if isinstance(query, str) else None)
            except DatabaseError as error:
                errors[position] = error
        if len(vectors) == 1:
            matrix = vectors[0][np.newaxis]
        elif vectors:
            matrix = np.stack(vectors)
        else:
            matrix = np.empty((0, space.record.feature_dim), np.float32)
        return SpaceQueries(len(queries), matrix, errors, item_ids if any(item_ids) else None)

    def _search(
        self, serving: Serving, queries: SpaceQueries, request: FindRequest, work: SearchWork
    ) -> ModelAnswer:
        space = serving.searchable_space()
        answers = SpaceSearch(self._store, space, request.conditions, work).answers(queries)
        return ModelAnswer(
            serving.name, space.record.fingerprint, space.engine.name, space.metric, answers
        )


def _count_work(servings: Iterable[Serving], request: FindRequest, work: SearchWork) -> None:
    """Count the comparisons of a request. Raises InvalidRequest if there are too many.

    Also raises ModelUnavailable if a model has no space to search, and DeadlineExceeded if the
    caller leaves while another call opens one.
    """
    for serving in servings:
        k = rows_wanted(request.conditions)
        space = serving.searchable_space(work.check)
        work.add(len(request.queries), space.rows_compared(k))


def _kind(query: Query) -> str:
    match query:
        case Payload():
            return query.kind
        case ModelVector():
            return "vector"
        case str():
            return "id"


def _check_single(names: Sequence[str]) -> None:
    if len(names) > 1:
        raise InvalidRequest(f"a vector is searched in the space of one model, not of {[*names]}")
