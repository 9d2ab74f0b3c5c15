"""Checkpoint: the data folder as it is at one moment, in a folder of its own, for a backup.

LevelDB's tables, the segments and the files of columns never change once they are complete, so the
checkpoint has **hard links** to them: it takes no space until the server deletes the originals,
and what the server does meanwhile changes nothing in it. Only LevelDB's MANIFEST and logs grow;
they are copied up to the length that they had.

Most links are made first, while the server writes as usual. Then writes are held for as long as it
takes to note the lengths and to link what is new since. LevelDB may compact tables at any time: if
one that the noted MANIFEST names was deleted just then, it is all done again.

The checkpoint is a folder as a start after a crash would find it, with every write that was
acknowledged before: `usable_files` has checked it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import (
    CorruptRecord,
    DataFolderError,
    StorageError,
    disk_error,
)
from euclidesdb_server.store import keys
from euclidesdb_server.store.columns_files import read_columns
from euclidesdb_server.store.layout import (
    CHECKPOINT_FOLDER,
    COLUMNS_FOLDER,
    SEGMENTS_FOLDER,
    STORE_FOLDER,
)
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.reader import StoreReader
from euclidesdb_server.store.segment_records import unpack_segments
from euclidesdb_server.store.torn_writes import TABLE_SUFFIXES, usable_files

log = logging.getLogger(__name__)

ATTEMPTS: Final = 5
LIVE: Final = ".live"
"""Added to the name of a link to a file that LevelDB still writes to."""
COPY_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Checkpoint:
    """The files of one moment. `close` releases them, and is idempotent.

    folder: holds them under the names that they have in the data folder. files: these names, with
    slashes, sorted. held_seconds: how long writes were held.
    """

    folder: Path
    files: list[str]
    held_seconds: float

    def close(self) -> None:
        """Remove the folder: space of what the server has deleted since is freed."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Checkpoints:
    """Takes checkpoints of one data folder. leveldb: its store, which is open."""

    def __init__(self, leveldb: LevelDB, data: Path) -> None:
        """Remove what a server that was killed has left of one."""
        self._leveldb = leveldb
        self._data = data
        self._remove()

    def take(self) -> Checkpoint:
        """The data folder as of now. No other checkpoint of it may be open.

        Raises StorageError (DiskFull), ShuttingDown; also if a write has failed and the server has
        not recovered from that yet.
        """
        try:
            for _ in range(ATTEMPTS):
                self._remove()
                try:
                    return _taken(self._leveldb, self._data)
                except DataFolderError as error:
                    failure = error
                    log.info("a checkpoint is taken again: %s", error)
            raise StorageError(f"taking a checkpoint: {failure}") from failure
        except BaseException as error:
            self._remove()
            if isinstance(error, OSError):
                raise disk_error(error, "taking a checkpoint") from error
            raise

    def _remove(self) -> None:
        shutil.rmtree(self._data / CHECKPOINT_FOLDER, ignore_errors=True)


def _taken(leveldb: LevelDB, data: Path) -> Checkpoint:
    """Raises DataFolderError if a table is missing that was compacted just then; OSError."""
    links = _Links(data, data / CHECKPOINT_FOLDER)
    links.add()
    growing = dict[str, int]()
    began = ended = 0.0

    def note() -> None:
        nonlocal began, ended
        began = time.perf_counter()
        growing.update(links.add_growing())  # before the tables: what the MANIFEST names is there
        links.add()
        ended = time.perf_counter()

    with closing(leveldb.snapshot_during(note)) as snapshot:
        named = _named_folders(StoreReader(snapshot))
    links.cut(growing)
    store = links.target / STORE_FOLDER
    usable = usable_files(store, clean_shutdown=False, synced=True)
    used = {path.name for path in (usable.manifest, *usable.tables, *usable.logs)} | {"CURRENT"}
    for path in store.iterdir():
        if path.name not in used:
            path.unlink()
    files = [f"{STORE_FOLDER}/{name}" for name in used]
    files += [name for name in links.inodes if _is_named(name, named)]
    return Checkpoint(links.target, sorted(files), ended - began)


