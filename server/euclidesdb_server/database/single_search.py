"""The search for one query in one space, answered with nothing but the nearest.

Most searches are of this kind. It finds what `Searcher` finds by `space_search`, which takes any
number of queries and any conditions, but makes fewer objects: half as much of the interpreter's
time, and that is most of what a search takes.
"""

from __future__ import annotations

import numpy as np

from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.post_filter import others
from euclidesdb_server.database.requests import Conditions, FindRequest, ModelVector, ModelVectors
from euclidesdb_server.database.results import Answers, ModelAnswer, Neighbors
from euclidesdb_server.database.search_work import SearchWork, texts_bytes
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.validation import check_id, check_vector
from euclidesdb_server.errors import DatabaseError, UnknownItem
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.payload import Payload


def single_query(request: FindRequest) -> Payload | ModelVector | str | None:
    """The query of a request that `answer_single` can answer; None if it cannot."""
    queries, conditions = request.queries, request.conditions
    if len(queries) != 1 or len(request.models) != 1 or not conditions.ids_and_distances_only:
        return None
    if isinstance(queries, ModelVectors):
        return None
    query = queries[0]
    if isinstance(query, ModelVector | Payload):
        return query
    return query if isinstance(query, str) and not conditions.include_self else None


def answer_single(
    store: FeatureStore,
    models: ModelTable,
    serving: Serving,
    query: Vector | ModelVector | str | DatabaseError,
    conditions: Conditions,
    *,
    work: SearchWork,
) -> ModelAnswer:
    """The answer to the `single_query` of a request, whose work has been counted.

    query: of a payload, the features that its model has made, or why there are none.

    Raises ModelUnavailable, ReplyTooLarge, DeadlineExceeded, StorageError. What is wrong with the
    query itself becomes its outcome.
    """
    space = serving.searchable_space(work.check)
    top_k = conditions.top_k
    work.check()
    item_id, is_row = None, False
    try:
        match query:
            case str():
                item_id = query
                vector, is_row = _stored_row(store, item_id, space)
            case ModelVector():
                vector = query.values
                check_vector(space.record, vector, query.fingerprint, models)
            case DatabaseError():
                raise query
            case _:
                vector = query
    except DatabaseError as error:
        answers = Answers([0], Neighbors([], []), {0: error})
    else:
        # the item that a query is about is among the nearest, and is left out
        k = top_k if item_id is None else top_k + 1
        found = space.search(
            vector[np.newaxis], k, int32_only=conditions.int32_ids, prepared=is_row
        )
        distances: list[float] = found.distances[0].tolist()
        if item_id is None:
            neighbors = Neighbors(found.ids, distances)
        else:
            neighbors = others(item_id, found.ids, distances, top_k)
        work.add_to_reply(texts_bytes(neighbors.ids))
        answers = Answers([len(neighbors)], neighbors)
    return ModelAnswer(
        serving.name, space.record.fingerprint, space.engine.name, space.metric, answers
    )


def _stored_row(store: FeatureStore, item_id: str, space: ModelSpace) -> tuple[Vector, bool]:
    """As `stored_vector`; and whether it is a row of the space, which saves reading the store."""
    labels = store.vector_labels(item_id)
    label = None if labels is None else labels.get(space.record.number)
    if label is not None and (row := space.row(label)) is not None:
        return row, True
    return stored_vector(store, item_id, space), False


def stored_vector(store: FeatureStore, item_id: str, space: ModelSpace) -> Vector:
    """The vector of a stored item in a space. Raises InvalidRequest, UnknownItem, StorageError."""
    check_id(item_id)
    number, missing = space.record.number, None
    while True:
        labels = store.vector_labels(item_id)
        if labels is None:
            raise UnknownItem(f"no item {item_id!r}")
        label = labels.get(number)
        if label == missing:
            raise UnknownItem(f"item {item_id!r} has no vector of model {space.record.model!r}")
        if label is not None and (vector := store.vector(number, label)) is not None:
            return vector
        missing = label  # the item was written between the two reads: read it again
