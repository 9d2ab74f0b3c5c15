"""The errors that a `Client` raises for failures outside this process.

    EuclidesDBError
    ├── InvalidRequest
    │   ├── UndecodableInput     not an image, truncated, too large; a tensor of a wrong shape
    │   ├── DimensionMismatch    a vector has the wrong length
    │   ├── ModelRejected        a model folder cannot be served
    │   ├── ReplyTooLarge        a call asks for more than fits into one reply; an add wrote nothing
    │   └── VersionMismatch      a vector was made by another model version
    ├── NotFound
    │   ├── UnknownModel
    │   ├── UnknownItem
    │   └── UnknownJob
    ├── ResourceExhausted
    │   ├── Overloaded           a model's queue is full
    │   │   └── BackupInProgress another backup is running
    │   ├── DiskFull
    │   └── MessageTooLarge      the request exceeds the server's size limit
    ├── Unavailable              not available now, may be later
    │   ├── ConnectionFailed     no server answers at the address, or the connection broke
    │   ├── ModelUnavailable     loading, restarting or quarantined
    │   └── ShuttingDown
    ├── Unauthenticated          the server wants an API key, or does not accept this one
    ├── NotAllowed               the server's configuration forbids the call
    │   └── RoleRequired         the API key's role does not permit the call
    ├── ModelFailed              the model raised, crashed, hung or returned invalid outputs
    │   └── EmbeddingFailed      so did a model on an item that is stored all the same
    ├── DeadlineExceeded         the timeout passed; a write may or may not have been applied
    ├── WriteInDoubt             the server's disk failed during a write, which may be there or not
    ├── DataLoss
    │   └── CorruptRecord        a stored record fails its checksum
    ├── Cancelled                the client was closed during the call
    ├── ClientClosed             the client was closed before the call
    ├── AddsInterrupted          add_many or add_vectors stopped midway; lists what is on disk
    └── ServerError              the server failed in another way; see its log

Arguments that cannot be sent at all raise ValueError or TypeError before anything is sent.

`_translation` makes them from what the server and gRPC report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from euclidesdb._states import EmbeddingFailure

if TYPE_CHECKING:
    from euclidesdb._changes import Changes


class EuclidesDBError(Exception):
    """Base of every error of the client.

    reason: the server's stable identifier of the error ("unknown_item"); if the transport failed,
        the name of the gRPC status ("unavailable").
    """

    __module__ = "euclidesdb"  # where users find it, not where it is written

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:
            cls.__module__ = EuclidesDBError.__module__


class InvalidRequest(EuclidesDBError):
    """The request is invalid; the message names the offending value."""


class UndecodableInput(InvalidRequest):
    """The payload is not valid input of its kind."""


class DimensionMismatch(InvalidRequest):
    """A vector's length is not the model's feature_dim."""


class ModelRejected(InvalidRequest):
    """A model folder cannot be served; the model served before stays."""


class ReplyTooLarge(InvalidRequest):
    """A call asks for more bytes than fit into one reply; the message says what to ask for.

    An add has written nothing then.
    """


class VersionMismatch(InvalidRequest):
    """A vector was made by another version of the model than the one served."""


class NotFound(EuclidesDBError):
    """Something named in the request does not exist."""


class UnknownModel(NotFound):
    """No model of that name is served."""


class UnknownItem(NotFound):
    """There is no item of that id, or it has no vector of the requested model."""


class UnknownJob(NotFound):
    """There is no job of that id (any more)."""


class ResourceExhausted(EuclidesDBError):
    """The server is at a limit."""


class Overloaded(ResourceExhausted):
    """A model's queue is full; try again later."""


class BackupInProgress(Overloaded):
    """Another backup of the server is running; only one does at a time."""


class DiskFull(ResourceExhausted):
    """The server has no disk space for writes; reads still work."""


class MessageTooLarge(ResourceExhausted):
    """The request exceeds the server's size limit; the message gives both sizes in bytes."""


