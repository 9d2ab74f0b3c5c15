"""What LevelDB may read of a folder after a crash, and the cutting off of the rest.

If the power fails during a write, only part of its bytes may be there, or garbage: a **torn
write**. It was never acknowledged, but LevelDB with paranoid checks refuses to open such a log.
If writes were not synced, the end of one log may be missing although the next one is there; LevelDB
would read on, and what is left would be no state that the database ever had.

`usable_files` reads the MANIFEST and the logs that LevelDB would read, and tells how much of each
is to be kept:

- The MANIFEST is cut off after its last whole record if the files that this leaves in use exist:
  LevelDB deletes none of them before the next record is synced (`manifest.py`).
- The logs are cut off where the chain of writes ends (`log_chain.py`). What follows was not
  synced, so the rest is a state that the database had. If every write was synced, it may only be
  the very last one (`later_writes.py`).

Anything else is damage, and refused. Damage to the very last record cannot be told from a torn
write, and is treated as one. What is cut off is kept next to the store, and the server's log
reports it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.later_writes import has_later_write
from euclidesdb_server.store.log_chain import Break, find_break
from euclidesdb_server.store.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

TABLE_SUFFIXES: Final = (".ldb", ".sst")


class _Damage(Exception):
    """A file cannot be what a crash leaves; the text names it."""


@dataclass(frozen=True, slots=True)
class UsableFiles:
    """The files that hold a LevelDB.

    tables: those in use. logs: those that LevelDB would read, in order. next_file: the number of
    its next file. kept: how many bytes of the MANIFEST and of each log are to be kept.
    """

    folder: Path
    manifest: Path
    tables: Sequence[Path]
    logs: Sequence[Path]
    next_file: int
    kept: Mapping[Path, int]


def usable_files(folder: Path, *, clean_shutdown: bool, synced: bool) -> UsableFiles:
    """The usable part of the LevelDB in `folder`; nothing is changed.

    clean_shutdown: the database was closed cleanly, so nothing can be torn or missing.
    synced: each write was synced before the next began.

    Raises DataFolderError naming a file that is damaged, OSError.
    """
    try:
        return _usable_files(folder, clean_shutdown=clean_shutdown, synced=synced)
    except _Damage as damage:
        raise DataFolderError(
            f"the store in {folder} is damaged: {damage}; "
            "run `euclidesdb verify` to list the damage, with --repair to repair it"
        ) from damage


def cut_torn_writes(files: UsableFiles, saved_to: Path) -> None:
    """Cut off what is not to be kept. Raises OSError.

    saved_to: the folder that receives what is cut off.
    """
    for file, end in files.kept.items():
        data = file.read_bytes()
        if len(data) <= end:
            continue
        saved_to.mkdir(exist_ok=True)
        (saved_to / f"{file.name}-from-{end}").write_bytes(data[end:])
        with file.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
        log.warning(
            "%s ended in %d bytes that were never synced, because of a crash: they are now in %s",
            file, len(data) - end, saved_to,
        )  # fmt: skip


def _usable_files(folder: Path, *, clean_shutdown: bool, synced: bool) -> UsableFiles:
    manifest_file, manifest, torn = _read_manifest(folder)
    if torn and clean_shutdown:
        raise _Damage(f"{manifest_file} at byte {manifest.end}")
    try:
        tables = [_table(folder, number) for number in sorted(manifest.tables)]
        logs = _logs(folder, manifest)
    except FileNotFoundError as error:
        if torn:
            # the record that allowed it to be deleted had been synced
            raise _Damage(
                f"{manifest_file} at byte {manifest.end}: {error} is missing, "
                "so this record was not torn by a crash"
            ) from error
        raise _Damage(f"{error} is missing") from error
    data = [file.read_bytes() for file in logs]
    kept = {file: len(content) for file, content in zip(logs, data, strict=True)}
    broken = find_break(data, manifest.logged_sequence, synced=synced)
    if broken is not None:
        place = f"{logs[broken.log]} at byte {broken.record.start}"
        if clean_shutdown or (synced and _is_damage(data, broken)):
            missing = "" if broken.torn else ": the writes before it are missing"
            raise _Damage(place + missing)
        kept[logs[broken.log]] = broken.record.start
        kept |= dict.fromkeys(logs[broken.log + 1 :], 0)
    kept[manifest_file] = manifest.end
    return UsableFiles(folder, manifest_file, tables, logs, manifest.next_file, kept)


def _read_manifest(folder: Path) -> tuple[Path, Manifest, bool]:
    """The MANIFEST, what it says, and whether it ends in a record that is not whole."""
    name = (folder / "CURRENT").read_text(errors="replace").strip()
    file = folder / name
    if not name.startswith("MANIFEST-") or file.parent != folder or not file.is_file():
        raise _Damage(f"{folder / 'CURRENT'} names {name[:40]!r}, but there is no such MANIFEST")
    data = file.read_bytes()
    manifest = read_manifest(data)
    if manifest.problem is not None:
        raise _Damage(f"{file}: {manifest.problem}")
    return file, manifest, manifest.end < len(data)


def _table(folder: Path, number: int) -> Path:
    """The file of a table. Raises FileNotFoundError."""
    for suffix in TABLE_SUFFIXES:
        file = folder / f"{number:06d}{suffix}"
        if file.is_file():
            return file
    raise FileNotFoundError(folder / f"{number:06d}{TABLE_SUFFIXES[0]}")


def _logs(folder: Path, manifest: Manifest) -> list[Path]:
    """The logs that LevelDB would read, in order. Raises FileNotFoundError."""
    found = dict(_numbered_logs(folder))
    if manifest.log_number and manifest.log_number not in found:
        raise FileNotFoundError(folder / f"{manifest.log_number:06d}.log")
    return [
        found[number]
        for number in sorted(found)
        if number >= manifest.log_number or number == manifest.previous_log
    ]


def _numbered_logs(folder: Path) -> Iterator[tuple[int, Path]]:
    for file in folder.glob("*.log"):
        if file.stem.isdecimal():
            yield int(file.stem), file


def _is_damage(logs: Sequence[bytes], broken: Break) -> bool:
    """Whether a break cannot be a torn write, if each write was synced before the next began."""
    # a log is complete once the next one is begun
    newer_writes = any(logs[broken.log + 1 :])
    return not broken.torn or newer_writes or has_later_write(logs[broken.log], broken)
