"""What there is of an item by each model, and how models have failed on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from euclidesdb import _checks as checks
from euclidesdb_protos.v1 import database_pb2 as pb

_STATES: Final[dict[str, pb.EmbeddingState]] = {
    "done": pb.EMBEDDING_STATE_DONE,
    "failed": pb.EMBEDDING_STATE_FAILED,
    "superseded": pb.EMBEDDING_STATE_SUPERSEDED,
    "missing": pb.EMBEDDING_STATE_MISSING,
}
_NAMES: Final = {number: name for name, number in _STATES.items()}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EmbeddingFailure:
    """A model version that failed on a stored item.

    reason: "raised", "invalid_output" (NaN, infinity, a wrong shape), "out_of_memory", "crashed",
        "timed_out" or, of an embedding job, "undecodable"; a newer server may have others.
    time: in UTC, when it first failed on this item with this message.
    """

    model: str
    fingerprint: str
    reason: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ItemState:
    """The state of an item in a model.

    fingerprint: of the version in service.
    state: "done": there are features of that version; "failed": it failed on the item as it is now;
        "superseded": there are features of other versions alone; "missing": there is nothing.
    failure: None unless it failed.
    """

    model: str
    fingerprint: str
    state: str
    failure: EmbeddingFailure | None = None


def failures_of(messages: Iterable[pb.EmbeddingFailure]) -> tuple[EmbeddingFailure, ...]:
    """The failures in a reply."""
    return tuple(map(_failure, messages))


def states_of(messages: Iterable[pb.ItemState]) -> tuple[ItemState, ...]:
    """The states in a reply; one that only a newer server knows is "unknown"."""
    return tuple(
        ItemState(
            message.model,
            message.fingerprint,
            _NAMES.get(message.state, "unknown"),
            _failure(message.failure) if message.HasField("failure") else None,
        )
        for message in messages
    )


def set_state(request: Any, state: str | None, model: str | None) -> None:
    """Set `only` of a request, if a state is given. Raises ValueError, TypeError."""
    if state is not None:
        request.only.CopyFrom(state_filter(state, model))
    elif model is not None:
        raise ValueError("model says of which model the state is; state is None")


def state_filter(state: str, model: str | None) -> pb.StateFilter:
    """The message for the items in a state in a model, or in any. Raises ValueError, TypeError."""
    name = "" if model is None else checks.text("model", model)
    return pb.StateFilter(state=state_number(state), model=name)


def state_number(state: str) -> pb.EmbeddingState:
    """A state on the wire. Raises ValueError, TypeError."""
    number = _STATES.get(checks.text("state", state))
    if number is None:
        raise ValueError(f"state = {state!r} should be {', '.join(map(repr, _STATES))}")
    return number


def failure_text(failures: Iterable[EmbeddingFailure]) -> str:
    """Which models failed and why, in a sentence."""
    return "; ".join(f"{each.model!r} ({each.reason}): {each.message}" for each in failures)


def _failure(message: pb.EmbeddingFailure) -> EmbeddingFailure:
    since = timedelta(seconds=message.time.seconds, microseconds=message.time.nanos // 1000)
    return EmbeddingFailure(
        message.model, message.fingerprint, message.reason, message.message, EPOCH + since
    )
