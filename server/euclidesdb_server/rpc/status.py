"""The single table that maps errors to gRPC statuses, looked up by class ancestry."""

from __future__ import annotations

from typing import Final

import grpc

from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    DeadlineExceeded,
    DiskFull,
    InvalidRequest,
    ModelRejected,
    NotAllowed,
    NotFound,
    Overloaded,
    Unavailable,
    VersionMismatch,
)

MAX_MESSAGE_BYTES: Final = 2000
"""Of UTF-8, each up to three bytes on the wire: status details travel in a header, and gRPC drops
all headers of a reply, the status included, if they exceed 8 KiB."""

STATUS_OF: Final[dict[type[DatabaseError], grpc.StatusCode]] = {
    DatabaseError: grpc.StatusCode.INTERNAL,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    VersionMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    ModelRejected: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DiskFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    CorruptRecord: grpc.StatusCode.DATA_LOSS,
}


def details_of(error: DatabaseError) -> str:
    """The error's message, cut to MAX_MESSAGE_BYTES."""
    return str(error).encode(errors="replace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")


def status_of(error: DatabaseError) -> grpc.StatusCode:
    """The status of the nearest ancestor of the error's class in the table."""
    return next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
