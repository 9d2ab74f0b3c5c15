"""From what the server and gRPC report to the errors of the client.

The server gives each of its errors a stable reason. If the transport itself failed, there is no
reason, and the gRPC status decides. This holds for the error of a whole call (`translated`) and for
a single item or query that a bulk call refuses (`refusal_error`).
"""

from __future__ import annotations

from typing import Any, Final

import grpc

from euclidesdb._channel import Target
from euclidesdb._connection_failures import connection_failed
from euclidesdb._errors import (
    BackupInProgress,
    Cancelled,
    CorruptRecord,
    DataLoss,
    DeadlineExceeded,
    DimensionMismatch,
    DiskFull,
    EmbeddingFailed,
    EuclidesDBError,
    InvalidRequest,
    MessageTooLarge,
    ModelFailed,
    ModelRejected,
    ModelUnavailable,
    NotAllowed,
    NotFound,
    Overloaded,
    ReplyTooLarge,
    ResourceExhausted,
    RoleRequired,
    ServerError,
    ShuttingDown,
    Unauthenticated,
    Unavailable,
    UndecodableInput,
    UnknownItem,
    UnknownJob,
    UnknownModel,
    VersionMismatch,
    WriteInDoubt,
)
from euclidesdb._states import EmbeddingFailure, failure_text
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1.wire import REASON_KEY

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
    "unknown_job": UnknownJob,
    "overloaded": Overloaded,
    "backup_in_progress": BackupInProgress,
    "deadline_exceeded": DeadlineExceeded,
    "unavailable": Unavailable,
    "model_unavailable": ModelUnavailable,
    "shutting_down": ShuttingDown,
    "unauthenticated": Unauthenticated,
    "not_allowed": NotAllowed,
    "role_required": RoleRequired,
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
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS: DataLoss,
    # sent by a server that stops, although gRPC means UNAVAILABLE; for our own, see `translated`
    grpc.StatusCode.CANCELLED: Unavailable,
}


_OF_CONTENTS: Final = ("undecodable_input", "model_failed")
"""The reasons that blame what an item contains."""
_STATUS_OF_CODE: Final = {status.value[0]: status for status in grpc.StatusCode}


def translated(
    error: grpc.RpcError, *, closed: bool, target: Target, file: str = ""
) -> EuclidesDBError:
    """The client's error for one of gRPC.

    closed: whether the client has been closed, which cancels its calls. target: where it connects.
    file: the name of the image file that was sent, if there was one.
    """
    status = error.code()
    if status is grpc.StatusCode.CANCELLED and closed:
        return Cancelled("the client was closed during the call", "cancelled")
    trailing: Any = error.trailing_metadata() or ()
    reasons = [str(value) for key, value in trailing if key == REASON_KEY]
    reason, message = reasons[0] if reasons else "", error.details() or ""
    if not reason and status is grpc.StatusCode.UNAVAILABLE:
        return connection_failed(message, target)
    if target.proxy is not None and not reason and status is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"{message} ({target.proxy})"
    return _error_of(status, reason, _with_file(message, reason, file))


def name_file(refusal: pb.Refusal, file: str) -> pb.Refusal:
    """The refusal of an item or query whose image was read from `file`, which it names; "": none.

    The server, which gets only the bytes, cannot name it.
    """
    refusal.message = _with_file(refusal.message, refusal.reason, file)
    return refusal


def refusal_error(refusal: pb.Refusal) -> EuclidesDBError:
    """The error that a refused item or query would have raised on its own."""
    status = _STATUS_OF_CODE.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return _error_of(status, refusal.reason, refusal.message)


def _with_file(message: str, reason: str, file: str) -> str:
    return f"{message} (image {file!r})" if file and reason in _OF_CONTENTS else message


def _error_of(status: grpc.StatusCode, reason: str, message: str) -> EuclidesDBError:
    message = message or f"the call failed with {status.name}"
    kind = BY_REASON.get(reason) or BY_STATUS.get(status, ServerError)
    # gRPC's own error has no reason; only its text tells it from other limits.
    if kind is ResourceExhausted and not reason and "message larger than max" in message:
        kind = MessageTooLarge
    return kind(message, reason or status.name.lower())


def embedding_failed(
    item_id: str, failures: tuple[EmbeddingFailure, ...], file: str = ""
) -> EmbeddingFailed:
    """The error for an item that is stored, and has failures. file: of its image, if it has one."""
    image = f" (image {file!r})" if file else ""
    message = f"item {item_id!r}{image} is stored, but models have failed on it: "
    return EmbeddingFailed(message + failure_text(failures), item_id, failures)
