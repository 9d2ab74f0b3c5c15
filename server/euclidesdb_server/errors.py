"""The errors of the database. They know nothing of gRPC.

    DatabaseError
    ├── InvalidRequest
    │   ├── UndecodableInput     a payload is not an image, truncated, too large an image, ...
    │   ├── DimensionMismatch    a vector has the wrong length
    │   ├── ModelRejected        a model folder cannot be loaded; the version served stays
    │   ├── ReplyTooLarge        a call asks for more than fits into one reply
    │   └── VersionMismatch      a vector was made by another model version
    ├── NotFound
    │   ├── UnknownModel
    │   ├── UnknownItem
    │   └── UnknownJob
    ├── Overloaded               a model's queue is full
    │   └── BackupInProgress     another backup is running
    ├── DeadlineExceeded         the caller's deadline passed
    ├── Unavailable
    │   ├── ModelUnavailable     loading, restarting or quarantined
    │   └── ShuttingDown
    ├── Unauthenticated          the call has no API key, or one that is not accepted
    ├── NotAllowed
    │   └── RoleRequired         the API key's role does not permit the call
    ├── ModelFailed              the model raised, crashed, hung or returned a wrong shape
    ├── StorageError
    │   ├── DiskFull
    │   ├── WriteInDoubt         a write failed, and may be on disk nevertheless
    │   └── CorruptRecord
    └── StartupError
        ├── ConfigError          names file, section and key
        ├── DataFolderError      in use, of a newer format, or unreadable
        └── ModelLoadError       a model folder that cannot be served

Each has a stable `reason`: clients depend on its text, so it never changes.
`rpc/status.py` maps each to a gRPC status.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import ClassVar


class DatabaseError(Exception):
    """Base of every error of the database."""

    reason: ClassVar[str] = "database_error"


class InvalidRequest(DatabaseError):
    """The request is wrong; the message names the offending value."""

    reason = "invalid_request"


class UndecodableInput(InvalidRequest):
    """The payload cannot be decoded as its kind of input."""

    reason = "undecodable_input"


class DimensionMismatch(InvalidRequest):
    """A vector's length is not the model's feature_dim."""

    reason = "dimension_mismatch"


class ModelRejected(InvalidRequest):
    """A model folder cannot be loaded; the version served before stays."""

    reason = "model_rejected"


class ReplyTooLarge(InvalidRequest):
    """The answer takes more bytes than one reply may have; the message says what to ask for."""

    reason = "reply_too_large"


class VersionMismatch(InvalidRequest):
    """A vector was made by another version of the model than the one served."""

    reason = "version_mismatch"


class NotFound(DatabaseError):
    """Something named in the request does not exist."""

    reason = "not_found"


class UnknownModel(NotFound):
    """No model of that name is served."""

    reason = "unknown_model"


class UnknownItem(NotFound):
    """No item of that id is stored, or it has no vector of the requested model."""

    reason = "unknown_item"


class UnknownJob(NotFound):
    """There is no embedding job of that number (any more)."""

    reason = "unknown_job"


class Overloaded(DatabaseError):
    """A model's queue is full; try again later."""

    reason = "overloaded"


class BackupInProgress(Overloaded):
    """Another backup of the server is running, or its caller has not ended the call yet."""

    reason = "backup_in_progress"


class DeadlineExceeded(DatabaseError):
    """The caller's deadline passed, or the caller cancelled, before the answer was ready."""

    reason = "deadline_exceeded"


class Unavailable(DatabaseError):
    """What the request needs is not available now, and may be later."""

    reason = "unavailable"


class ModelUnavailable(Unavailable):
    """The model is loading, restarting or quarantined."""

    reason = "model_unavailable"


class ShuttingDown(Unavailable):
    """The server is stopping."""

    reason = "shutting_down"


class Unauthenticated(DatabaseError):
    """The call has no API key and needs one, or its key is not accepted."""

    reason = "unauthenticated"


class NotAllowed(DatabaseError):
    """The configuration forbids the call."""

    reason = "not_allowed"


class RoleRequired(NotAllowed):
    """The caller has a role that does not permit the call."""

    reason = "role_required"


class FailureReason(Enum):
    """How a model failed on an item. The values are stored and sent: they never change."""

    RAISED = "raised"
    INVALID_OUTPUT = "invalid_output"
    """A wrong shape or type, NaN, infinity, or a reply that makes no sense."""
    OUT_OF_MEMORY = "out_of_memory"
    """The program reported it. A worker that the kernel kills for its memory has crashed."""
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    UNDECODABLE = "undecodable"
    """A stored payload that this version cannot read. An add is refused instead."""


class ModelFailed(DatabaseError):
    """The model raised, crashed, hung, or returned a wrong shape or non-finite values."""

    reason = "model_failed"

    def __init__(self, message: str, failure_reason: FailureReason = FailureReason.RAISED) -> None:
        super().__init__(message, failure_reason)
        self.failure_reason = failure_reason

    def __str__(self) -> str:
        return str(self.args[0])


class StorageError(DatabaseError):
    """LevelDB or the file system failed."""

    reason = "storage_error"


class DiskFull(StorageError):
    """The disk is full, so nothing was written. Reads go on."""

    reason = "disk_full"


class WriteInDoubt(StorageError):
    """A write failed on its way to disk: it may be there once the store has recovered, or not.

    Any other error of a write means that nothing was written.
    """

    reason = "write_in_doubt"


class CorruptRecord(StorageError):
    """A stored record fails its checksum or cannot be parsed."""

    reason = "corrupt_record"


def disk_error(error: OSError, doing: str) -> StorageError:
    """Our error for an OSError. doing: the operation that failed, for the message."""
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"{doing}: {error}")


def copy_of(error: DatabaseError) -> DatabaseError:
    """A copy to raise: an error that many callers raise would keep the frames of all of them
    alive, and with these their payloads.
    """
    return type(error)(*error.args)


class StartupError(DatabaseError):
    """The server cannot start."""

    reason = "startup_error"


class ConfigError(StartupError):
    """A configuration file is wrong; the message names file, section and key."""

    reason = "config_error"


class DataFolderError(StartupError):
    """The data folder cannot be opened."""

    reason = "data_folder_error"


class ModelLoadError(StartupError):
    """A model folder cannot be served."""

    reason = "model_load_error"