@dataclass(slots=True)
class _Links:
    """Makes the links of a checkpoint.

    inodes: of the files that are linked, by name. made: the folders that have been created.
    """

    source: Path
    target: Path
    inodes: dict[str, int] = field(default_factory=dict)
    made: set[Path] = field(default_factory=set)

    def add(self) -> None:
        """Link every file that never changes, and is not linked yet. Raises OSError."""
        for name, inode in _unchanging_files(self.source):
            before = self.inodes.get(name)
            if before != inode:
                if before is not None:  # LevelDB was reopened, and has used its number again
                    (self.target / name).unlink()
                self._link(name, name, inode)

    def add_growing(self) -> dict[str, int]:
        """Link the MANIFEST and the logs; returns their lengths. Raises OSError."""
        store = self.source / STORE_FOLDER
        manifest = (store / "CURRENT").read_text(errors="replace").strip()
        lengths: dict[str, int] = {}
        for name in (manifest, *(path.name for path in store.glob("*.log"))):
            with suppress(FileNotFoundError):  # LevelDB deletes a log that it needs no more
                lengths[name] = (store / name).stat().st_size
                self._link(f"{STORE_FOLDER}/{name}", f"{STORE_FOLDER}/{name}{LIVE}", 0)
        if manifest not in lengths:
            raise DataFolderError(f"{store / manifest} is missing")
        (self.target / STORE_FOLDER / "CURRENT").write_text(f"{manifest}\n")
        return lengths

    def cut(self, lengths: dict[str, int]) -> None:
        """Replace the links to growing files by copies of these lengths. Raises OSError."""
        store = self.target / STORE_FOLDER
        for name, length in lengths.items():
            live = store / f"{name}{LIVE}"
            if live.exists():
                _copy(live, store / name, length)
                live.unlink()

    def _link(self, name: str, new_name: str, inode: int) -> None:
        target = self.target / new_name
        if target.parent not in self.made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.made.add(target.parent)
        with suppress(FileNotFoundError):  # deleted meanwhile, so it is not needed
            os.link(self.source / name, target)
            if inode:
                self.inodes[name] = inode


def _unchanging_files(data: Path) -> Iterator[tuple[str, int]]:
    """Names and inodes of tables, and of the files of segments and columns."""
    yield from _files(data, STORE_FOLDER, TABLE_SUFFIXES)
    yield from _files(data, COLUMNS_FOLDER, (".arrow",))
    for space in _folders(data / SEGMENTS_FOLDER):
        for generation in _folders(data / SEGMENTS_FOLDER / space):
            yield from _files(data, f"{SEGMENTS_FOLDER}/{space}/{generation}", ("",))


def _files(data: Path, folder: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    with suppress(FileNotFoundError), os.scandir(data / folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffixes) and entry.is_file(follow_symlinks=False):
                yield f"{folder}/{entry.name}", entry.inode()


def _folders(folder: Path) -> list[str]:
    """Those that are named for a number: the others are being written."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.isdecimal()]
    return []


def _named_folders(reader: StoreReader) -> set[str]:
    """What the store accepts: "segments/<space>/<generation>" and "columns/<generation>.arrow"."""
    named = set[str]()
    try:
        for key, value in reader.prefix(keys.SEGMENTS):
            space = keys.space_of(key)
            for record in unpack_segments(value, space):
                named.add(f"{SEGMENTS_FOLDER}/{space}/{record.generation}")
        for file in read_columns(reader).files:
            named.add(f"{COLUMNS_FOLDER}/{file.generation}.arrow")
    except CorruptRecord as error:
        log.error("a backup lacks indexes, which a start makes again: %s", error)
    return named


def _is_named(name: str, named: set[str]) -> bool:
    return name in named or name.rpartition("/")[0] in named


def _copy(source: Path, target: Path, length: int) -> None:
    """Copy the first bytes of a file. Raises OSError."""
    with source.open("rb") as stream, target.open("wb") as copy:
        left = length
        while left and (piece := stream.read(min(left, COPY_BYTES))):
            copy.write(piece)
            left -= len(piece)
