"""What an orderly close leaves: the length of LevelDB's log, so that damage to it is noticed.

LevelDB takes a log that was cut short, or is missing, for one that was never written further.
After a crash nobody can tell. After an orderly close this note can: its file `CLOSED`, in
LevelDB's folder, is gone as soon as the database is opened again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.system.fsync import sync

NOTE: Final = "CLOSED"


def note_closed(folder: Path) -> None:
    """The LevelDB in `folder` has just been closed in order. Raises OSError."""
    logs = {file.name: file.stat().st_size for file in folder.glob("*.log")}
    for name in logs:
        sync(folder / name)
    note = folder / NOTE
    note.write_text(json.dumps({"manifest": _manifest(folder), "logs": logs}))
    sync(note)
    sync(folder)


def was_closed(folder: Path) -> bool:
    """Whether it was, and has not been opened since.

    Raises DataFolderError where the logs are not those that were noted.
    """
    try:
        noted = json.loads((folder / NOTE).read_text())
        manifest, logs = noted["manifest"], noted["logs"].items()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False  # it only makes a start stricter
    if manifest != _manifest(folder):
        return False  # another program has opened it: each time there is a new MANIFEST
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


def _manifest(folder: Path) -> str:
    return (folder / "CURRENT").read_text(errors="replace").strip()


def forget_closed(folder: Path) -> None:
    """It is about to be opened: from now on a crash may leave what it likes. Raises OSError."""
    (folder / NOTE).unlink(missing_ok=True)
    sync(folder)
