"""The record of a clean shutdown: how long each of LevelDB's logs was when it was closed.

LevelDB cannot tell a log that was cut short, or that is missing, from one that was never written
further. After a crash there is no way to tell them apart. After a clean shutdown there is: the
file `CLOSED` in LevelDB's folder lists the logs and their lengths (FORMAT.md). It is deleted
whenever the database is opened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.system.fsync import sync

CLEAN_SHUTDOWN_FILE: Final = "CLOSED"


def record_clean_shutdown(folder: Path) -> None:
    """Record that the LevelDB in `folder` has just been closed cleanly. Raises OSError."""
    logs = {file.name: file.stat().st_size for file in folder.glob("*.log")}
    for name in logs:
        sync(folder / name)
    record = folder / CLEAN_SHUTDOWN_FILE
    record.write_text(json.dumps({"manifest": _current_manifest(folder), "logs": logs}))
    sync(record)
    sync(folder)


def was_shut_down_cleanly(folder: Path) -> bool:
    """Whether the LevelDB in `folder` was closed cleanly and has not been opened since.

    Raises DataFolderError if its logs are not those that were recorded.
    """
    try:
        record = json.loads((folder / CLEAN_SHUTDOWN_FILE).read_text())
        manifest, logs = record["manifest"], record["logs"].items()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False  # an unreadable record only makes the check of the logs less strict
    if manifest != _current_manifest(folder):
        return False  # another program has opened it: each time it is opened it gets a new MANIFEST
    for name, size in logs:
        log = folder / name
        found = log.stat().st_size if log.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes"
            raise DataFolderError(
                f"the store in {folder} is damaged: {log} {state}; it had {size} bytes when the "
                "server stopped"
            )
    return True


def clear_clean_shutdown(folder: Path) -> None:
    """Delete the record, if any: after a crash from now on the logs may differ. Raises OSError."""
    (folder / CLEAN_SHUTDOWN_FILE).unlink(missing_ok=True)
    sync(folder)


def _current_manifest(folder: Path) -> str:
    return (folder / "CURRENT").read_text(errors="replace").strip()
