"""What a caller gets for an error: a status, by one table, and a stable reason.

A database error becomes its status with its message, and its `reason` in the trailing metadata.
Any other exception is a bug: the caller gets INTERNAL "internal error", our log the traceback.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import grpc

from euclidesdb_protos.v1.wire import REASON_KEY
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    DeadlineExceeded,
    DiskFull,
    InvalidRequest,
    ModelRejected,
    ModelUnavailable,
    NotAllowed,
    NotFound,
    Overloaded,
    Unauthenticated,
    Unavailable,
    VersionMismatch,
)
from euclidesdb_server.rpc import request_ids

log = logging.getLogger(__name__)

DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""Tells a client's retry policy not to retry: a quarantined model stays so for now."""
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
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    CorruptRecord: grpc.StatusCode.DATA_LOSS,
}


def details_of(error: DatabaseError) -> str:
    """The error's message, cut to MAX_MESSAGE_BYTES."""
    return str(error).encode(errors="replace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")


def status_of(error: DatabaseError) -> grpc.StatusCode:
    """The status of the nearest ancestor of the error's class in the table."""
    return next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call ends that fails."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, error: DatabaseError, request_id: str = "") -> Failure:
        """That of a database error; logged if something is wrong with the server or its data."""
        code = status_of(error)
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS):
            log.error("%s: %s", error.reason, error, extra={"request_id": request_id})
        final = (DO_NOT_RETRY,) if isinstance(error, ModelUnavailable) else ()
        return cls(
            code, details_of(error), ((REASON_KEY, error.reason), *final, *_metadata(request_id))
        )

    @classmethod
    def of_call(cls, error: Exception, path: str, request_id: str = "") -> Failure:
        """That of whatever a call to the method at `path` has raised; its frames are released."""
        if isinstance(error, DatabaseError):
            failure = cls.of(error, request_id)
        else:
            log.error("a call to %s failed", path, exc_info=error, extra={"request_id": request_id})
            failure = cls(grpc.StatusCode.INTERNAL, "internal error", _metadata(request_id))
        _release_frames(error)
        return failure


def _release_frames(error: BaseException | None) -> None:
    """Release the frames that an error came from: they hold the request, and often the error, too,
    so that a request of 63 MiB would stay in memory until the next collection of garbage.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _metadata(request_id: str) -> tuple[tuple[str, str], ...]:
    return ((request_ids.KEY, request_id),) if request_id else ()


def late_message(timeout: float) -> DeadlineExceeded:
    """The error of a call whose message does not arrive."""
    return DeadlineExceeded(
        f"the call's message did not arrive within [server] message_timeout = {timeout:g} s"
    )


def check_length(data: bytes, limit: int) -> None:
    """Raise Overloaded, in gRPC's own words, for a message of more than `limit` bytes."""
    if len(data) > limit:
        raise Overloaded(f"Received message larger than max ({len(data)} vs. {limit})")


def unread_replies(timeout: float) -> DeadlineExceeded:
    """The error of a stream whose client does not read its replies."""
    return DeadlineExceeded(
        f"the stream's replies were not read within [server] message_timeout = {timeout:g} s"
    )
