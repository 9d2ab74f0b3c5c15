"""ReadOnlyCopy: opens a LevelDB without writing to its folder, for reading only.

LevelDB cannot be opened without writing: it makes tables of its logs and a new MANIFEST. On a disk
that is full, or that cannot sync, it is therefore opened in a folder in memory (`/dev/shm`) that
links to the tables and logs. That takes as much memory there as the logs are long.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import plyvel

from euclidesdb_server.store.torn_writes import UsableFiles

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - `_made_anew` accepts no folder of another user

MAX_WRITE_BUFFER: Final = 1 << 30
"""LevelDB's limit: with it, one table is made of each log."""

BLOCKED_FILES: Final = 8
"""How many of the file numbers that come next are taken: one would do."""


class ReadOnlyCopy:
    """An open copy. The caller holds the lock of the original folder while it is open.

    database: its plyvel.DB. Nothing must be written to it.
    """

    def __init__(self, files: UsableFiles, options: Mapping[str, Any]) -> None:
        """Open it. Raises OSError, plyvel.Error."""
        self._folder = _made_anew(_place(files.folder))
        try:
            _link(files, self._folder)
            _block_compactions(files, self._folder)
            self.database: Any = plyvel.DB(
                str(self._folder),
                create_if_missing=False,
                **{**options, "write_buffer_size": MAX_WRITE_BUFFER},
            )
        except BaseException:
            self._remove()
            raise

    def close(self) -> None:
        """Close the database and remove the copy."""
        self.database.close()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def remove_leftover(folder: Path) -> None:
    """Remove the copy that a killed process left of the LevelDB in `folder`.

    The caller holds its lock.
    """
    copy = _place(folder)
    if _is_own_folder(copy):
        shutil.rmtree(copy, ignore_errors=True)


def _place(folder: Path) -> Path:
    """The folder for a copy of a folder: always the same, so that the next one replaces it."""
    memory = MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    about = folder.stat()
    return memory / f"euclidesdb-{os.geteuid()}-{about.st_dev:x}-{about.st_ino:x}"


def _made_anew(copy: Path) -> Path:
    """Make an empty folder. Raises OSError, also if another user has taken its name."""
    if _is_own_folder(copy):
        shutil.rmtree(copy)
    copy.mkdir(mode=0o700)
    return copy


def _is_own_folder(path: Path) -> bool:
    with suppress(FileNotFoundError):
        about = path.lstat()
        return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
    return False


def _link(files: UsableFiles, copy: Path) -> None:
    """Make links to the tables and whole logs, and copies of what is usable of the others."""
    for table in files.tables:
        (copy / table.name).symlink_to(table.resolve())
    for file, end in files.kept.items():
        if file != files.manifest and file.stat().st_size == end:
            (copy / file.name).symlink_to(file.resolve())
        else:
            (copy / file.name).write_bytes(file.read_bytes()[:end])
    (copy / "CURRENT").write_text(f"{files.manifest.name}\n")


def _block_compactions(files: UsableFiles, copy: Path) -> None:
    """Keep LevelDB from filling the memory with compacted tables.

    It never compacts again once it could not create a file, which does not affect reads. So the
    names of the tables that it would create first are given to folders. When it opens a database,
    it numbers the new MANIFEST, a table for each log with anything in it, and a new log.
    """
    number = files.next_file + 1
    for file in files.logs:
        number = max(number + (files.kept[file] > 0), int(file.stem) + 1)
    for blocked in range(number + 1, number + 1 + BLOCKED_FILES):
        (copy / f"{blocked:06d}.ldb").mkdir()
