"""From queries to vectors in the space of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from euclidesdb_server.database.embedder import Embeddings
from euclidesdb_server.database.examples import combined, error_of_example
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Example, Examples, ModelVector, ModelVectors, Query
from euclidesdb_server.database.search_work import SearchWork
from euclidesdb_server.database.serving import Serving
from euclidesdb_server.database.single_search import stored_vector
from euclidesdb_server.database.space_search import SpaceQueries
from euclidesdb_server.database.validation import check_vector, check_vectors
from euclidesdb_server.errors import DatabaseError, InvalidRequest
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.payload import Payload


def payloads_of(query: Query | DatabaseError) -> list[Payload]:
    """The raw items of a query, in order."""
    if isinstance(query, Payload):
        return [query]
    if isinstance(query, Examples):
        return [example for _, example in query.named() if isinstance(example, Payload)]
    return []


class QueryVectors:
    """The queries of one call as vectors.

    servings: the models of the call. embedded: for each query, the outputs of all the models for
    each of its `payloads_of`, or why there are none.
    """

    def __init__(
        self,
        store: FeatureStore,
        models: ModelTable,
        servings: Sequence[Serving],
        embedded: Sequence[Sequence[Embeddings | DatabaseError]],
        work: SearchWork,
    ) -> None:
        self._store = store
        self._models = models
        self._servings = servings
        self._embedded = embedded
        self._work = work

    def in_space(self, place: int, queries: Sequence[Query | DatabaseError]) -> SpaceQueries:
        """Each query as a vector in the space of `servings[place]`, or why there is none."""
        space = self._servings[place].searchable_space()
        vectors: list[Vector] = []
        item_ids: list[str | None] = []
        examples: list[frozenset[str]] = []
        errors: dict[int, DatabaseError] = {}
        for position, (query, outputs) in enumerate(zip(queries, self._embedded, strict=True)):
            made = (_made(output, place) for output in outputs)
            if isinstance(query, str | Examples):
                self._work.check()
            try:
                if isinstance(query, DatabaseError):
                    raise query
                if isinstance(query, Examples):
                    vectors.append(self._combined(query, made, space))
                    stored = (each for _, each in query.named() if isinstance(each, str))
                    examples.append(frozenset(stored))
                    item_ids.append(None)
                else:
                    vectors.append(self._vector(query, made, space))
                    examples.append(frozenset())
                    item_ids.append(query if isinstance(query, str) else None)
            except DatabaseError as error:
                errors[position] = error
        if len(vectors) == 1:
            matrix = vectors[0][np.newaxis]
        elif vectors:
            matrix = np.stack(vectors)
        else:
            matrix = np.empty((0, space.record.feature_dim), np.float32)
        return SpaceQueries(
            len(queries),
            matrix,
            errors,
            item_ids if any(item_ids) else None,
            examples if any(examples) else None,
        )

    def _combined(
        self, query: Examples, made: Iterator[Vector | DatabaseError], space: ModelSpace
    ) -> Vector:
        vectors: list[Vector] = []
        for name, example in query.named():
            try:
                vectors.append(self._vector(example, made, space))
            except DatabaseError as error:
                raise error_of_example(name, error) from error
        count = len(query.positive)
        return combined(vectors[:count], vectors[count:], space.metric)

    def _vector(
        self, example: Example, made: Iterator[Vector | DatabaseError], space: ModelSpace
    ) -> Vector:
        """made: those of payloads, of which the next one is that of the example if it is one."""
        match example:
            case Payload():
                vector = next(made)
                if isinstance(vector, DatabaseError):
                    raise vector
                return vector
            case ModelVector():
                check_single([serving.name for serving in self._servings])
                check_vector(space.record, example.values, example.fingerprint, self._models)
                return example.values
            case str():
                return stored_vector(self._store, example, space)


def queries_by_column(space: ModelSpace, queries: ModelVectors, models: ModelTable) -> SpaceQueries:
    """Many vectors as queries. Raises VersionMismatch or DimensionMismatch if none fits."""
    errors = check_vectors(space.record, queries.values, queries.fingerprint, models)
    vectors = queries.values
    if errors:
        vectors = np.delete(vectors, [*errors], axis=0)
    return SpaceQueries(len(queries), vectors, errors)


def check_single(names: Sequence[str]) -> None:
    """Raise InvalidRequest unless a vector has exactly one model."""
    if len(names) > 1:
        raise InvalidRequest(f"a vector is searched in the space of one model, not of {[*names]}")


def _made(outputs: Embeddings | DatabaseError, place: int) -> Vector | DatabaseError:
    return outputs if isinstance(outputs, DatabaseError) else outputs[place].vector
