"""Searcher: from queries to the items most similar to them.

It chooses the models (`model_choice`) and turns each query into a vector (`query_vectors`);
`space_search` answers all queries of a call in one space. What a call may cost is counted first,
and it ends when its caller has left (`search_work`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.candidates import MAX_NEIGHBORS
from euclidesdb_server.database.embedder import Embedder, Embeddings, EmbedTask, all_made
from euclidesdb_server.database.fusion import fused_neighbors
from euclidesdb_server.database.model_choice import chosen_models
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.query_vectors import (
    QueryVectors,
    check_single,
    payloads_of,
    queries_by_column,
)
from euclidesdb_server.database.requests import (
    Call,
    Conditions,
    FindRequest,
    ModelVector,
    ModelVectors,
    Query,
)
from euclidesdb_server.database.results import ModelAnswer, ModelAnswers
from euclidesdb_server.database.search_options import DEFAULT_OPTIONS
from euclidesdb_server.database.search_work import PAIR_PRODUCTS, SearchWork
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.single_search import answer_single, single_query
from euclidesdb_server.database.space_search import SpaceQueries, SpaceSearch, rows_wanted
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.payload import Payload

QUICK_PRODUCTS: Final = 1 << 22
"""Of two numbers, in a search of one query: a millisecond."""
QUICK_TOP_K: Final = 100
"""So many neighbors are sent in a millisecond or so."""


class Searcher:
    """Answers FindRequests. Thread-safe. limits: the keys `max_...` of [server]."""

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        embedder: Embedder,
        table: ItemTable,
        *,
        limits: ServerConfig,
    ) -> None:
        self._store = store
        self._models = models
        self._embedder = embedder
        self._table = table
        self._limits = limits

    async def find(self, request: FindRequest, call: Call) -> ModelAnswers:
        """An answer for each model; see `FeatureDatabase.find_similar`."""
        self._check(request.conditions, len(request.queries))
        work = SearchWork(
            call,
            self._limits.max_comparisons,
            max_reply_bytes=self._limits.max_reply_bytes,
        )
        if (query := single_query(request)) is not None:
            if isinstance(query, Payload):
                return await self._find_by_payload(query, request, call, work)
            serving = self._models.resolve(request.models[0])
            _count_work([serving], request, work)
            return self._answer_single(serving, query, request, call, work)
        answers = ModelAnswers(await self._find(request, call, work))
        if request.conditions.options.fuse:
            answers.fused = fused_neighbors(self._store, answers, request.conditions, work)
        return answers

    async def _find_by_payload(
        self, payload: Payload, request: FindRequest, call: Call, work: SearchWork
    ) -> ModelAnswers:
        with self._models.lease(request.models) as leased:
            serving = leased.get(request.models[0])
            _count_work([serving], request, work)  # raises before the model runs
            (outputs,) = await self._embedder.embed_many([EmbedTask(payload, [serving])], call)
        made = all_made(outputs)
        vector = made if isinstance(made, DatabaseError) else made[0].vector
        return self._answer_single(serving, vector, request, call, work)

    def _answer_single(
        self,
        serving: Serving,
        query: Vector | ModelVector | str | DatabaseError,
        request: FindRequest,
        call: Call,
        work: SearchWork,
    ) -> ModelAnswers:
        begun = time.monotonic()
        answer = answer_single(
            self._store, self._models, serving, query, request.conditions, work=work
        )
        call.note("search", begun, time.monotonic())
        return ModelAnswers((answer,))

    async def _find(
        self, request: FindRequest, call: Call, work: SearchWork
    ) -> tuple[ModelAnswer, ...]:
        queries = request.queries
        chosen = [] if request.models else chosen_models(queries, self._models, self._store, work)
        names = [*dict.fromkeys(request.models)] or [serving.name for serving in chosen]
        if isinstance(queries, ModelVectors):
            check_single(names)
            serving = self._models.resolve(names[0])
            _count_work([serving], request, work)
            columns = queries_by_column(serving.searchable_space(), queries, self._models)
            begun = time.monotonic()
            answer = self._search(serving, columns, request, work)
            call.note("search", begun, time.monotonic())
            return (answer,)
        payloads = [payloads_of(query) for query in queries]
        if any(payloads):
            with self._models.lease(names) as leased:
                servings = [leased.get(name) for name in names]
                if chosen:  # one of them may have been unloaded since
                    servings = [each for each in servings if each.model is not None] or servings
                _count_work(servings, request, work)  # raises before any model runs
                tasks = [EmbedTask(each, servings) for group in payloads for each in group]
                outputs = map(all_made, await self._embedder.embed_many(tasks, call))
                embedded = [[*islice(outputs, len(group))] for group in payloads]
        else:
            servings = chosen or [self._models.resolve(name) for name in names]
            _count_work(servings, request, work)
            embedded = [[]] * len(queries)
        begun = time.monotonic()
        answers = self._search_all(servings, queries, embedded, request, work)
        call.note("search", begun, time.monotonic())
        return answers

    def _search_all(
        self,
        servings: Sequence[Serving],
        queries: Sequence[Query | DatabaseError],
        embedded: Sequence[Sequence[Embeddings | DatabaseError]],
        request: FindRequest,
        work: SearchWork,
    ) -> tuple[ModelAnswer, ...]:
        vectors = QueryVectors(self._store, self._models, servings, embedded, work)
        return tuple(
            self._search(serving, vectors.in_space(place, queries), request, work)
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
        ranked = top_k
        if conditions.options is not DEFAULT_OPTIONS:
            conditions.options.check(top_k, self._limits.max_top_k)
            ranked = conditions.options.pool(top_k)
            if conditions.options.fuse and queries != 1:
                raise InvalidRequest(
                    f"fuse ranks the results of one query together, not those of {queries}"
                )
        if queries * ranked > MAX_NEIGHBORS:
            what = "return" if ranked == top_k else "rank, with its options,"
            raise InvalidRequest(
                f"{queries} queries with top_k = {top_k} would {what} more than "
                f"{MAX_NEIGHBORS:,} neighbors: split them into several calls"
            )

    def _search(
        self, serving: Serving, queries: SpaceQueries, request: FindRequest, work: SearchWork
    ) -> ModelAnswer:
        space = serving.searchable_space()
        search = SpaceSearch(
            self._store,
            self._table,
            space,
            request.conditions,
            work,
            serving.labels if request.conditions.options.top_labels else (),
        )
        return ModelAnswer(
            serving.name,
            space.record.fingerprint,
            space.engine.name,
            space.metric,
            search.answers(queries),
        )


def _count_work(servings: Iterable[Serving], request: FindRequest, work: SearchWork) -> None:
    """Count the comparisons of a request. Raises InvalidRequest if there are too many.

    Also raises ModelUnavailable if a model has no space to search, and DeadlineExceeded if the
    caller leaves while another call opens one.
    """
    k, exactly = rows_wanted(request.conditions), request.conditions.options.exact
    for serving in servings:
        space = serving.searchable_space(work.check)
        work.add(len(request.queries), space.rows_compared(k, exactly=exactly))