class Unavailable(EuclidesDBError):
    """The server, or a part of it that the request needs, is unavailable now but may return."""


class ConnectionFailed(Unavailable):
    """No server answers at the address, or the connection broke; the message says what to check.

    If it broke during a write, that may or may not have been applied.
    """


class ModelUnavailable(Unavailable):
    """The model is loading, restarting or quarantined."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class NotAllowed(EuclidesDBError):
    """The server's configuration forbids the call."""


class RoleRequired(NotAllowed):
    """The API key has a role that does not permit the call; the message names both roles."""


class Unauthenticated(EuclidesDBError):
    """The server answers calls with an API key alone, or does not accept the one that it got."""


class ModelFailed(EuclidesDBError):
    """The model raised, crashed, hung, or returned a wrong shape or non-finite values."""


class EmbeddingFailed(ModelFailed):
    """An item is stored, without the features of the models that failed on it.

    id: of the item. failures: of these models. It is found by the searches of all others.
    """

    def __init__(self, message: str, id: str, failures: tuple[EmbeddingFailure, ...]) -> None:  # noqa: A002
        super().__init__(message, "model_failed")
        self.id = id
        self.failures = failures

    def __reduce__(self) -> tuple[Any, ...]:
        # that of Exception calls the class with the message alone
        return type(self), (str(self), self.id, self.failures), self.__dict__


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
    """An item of a call for many (`add_many`, `get_many`, ...) that was refused.

    Nothing of it was written or removed; if the error is WriteInDoubt, which `add_stream` alone
    returns, it is unknown whether it was.

    position: the item's position among those given, from 0.
    error: the error that the call for it alone would have raised: an EuclidesDBError of the server,
        or what kept the client from sending it (OSError for an image, ValueError, TypeError, ...).
    """

    position: int
    id: str
    error: Exception

    @property
    def reason(self) -> str:
        """The `reason` of an EuclidesDBError; "not_sent" for any other error."""
        return reason_of(self.error)


@dataclass(frozen=True, slots=True)
class Failed:
    """An item of `add_many` that is on disk and in the next search, but lacks features.

    position: the item's position among those given, from 0.
    error: the error that `add` would have raised; its `failures` say which models failed and why.
    """

    position: int
    id: str
    error: EmbeddingFailed

    @property
    def reason(self) -> str:
        """That of the error: "model_failed"."""
        return self.error.reason


class AddsInterrupted(EuclidesDBError):
    """`add_many`, `add_vectors`, `import_file` or `add_stream` stopped midway.

    `__cause__` is the error, with the same `reason`. If none of the input was written, the first
    three raise that error itself instead.

    refused: the items known to be refused, by position; not those that `add_stream` has yielded.
    failed: those of `add_many` that are known to be on disk without the features of every model.
    unknown: position and id of the items that may or may not be on disk: the reply to their call
        was lost or reported a failure of the server, or their own write is in doubt (WriteInDoubt).
    resume_at: every item before this position is on disk or refused, so adding the items from here
        on completes the work. Some of them may be on disk already; adding them again is safe
        unless another client has changed them since.
    changes: `Changes`: what has changed of the items that are known to be on disk; None of
        `add_stream`, which has yielded it.
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
        self.failed: tuple[Failed, ...] = ()
        self.changes: Changes | None = None
        self.refused = refused
        self.unknown = unknown
        self.resume_at = resume_at

    def __reduce__(self) -> tuple[Any, ...]:
        # that of Exception calls the class with the message alone
        arguments = (str(self), self.reason, self.refused, self.unknown, self.resume_at)
        return type(self), arguments, self.__dict__


class ServerError(EuclidesDBError):
    """The server failed in a way that has no class here; see its log."""


def reason_of(error: Exception) -> str:
    """The `reason` of an EuclidesDBError; "not_sent" for an error that comes before any call."""
    return error.reason if isinstance(error, EuclidesDBError) else "not_sent"
