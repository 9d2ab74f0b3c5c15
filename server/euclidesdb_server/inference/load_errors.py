"""Why a worker is not ready. Any other ModelLoadError means that the model itself is at fault.

ModelLoadError
├── FilesChanged       it would make vectors of another version
├── LoadInterrupted    another attempt may succeed
└── WorkerDied         in a shared worker, another model may have ended the process
"""

from __future__ import annotations

from euclidesdb_server.errors import ModelLoadError


class FilesChanged(ModelLoadError):
    """The files of a model changed since they were loaded. No attempt changes them back."""


class LoadInterrupted(ModelLoadError):
    """The load was cut short by what may pass: a timeout, a lack of memory, an unreadable disk."""


class LoadTimedOut(LoadInterrupted):
    """It was not ready within `start_timeout`."""


class WorkerDied(ModelLoadError):
    """The process ended by itself while it loaded the model."""
