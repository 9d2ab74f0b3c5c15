"""ReplyBudget: the bytes that the reply to an add or a get may have, counted before they are there.

A search counts its own (`search_work`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.database.leased import Leased
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.errors import DatabaseError, ReplyTooLarge
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.embedding import Embedding

FLOAT_BYTES: Final = 4

ADD_ADVICE: Final = (
    "nothing was added: send fewer items in one call, or leave out include_vectors and "
    "include_predictions and get the items one by one"
)
GET_ADVICE: Final = "get the payload, the vectors and the predictions in separate calls"
GET_MANY_ADVICE: Final = "get fewer items, or less of each, in one call"


class ReplyBudget:
    """The bytes of the vectors, predictions and payloads of one reply, or of all that may be large.

    For one thread.

    advice: what to do about a reply that is too large, for the message.
    """

    def __init__(self, limit: int, advice: str) -> None:
        self._limit = limit
        self._advice = advice
        self._size = 0

    def add(self, size: int) -> None:
        """Count bytes. Raises ReplyTooLarge if that is more than one reply may have."""
        self._size += size
        if self._size > self._limit:
            raise ReplyTooLarge(
                f"the reply has {self._size:,} bytes, or more; "
                f"[server] max_reply_bytes permits {self._limit:,} in one reply: {self._advice}"
            )


@dataclass(frozen=True, slots=True)
class WantedArrays:
    """The arrays that a caller wants of each embedding, and the budget of its reply."""

    vectors: bool
    predictions: bool
    budget: ReplyBudget

    def __bool__(self) -> bool:
        return self.vectors or self.predictions

    def of(self, found: Embedding | None) -> tuple[Vector | None, Vector | None]:
        """Those of one embedding. Raises ReplyTooLarge."""
        vector = found.vector if found is not None and self.vectors else None
        predictions = found.predictions if found is not None and self.predictions else None
        self.budget.add(sum(array.nbytes for array in (vector, predictions) if array is not None))
        return vector, predictions


def check_add_reply(
    requests: Sequence[AddRequest | DatabaseError], leased: Leased, limit: int
) -> None:
    """Raise ReplyTooLarge if the reply to a call that adds items would be too large.

    The lengths of all arrays are known beforehand, so nothing has been done for the call then.
    """
    budget = ReplyBudget(limit, ADD_ADVICE)
    for request in requests:
        if isinstance(request, AddRequest):
            budget.add(_reply_bytes(request, leased))


def _reply_bytes(request: AddRequest, leased: Leased) -> int:
    """Of the arrays in the reply to one item; 0 for a model that cannot embed it."""
    if not (request.include_vectors or request.include_predictions):
        return 0
    size = 0
    if request.include_vectors:
        size += sum(vector.values.nbytes for vector in request.vectors.values())
    for name in dict.fromkeys(request.models):
        with suppress(DatabaseError):  # the outcome of the item
            model = leased.get(name).model
            if model is not None:
                conf = model.folder.conf
                size += FLOAT_BYTES * conf.feature_dim * request.include_vectors
                size += FLOAT_BYTES * conf.prediction_dim * request.include_predictions
    return size
