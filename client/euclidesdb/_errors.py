"""The errors a `Client` raises for what went wrong outside this process.

    EuclidesDBError
    ├── InvalidRequest
    │   ├── UndecodableInput     no image, truncated, too large; a tensor of another shape
    │   ├── DimensionMismatch    a vector has the wrong length
    │   ├── ModelRejected        a model folder cannot be served
    │   └── VersionMismatch           a vector was made by another model version
    ├── NotFound
    │   ├── UnknownModel
    │   └── UnknownItem
    ├── ResourceExhausted
    │   ├── Overloaded           a model's queue is full
    │   ├── DiskFull
    │   └── MessageTooLarge      the server takes no message of this size
    ├── Unavailable              nobody answers at the address
    │   ├── ModelUnavailable     loading, restarting or quarantined
    │   └── ShuttingDown
    ├── NotAllowed               the server's configuration forbids the call
    ├── ModelFailed              the model raised, crashed, hung or answered nonsense
    ├── DeadlineExceeded         the timeout passed; a write may have been applied or not
    ├── DataLoss
    │   └── CorruptRecord        a stored record fails its checksum
    ├── Cancelled                the client was closed during the call
    ├── ClientClosed             the client was closed before the call
    ├── AddsInterrupted          add_many or add_vectors ended midway; says what is on disk
    └── ServerError              the server failed in another way; its log says how

Arguments that cannot be sent at all raise ValueError or TypeError before anything is sent.

The server names each of its errors by a stable reason; where the transport itself failed
there is none, and the gRPC status decides. One table knows both: for the error of a call
(`translated`), and for an item or query that a call of many refuses (`refusal_error`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc

from euclidesdb_protos.v1 import database_pb2 as pb

REASON_KEY: Final = "euclidesdb-reason"
"""Trailing metadata that carries the server's reason; servers depend on it, so it never changes."""


class EuclidesDBError(Exception):
    """Base of every error of the client.

    reason: the server's stable word for what happened ("unknown_item"); where the transport
        failed, the name of the gRPC status ("unavailable").
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class InvalidRequest(EuclidesDBError):
    """The server cannot serve the request as it stands; the message names the offending value."""


class UndecodableInput(InvalidRequest):
    """The payload is not what its kind of input promises."""


class DimensionMismatch(InvalidRequest):
    """A vector's length is not the model's feature_dim."""


class ModelRejected(InvalidRequest):
    """A model folder cannot be served; what was served before goes on."""


class VersionMismatch(InvalidRequest):
    """A vector belongs to another version of the model than the one served."""


class NotFound(EuclidesDBError):
    """Something named in the request does not exist."""


class UnknownModel(NotFound):
    """No model of that name is served."""


class UnknownItem(NotFound):
    """No item of that id is stored, or it has no vector of the model asked for."""


class ResourceExhausted(EuclidesDBError):
    """The server is at a limit."""


class Overloaded(ResourceExhausted):
    """A model's queue is full; try again later."""


class DiskFull(ResourceExhausted):
    """The server has no room to write; reads go on."""


class MessageTooLarge(ResourceExhausted):
    """The request is larger than the server takes; the message states both sizes in bytes."""


class Unavailable(EuclidesDBError):
    """The server, or what the request needs of it, is not there now and may be later."""


class ModelUnavailable(Unavailable):
    """The model is loading, restarting or quarantined."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class NotAllowed(EuclidesDBError):
    """The server's configuration forbids the call."""


class ModelFailed(EuclidesDBError):
    """The model raised, crashed, hung, or answered with a wrong shape or non-finite values."""


class DeadlineExceeded(EuclidesDBError):
    """The timeout passed before the answer came. A write may have been applied or not."""


class DataLoss(EuclidesDBError):
    """Stored data is lost or damaged."""


class CorruptRecord(DataLoss):
    """A stored record fails its checksum or cannot be parsed."""


class Cancelled(EuclidesDBError):
    """The client was closed during the call. A write may have been applied or not."""


class ClientClosed(EuclidesDBError):
    """The client was closed before the call; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An item of `add_many` or `add_vectors` that was not added.

    position: of the item among those given, from 0.
    error: what `add` would have raised for it alone.
    """

    position: int
    id: str
    error: Exception


class AddsInterrupted(EuclidesDBError):
    """`add_many` or `add_vectors` ended midway; `__cause__` is why, and gives the `reason`.

    Where nothing of the input was written, that error itself is raised instead.

    refused: the items known to be refused, by position.
    unknown: position and id of the items of calls that may have been applied, as their reply
        was lost or said that the server had failed; each may be on disk.
    resume_at: every item before this position is on disk or refused, so adding those from here
        on completes the work. Of the items after it some may be on disk, too; to add them again
        is safe unless someone else has changed them since.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        refused: tuple[Refused, ...],
        unknown: tuple[tuple[int, str], ...],
        resume_at: int,
    ) -> None:
        super().__init__(message, reason)
        self.refused = refused
        self.unknown = unknown
        self.resume_at = resume_at


class ServerError(EuclidesDBError):
    """The server failed in a way that has no class of its own; its log says how."""


BY_REASON: Final[dict[str, type[EuclidesDBError]]] = {
    "database_error": ServerError,
    "invalid_request": InvalidRequest,
    "undecodable_input": UndecodableInput,
    "dimension_mismatch": DimensionMismatch,
    "model_rejected": ModelRejected,
    "version_mismatch": VersionMismatch,
    "not_found": NotFound,
    "unknown_model": UnknownModel,
    "unknown_item": UnknownItem,
    "overloaded": Overloaded,
    "deadline_exceeded": DeadlineExceeded,
    "unavailable": Unavailable,
    "model_unavailable": ModelUnavailable,
    "shutting_down": ShuttingDown,
    "not_allowed": NotAllowed,
    "model_failed": ModelFailed,
    "storage_error": ServerError,
    "disk_full": DiskFull,
    "corrupt_record": CorruptRecord,
}

# For the transport's own errors, and for a reason that a newer server has and we do not know.
# Any other status is a ServerError.
BY_STATUS: Final[dict[grpc.StatusCode, type[EuclidesDBError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    # by the server, as it stops (where gRPC means UNAVAILABLE); by us: see `translated`
    grpc.StatusCode.CANCELLED: Unavailable,
}


_STATUS_OF_CODE: Final = {status.value[0]: status for status in grpc.StatusCode}


def translated(error: grpc.RpcError, *, closed: bool) -> EuclidesDBError:
    """The error that stands for one of gRPC.

    closed: whether the client has been closed, which cancels its calls.
    """
    status = error.code()
    if status is grpc.StatusCode.CANCELLED and closed:
        return Cancelled("the client was closed during the call", "cancelled")
    trailing = error.trailing_metadata() or ()
    reasons = [str(entry.value) for entry in trailing if entry.key == REASON_KEY]
    return _error_of(status, reasons[0] if reasons else "", error.details() or "")


def refusal_error(refusal: pb.Refusal) -> EuclidesDBError:
    """The error that the refused item or query would have raised alone."""
    status = _STATUS_OF_CODE.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return _error_of(status, refusal.reason, refusal.message)


def _error_of(status: grpc.StatusCode, reason: str, message: str) -> EuclidesDBError:
    message = message or f"the call failed with {status.name}"
    kind = BY_REASON.get(reason) or BY_STATUS.get(status, ServerError)
    # gRPC's own refusal has no reason; only its text sets it apart from other limits.
    if kind is ResourceExhausted and not reason and "message larger than max" in message:
        kind = MessageTooLarge
    return kind(message, reason or status.name.lower())
