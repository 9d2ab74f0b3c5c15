"""The answers of `find_similar_many`: columns, of which rows are made when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from euclidesdb._convert import parsed_attributes
from euclidesdb._errors import EuclidesDBError, ServerError, refusal_error
from euclidesdb._types import Neighbors, Vector
from euclidesdb_protos.v1 import database_pb2 as pb


class Answer(Mapping[str, Neighbors]):
    """One query's answer: `Neighbors` by model, in the order asked, as `find_similar` returns.

    Where the query was refused, by the server or here (its image cannot be read), looking up the
    model raises what `find_similar` would have raised for it alone; `error` says so beforehand.
    """

    __slots__ = ("_by_model", "_query")

    def __init__(self, by_model: Mapping[str, Answers | Unsent], query: int) -> None:
        self._by_model = by_model
        self._query = query

    @property
    def error(self) -> Exception | None:
        """Why the query was refused (by the first model that refused it); None: it was not."""
        errors = (answers.error(self._query) for answers in self._by_model.values())
        return next((error for error in errors if error is not None), None)

    def __getitem__(self, model: str) -> Neighbors:
        return self._by_model[model].neighbors(self._query)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_model)

    def __len__(self) -> int:
        return len(self._by_model)

    def __repr__(self) -> str:
        return f"Answer(models={list(self)!r}, error={self.error!r})"


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers to all queries of a call in one model's space.

    starts: where each query's neighbors begin in the columns, and where the last one's end.
    attributes_json, metadata: None where not asked for.
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

    def error(self, query: int) -> EuclidesDBError | None:
        """Why `query` was refused, a new error each time it is asked; None: it was not."""
        refusal = self.refused.get(query)
        return None if refusal is None else refusal_error(refusal)

    def neighbors(self, query: int) -> Neighbors:
        """The answer to `query`. Raises its error where it was refused."""
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
        )


@dataclass(frozen=True, slots=True)
class Unsent:
    """Stands where the answers would be, for a query that could not be sent."""

    why: Exception

    def error(self, query: int) -> Exception:  # noqa: ARG002  as `Answers.error`
        """Why."""
        return self.why

    def neighbors(self, query: int) -> Neighbors:  # noqa: ARG002  as `Answers.neighbors`
        """Raises why."""
        raise self.why


def answers_of(
    reply: pb.FindSimilarBatchReply,
    queries: int,
    unsent: Mapping[int, Exception],
    conditions: pb.FindSimilarBatchRequest,
) -> list[Answer]:
    """The answer to each of the `queries`; `reply` is about all but those that are `unsent`."""
    sent = queries - len(unsent)
    by_model = {message.model: _columns(message, sent, conditions) for message in reply.answers}
    rows = iter(range(sent))
    return [
        Answer(dict.fromkeys(conditions.models, Unsent(unsent[query])), query)
        if query in unsent
        else Answer(by_model, next(rows))
        for query in range(queries)
    ]


def _columns(message: pb.BatchAnswer, queries: int, request: pb.FindSimilarBatchRequest) -> Answers:
    starts = [0, *accumulate(message.counts)]
    lengths = [len(message.ids), len(message.distances)]
    if request.include_attributes:
        lengths.append(len(message.attributes_json))
    if request.include_metadata:
        lengths.append(len(message.metadata))
    if len(message.counts) != queries or any(length != starts[-1] for length in lengths):
        raise ServerError(
            f"the reply for {queries} queries has {len(message.counts)} counts, which sum up to "
            f"{starts[-1]}, and columns of {lengths}"
        )
    distances = np.array(message.distances, dtype=np.float32)
    distances.setflags(write=False)
    return Answers(
        message.model,
        message.fingerprint,
        message.metric,
        starts,
        message.ids[:],
        distances,
        message.attributes_json[:] if request.include_attributes else None,
        message.metadata[:] if request.include_metadata else None,
        {refusal.position: refusal for refusal in message.refused},
    )
