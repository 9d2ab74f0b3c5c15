"""The errors of the database, none of which knows of gRPC.

    DatabaseError
    ├── InvalidRequest
    │   ├── UndecodableInput     the bytes are no image, truncated, or too large an image
    │   ├── DimensionMismatch    a vector has the wrong length
    │   ├── ModelRejected        a model folder cannot be served in place of what is
    │   └── VersionMismatch           a vector was made by another model version
    ├── NotFound
    │   ├── UnknownModel
    │   └── UnknownItem
    ├── Overloaded               a model's queue is full
    ├── DeadlineExceeded         the caller's time was up
    ├── Unavailable
    │   ├── ModelUnavailable     loading, restarting or quarantined
    │   └── ShuttingDown
    ├── NotAllowed
    ├── ModelFailed              the model raised, crashed, hung or answered nonsense
    ├── StorageError
    │   ├── DiskFull
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
from typing import ClassVar


class DatabaseError(Exception):
    """Base of every error of the database."""

    reason: ClassVar[str] = "database_error"


class InvalidRequest(DatabaseError):
    """The request cannot be served as it stands; the message names the offending value."""

    reason = "invalid_request"


class UndecodableInput(InvalidRequest):
    """The payload is not what its kind of input promises."""

    reason = "undecodable_input"


class DimensionMismatch(InvalidRequest):
    """A vector's length is not the model's feature_dim."""

    reason = "dimension_mismatch"


class ModelRejected(InvalidRequest):
    """A model folder cannot be served; what was served before goes on."""

    reason = "model_rejected"


class VersionMismatch(InvalidRequest):
    """A vector belongs to another version of the model than the one served."""

    reason = "version_mismatch"


class NotFound(DatabaseError):
    """Something named in the request does not exist."""

    reason = "not_found"


class UnknownModel(NotFound):
    """No model of that name is served."""

    reason = "unknown_model"


class UnknownItem(NotFound):
    """No item of that id is stored, or it has no vector of the model asked for."""

    reason = "unknown_item"


class Overloaded(DatabaseError):
    """A model's queue is full; try again later."""

    reason = "overloaded"


class DeadlineExceeded(DatabaseError):
    """The caller's deadline passed, or the caller went away, before the answer was there."""

    reason = "deadline_exceeded"


class Unavailable(DatabaseError):
    """What the request needs is not there now, and may be later."""

    reason = "unavailable"


class ModelUnavailable(Unavailable):
    """The model is loading, restarting or quarantined."""

    reason = "model_unavailable"


class ShuttingDown(Unavailable):
    """The server is stopping."""

    reason = "shutting_down"


class NotAllowed(DatabaseError):
    """The configuration forbids the call."""

    reason = "not_allowed"


class ModelFailed(DatabaseError):
    """The model raised, crashed, hung, or answered with a wrong shape or non-finite values."""

    reason = "model_failed"


class StorageError(DatabaseError):
    """LevelDB or the file system failed."""

    reason = "storage_error"


class DiskFull(StorageError):
    """No room to write; reads go on."""

    reason = "disk_full"


class CorruptRecord(StorageError):
    """A stored record fails its checksum or cannot be parsed."""

    reason = "corrupt_record"


def disk_error(error: OSError, doing: str) -> StorageError:
    """The error for one of the file system's; `doing` says what was under way."""
    kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"{doing}: {error}")


def copy_of(error: DatabaseError) -> DatabaseError:
    """An error of each caller's own: one that is raised again and again keeps the frames of all
    who raised it, and with them the payloads that these hold.
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
