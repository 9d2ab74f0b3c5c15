"""The errors that a `Client` raises for failures outside this process.

    EuclidesDBError
    ├── InvalidRequest
    │   ├── UndecodableInput     not an image, truncated, too large; a tensor of a wrong shape
    │   ├── DimensionMismatch    a vector has the wrong length
    │   ├── ModelRejected        a model folder cannot be served
    │   ├── ReplyTooLarge        a search asks for more than fits into one reply
    │   └── VersionMismatch      a vector was made by another model version
    ├── NotFound
    │   ├── UnknownModel
    │   └── UnknownItem
    ├── ResourceExhausted
    │   ├── Overloaded           a model's queue is full
    │   ├── DiskFull
    │   └── MessageTooLarge      the request exceeds the server's size limit
    ├── Unavailable              no server answers at the address
    │   ├── ModelUnavailable     loading, restarting or quarantined
    │   └── ShuttingDown
    ├── NotAllowed               the server's configuration forbids the call
    ├── ModelFailed              the model raised, crashed, hung or returned invalid outputs
    ├── DeadlineExceeded         the timeout passed; a write may or may not have been applied
    ├── WriteInDoubt             the server's disk failed during a write, which may be there or not
    ├── DataLoss
    │   └── CorruptRecord        a stored record fails its checksum
    ├── Cancelled                the client was closed during the call
    ├── ClientClosed             the client was closed before the call
    ├── AddsInterrupted          add_many or add_vectors stopped midway; lists what is on disk
    └── ServerError              the server failed in another way; see its log

Arguments that cannot be sent at all raise ValueError or TypeError before anything is sent.

The server gives each of its errors a stable reason. If the transport itself failed, there is no
reason, and the gRPC status decides. This holds for the error of a whole call (`translated`) and for
a single item or query that a bulk call refuses (`refusal_error`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import grpc

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1.wire import REASON_KEY


class EuclidesDBError(Exception):
    """Base of every error of the client.

    reason: the server's stable identifier of the error ("unknown_item"); if the transport failed,
        the name of the gRPC status ("unavailable").
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class InvalidRequest(EuclidesDBError):
    """The request is invalid; the message names the offending value."""


class UndecodableInput(InvalidRequest):
    """The payload is not valid input of its kind."""


class DimensionMismatch(InvalidRequest):
    """A vector's length is not the model's feature_dim."""


class ModelRejected(InvalidRequest):
    """A model folder cannot be served; the model served before stays."""


class ReplyTooLarge(InvalidRequest):
    """A search asks for more bytes than fit into one reply; the message says what to ask for."""


class VersionMismatch(InvalidRequest):
    """A vector was made by another version of the model than the one served."""


class NotFound(EuclidesDBError):
    """Something named in the request does not exist."""


class UnknownModel(NotFound):
    """No model of that name is served."""


class UnknownItem(NotFound):
    """There is no item of that id, or it has no vector of the requested model."""


class ResourceExhausted(EuclidesDBError):
    """The server is at a limit."""


class Overloaded(ResourceExhausted):
    """A model's queue is full; try again later."""


class DiskFull(ResourceExhausted):
    """The server has no disk space for writes; reads still work."""


class MessageTooLarge(ResourceExhausted):
    """The request exceeds the server's size limit; the message gives both sizes in bytes."""


class Unavailable(EuclidesDBError):
    """The server, or a part of it that the request needs, is unavailable now but may return."""


class ModelUnavailable(Unavailable):
    """The model is loading, restarting or quarantined."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class NotAllowed(EuclidesDBError):
    """The server's configuration forbids the call."""


class ModelFailed(EuclidesDBError):
    """The model raised, crashed, hung, or returned a wrong shape or non-finite values."""


class DeadlineExceeded(EuclidesDBError):
    """The timeout passed before the reply arrived. A write may or may not have been applied."""


class WriteInDoubt(EuclidesDBError):
    """The server's disk failed while it wrote: the write may or may not have been applied.

    Which of these is known to the server as soon as it can write again.
    """


class DataLoss(EuclidesDBError):
    """Stored data is lost or damaged."""


class CorruptRecord(DataLoss):
    """A stored record fails its checksum or cannot be parsed."""


class Cancelled(EuclidesDBError):
    """The client was closed during the call. A write may or may not have been applied."""


class ClientClosed(EuclidesDBError):
    """The client was closed before the call; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An item of `add_many` or `add_vectors` that was not added: nothing of it was written.

    position: the item's position among those given, from 0.
    error: the error that `add` would have raised for it alone.
    """

    position: int
    id: str
    error: Exception


class AddsInterrupted(EuclidesDBError):
    """`add_many` or `add_vectors` stopped midway. `__cause__` is the error, with the same `reason`.

    If none of the input was written, that error itself is raised instead.

    refused: the items known to be refused, by position.
    unknown: position and id of the items that may or may not be on disk: the reply to their call
        was lost or reported a failure of the server, or their own write is in doubt (WriteInDoubt).
    resume_at: every item before this position is on disk or refused, so adding the items from here
        on completes the work. Some of them may be on disk already; adding them again is safe
        unless another client has changed them since.
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

    def __reduce__(self) -> tuple[Any, ...]:
        # that of Exception calls the class with the message alone
        arguments = (str(self), self.reason, self.refused, self.unknown, self.resume_at)
        return type(self), arguments, self.__dict__


class ServerError(EuclidesDBError):
    """The server failed in a way that has no class here; see its log."""


BY_REASON: Final[dict[str, type[EuclidesDBError]]] = {
    "database_error": ServerError,
    "invalid_request": InvalidRequest,
    "undecodable_input": UndecodableInput,
    "dimension_mismatch": DimensionMismatch,
    "model_rejected": ModelRejected,
    "reply_too_large": ReplyTooLarge,
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
    "write_in_doubt": WriteInDoubt,
    "corrupt_record": CorruptRecord,
}

# For the transport's own errors, and for a reason that only a newer server knows.
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
    # sent by a server that stops, although gRPC means UNAVAILABLE; for our own, see `translated`
    grpc.StatusCode.CANCELLED: Unavailable,
}


_OF_CONNECTIONS: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_STATUS_OF_CODE: Final = {status.value[0]: status for status in grpc.StatusCode}


def translated(
    error: grpc.RpcError, *, closed: bool, proxy: object | None = None
) -> EuclidesDBError:
    """The client's error for one of gRPC.

    closed: whether the client has been closed, which cancels its calls. proxy: describes the proxy
    that the call went through.
    """
    status = error.code()
    if status is grpc.StatusCode.CANCELLED and closed:
        return Cancelled("the client was closed during the call", "cancelled")
    trailing = error.trailing_metadata() or ()
    reasons = [str(entry.value) for entry in trailing if entry.key == REASON_KEY]
    reason, message = reasons[0] if reasons else "", error.details() or ""
    if proxy is not None and not reason and status in _OF_CONNECTIONS:
        message = f"{message} ({proxy})"
    return _error_of(status, reason, message)


def refusal_error(refusal: pb.Refusal) -> EuclidesDBError:
    """The error that a refused item or query would have raised on its own."""
    status = _STATUS_OF_CODE.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return _error_of(status, refusal.reason, refusal.message)


def _error_of(status: grpc.StatusCode, reason: str, message: str) -> EuclidesDBError:
    message = message or f"the call failed with {status.name}"
    kind = BY_REASON.get(reason) or BY_STATUS.get(status, ServerError)
    # gRPC's own error has no reason; only its text tells it from other limits.
    if kind is ResourceExhausted and not reason and "message larger than max" in message:
        kind = MessageTooLarge
    return kind(message, reason or status.name.lower())
