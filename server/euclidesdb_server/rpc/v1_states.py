"""The states of items in models, and their failures, as messages of the v1 API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.item_import import ImportedFailure
from euclidesdb_server.database.results import ItemFailure, ItemState
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.status import EmbeddingState

STATES: Final = {
    EmbeddingState.DONE: pb.EMBEDDING_STATE_DONE,
    EmbeddingState.FAILED: pb.EMBEDDING_STATE_FAILED,
    EmbeddingState.SUPERSEDED: pb.EMBEDDING_STATE_SUPERSEDED,
    EmbeddingState.MISSING: pb.EMBEDDING_STATE_MISSING,
}
_BY_NUMBER: Final[dict[int, EmbeddingState]] = {number: state for state, number in STATES.items()}


def failure_messages(failures: Iterable[ItemFailure]) -> list[pb.EmbeddingFailure]:
    """The failures of an item."""
    return [_failure(each.model, each.fingerprint, each.failure) for each in failures]


def state_message(state: ItemState) -> pb.ItemState:
    """The state of an item in a model."""
    message = pb.ItemState(
        model=state.model, fingerprint=state.fingerprint, state=STATES[state.state]
    )
    if state.failure is not None:
        message.failure.CopyFrom(_failure(state.model, state.fingerprint, state.failure))
    return message


def state_of(number: int, name: str) -> EmbeddingState:
    """A state that a request names. Raises InvalidRequest. name: of its field."""
    state = _BY_NUMBER.get(number)
    if state is None:
        known = ", ".join(f"{number} ({state})" for number, state in _BY_NUMBER.items())
        raise InvalidRequest(f"{name} = {number} should be one of {known}")
    return state


def imported_failure(message: pb.EmbeddingFailure) -> ImportedFailure:
    """A failure that an import restores."""
    time = message.time.seconds * 1000 + message.time.nanos // 1_000_000
    failure = Failure(message.reason, message.message, time)
    return ImportedFailure(message.model, message.fingerprint or None, failure)


def _failure(model: str, fingerprint: str, failure: Failure) -> pb.EmbeddingFailure:
    seconds, milliseconds = divmod(failure.time, 1000)
    return pb.EmbeddingFailure(
        model=model,
        fingerprint=fingerprint,
        reason=failure.reason,
        message=failure.message,
        time=Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000),
    )
