"""The answers of `find_similar_many`: columns, from which rows are made on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from euclidesdb._errors import EuclidesDBError, ServerError, reason_of
from euclidesdb._neighbors import Neighbors
from euclidesdb._printing import cell
from euclidesdb._replies import parsed_attributes
from euclidesdb._result_tables import neighbor_columns
from euclidesdb._search_options import detail_columns, returns_attributes, returns_details
from euclidesdb._searches import QueryBatch
from euclidesdb._tables import Column, Tabular
from euclidesdb._translation import name_file, refusal_error
from euclidesdb._types import HoldsArrays, Vector
from euclidesdb_protos.v1 import database_pb2 as pb


class Answer(Mapping[str, Neighbors], Tabular):
    """The answer to one query: `Neighbors` by model name, as `find_similar` returns them.

    If the query was refused, by the server or by the client (its image cannot be read), looking
    up a model raises the error that `find_similar` would have raised for this query; `error` gives
    it without raising. In a search that names no models, a query refused by the client lists the
    models that answered the other queries of its call.

    Answers compare by identity, as `Neighbors` do. A pickled one holds its own neighbors only.
    """

    __slots__ = ("_columns", "_models", "_query", "_unsent")

    def __init__(
        self,
        models: Sequence[str],
        columns: Mapping[str, AnswerColumns],
        query: int,
        unsent: Exception | None = None,
    ) -> None:
        self._models = models
        self._columns = columns
        self._query = query
        self._unsent = unsent

    @property
    def error(self) -> Exception | None:
        """Why the query was refused (by the first model that refused it), or None."""
        if self._unsent is not None:
            return self._unsent
        errors = (self._columns[model].error(self._query) for model in self._models)
        return next((error for error in errors if error is not None), None)

    @property
    def reason(self) -> str:
        """The `reason` of `error`; "not_sent" if the client refused the query, "" if none did."""
        return "" if self.error is None else reason_of(self.error)

    def __getitem__(self, model: str) -> Neighbors:
        if self._unsent is not None and (model in self._models or not self._models):
            raise self._unsent
        return self._columns[model].neighbors(self._query)

    def __contains__(self, model: object) -> bool:
        return model in self._models  # Mapping's own looks the model up, which may raise

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        columns = {
            model: columns.only(self._query)
            for model, columns in self._columns.items()
            if self._unsent is None
        }
        return type(self), (list(self._models), columns, 0, self._unsent)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"refused: {cell(str(self.error))}"
        return "\n\n".join(map(repr, self.values())) or "no model was searched"

    def _repr_html_(self) -> str:
        from euclidesdb._notebook import answers_html  # noqa: PLC0415  in notebooks alone

        return answers_html([self])

    def _table(self) -> list[Column]:
        return neighbor_columns([*self.values()])


@dataclass(frozen=True, slots=True, eq=False)
class AnswerColumns(HoldsArrays):
    """The answers to all queries of a call in one model's space.

    starts: where each query's neighbors begin in the columns; one more entry for the end.
    attributes_json, metadata, details: None if not requested. options: of the request.
    """

    model: str
    fingerprint: str
    metric: str
    starts: Sequence[int]
    ids: Sequence[str]
    distances: Vector
    attributes_json: Sequence[str] | None
    metadata: Sequence[bytes] | None
    refused: Mapping[int, pb.Refusal]
    details: Sequence[pb.NeighborDetails] | None
    options: pb.SearchOptions

    def error(self, query: int) -> EuclidesDBError | None:
        """Why `query` was refused, a new error on each call, or None."""
        refusal = self.refused.get(query)
        return None if refusal is None else refusal_error(refusal)

    def lacks(self, query: int) -> bool:
        """Whether `query` was refused because the model has no vector of the stored item."""
        refusal = self.refused.get(query)
        return refusal is not None and refusal.reason == "unknown_item"

    def only(self, query: int) -> AnswerColumns:
        """The answer to `query` alone, as query 0."""
        first, end = self.starts[query], self.starts[query + 1]
        rows = slice(first, end)
        return replace(
            self,
            starts=(0, end - first),
            ids=self.ids[rows],
            distances=self.distances[rows],
            attributes_json=self.attributes_json and self.attributes_json[rows],
            metadata=self.metadata and self.metadata[rows],
            refused={0: self.refused[query]} if query in self.refused else {},
            details=self.details and self.details[rows],
        )

    def neighbors(self, query: int) -> Neighbors:
        """The answer to `query`. Raises its error if it was refused."""
        error = self.error(query)
        if error is not None:
            raise error
        rows = slice(self.starts[query], self.starts[query + 1])
        return Neighbors(
            self.model,
            self.fingerprint,
            self.metric,
            tuple(self.ids[rows]),
            self.distances[rows],
            None
            if self.attributes_json is None
            else tuple(map(parsed_attributes, self.attributes_json[rows])),
            None if self.metadata is None else tuple(self.metadata[rows]),
            **({} if self.details is None else detail_columns(self.details[rows], self.options)),
        )


def answers_of(reply: pb.FindSimilarBatchReply, batch: QueryBatch) -> list[Answer]:
    """The answer to each query of `batch`; `reply` holds those of the queries that were sent."""
    sent = batch.queries - len(batch.unsent)
    columns = {message.model: _columns(message, sent, batch) for message in reply.answers}
    named = list(batch.request.models) or list(columns)
    rows = iter(range(sent))
    return [
        Answer(named, columns, query, batch.unsent[query])
        if query in batch.unsent
        else _answer(columns, next(rows), batch.request)
        for query in range(batch.queries)
    ]


def _answer(
    columns: Mapping[str, AnswerColumns], query: int, request: pb.FindSimilarBatchRequest
) -> Answer:
    models = list(columns)
    if not request.models and request.queries[query].HasField("id"):
        # The server searched the spaces of all items of the call; `find_similar` would have
        # searched only those that have a vector of this one.
        models = [model for model in models if not columns[model].lacks(query)] or models
    return Answer(models, columns, query)


def _columns(message: pb.BatchAnswer, queries: int, batch: QueryBatch) -> AnswerColumns:
    request, files = batch.request, dict(enumerate(batch.files))
    starts = [0, *accumulate(message.counts)]
    lengths = [len(message.ids), len(message.distances)]
    with_attributes = returns_attributes(request)
    with_details = returns_details(request.options)
    if with_attributes:
        lengths.append(len(message.attributes_json))
    if with_details:
        lengths.append(len(message.details))
    if request.include_metadata:
        lengths.append(len(message.metadata))
    if len(message.counts) != queries or any(length != starts[-1] for length in lengths):
        raise ServerError(
            f"the reply for {queries} queries has {len(message.counts)} counts, which sum up to "
            f"{starts[-1]}, and columns of {lengths}"
        )
    distances = np.array(message.distances, dtype=np.float32)
    distances.setflags(write=False)
    return AnswerColumns(
        message.model,
        message.fingerprint,
        message.metric,
        starts,
        message.ids[:],
        distances,
        message.attributes_json[:] if with_attributes else None,
        message.metadata[:] if request.include_metadata else None,
        {each.position: name_file(each, files.get(each.position, "")) for each in message.refused},
        message.details[:] if with_details else None,
        request.options,
    )
