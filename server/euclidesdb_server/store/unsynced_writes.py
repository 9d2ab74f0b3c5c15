"""The mark of a store whose writes may not have been synced (`[database] sync = false`).

What a power cut may have done to a store depends on how it was written to, not on the
configuration that it is opened with next. The file `UNSYNCED` in LevelDB's folder says so. It is
created before anything is written without a sync, and deleted when every write is on disk and all
later ones are synced.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from euclidesdb_server.system.fsync import sync

UNSYNCED_FILE: Final = "UNSYNCED"


def may_be_unsynced(folder: Path) -> bool:
    """Whether the last writes to the LevelDB in `folder` may not have been synced."""
    return (folder / UNSYNCED_FILE).exists()


def mark_unsynced(folder: Path) -> None:
    """Note that writes may not be synced from now on. Raises OSError."""
    if not may_be_unsynced(folder):
        (folder / UNSYNCED_FILE).touch()
        sync(folder)


def mark_synced(folder: Path) -> None:
    """Note that all writes are on disk, and that all later ones will be synced.

    Raises OSError. The caller syncs the folder.
    """
    (folder / UNSYNCED_FILE).unlink(missing_ok=True)
