"""The segments of a space on disk, written completely or not at all, and verified before use.

FORMAT.md describes the files. A segment can be rebuilt from the store, so one that cannot be used
is deleted, not reported as an error.
"""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from euclidesdb_server.engines import SearchEngine, Segment
from euclidesdb_server.errors import ShuttingDown, disk_error
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.system.fsync import sync
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.stop import CheckStop, never_stop

log = logging.getLogger(__name__)

FORMAT_VERSION: Final = 2
MANIFEST: Final = "manifest.json"
LABELS: Final = "labels.i64"
CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class IndexedRows:
    """A segment in use, with the labels and ids of its rows.

    labels: ascending, shape (rows,). ids: of the items that the labels were given to.
    up_to_label: the segment holds all rows that were stored up to this label when it was built.
    folder: of its files; None for an `UnbuiltSegment`.
    """

    segment: Segment
    labels: Labels
    ids: Ids
    up_to_label: int
    folder: Path | None

    def row_of(self, label: int) -> int | None:
        """The row of a label; None if the segment does not hold it."""
        row = int(np.searchsorted(self.labels, label))
        return row if row < len(self.labels) and self.labels[row] == label else None


class SegmentFolder:
    """The segments of one space. Not thread-safe.

    root: the folder that holds them. engine: builds and loads them. identity: entries of the
    manifest (JSON values) that a segment must have to be used, in addition to those of the engine.
    """

    def __init__(self, root: Path, engine: SearchEngine, identity: Mapping[str, Any]) -> None:
        self._root = root
        self._engine = engine
        described = {
            **identity,
            "engine": engine.name,
            "build_options": dict(engine.build_options),
            "metric": str(engine.metric),
        }
        self._identity = json.loads(json.dumps(described))

    def holds_segments(self) -> bool:
        """Whether there is any complete segment, usable or not."""
        return bool(self._complete())

    def load(self, newest_label: int, check_stop: CheckStop = never_stop) -> IndexedRows | None:
        """The newest segment that is intact and matches the configuration; deletes all others.

        newest_label: the greatest label that the store has given out. A segment that covers a
            greater one belongs to another store, or to a later state of this one.

        Never raises an error for what is in the folder: a segment that cannot be used is logged
        with the reason and deleted. Raises only what `check_stop` raises: ShuttingDown.
        """
        indexed = None
        for folder in self._entries():
            if indexed is None:
                try:
                    found = self._open(folder, check_stop)
                    if found.up_to_label > newest_label:
                        raise ValueError(
                            f"it covers labels up to {found.up_to_label}, but the store has given "
                            f"out none greater than {newest_label}"
                        )
                    indexed = found
                    continue
                except ShuttingDown:  # no reason to delete the segment
                    raise
                except Exception as error:  # an engine may raise anything on a damaged file
                    log.warning("segment %s is not used and will be rebuilt: %s", folder, error)
            _delete(folder)
        return indexed

    def write(self, segment: Segment, labels: Labels, ids: Ids, up_to_label: int) -> IndexedRows:
        """Save a segment durably, and open it from disk.

        Raises DiskFull, StorageError; none of its files are left then.
        """
        newest = max((int(folder.name) for folder in self._complete()), default=0)
        final = self._root / str(newest + 1)
        unfinished = final.with_suffix(".tmp")
        _delete(unfinished)
        try:
            unfinished.mkdir(parents=True)
            segment.save(unfinished)
            (unfinished / LABELS).write_bytes(labels.astype("<i8").data)
            ids.save(unfinished)
            self._write_manifest(unfinished, len(labels), up_to_label)
            for file in unfinished.iterdir():
                sync(file)
            sync(unfinished)
            unfinished.rename(final)
            sync(self._root)
            return self._open(final)
        except BaseException as error:
            _delete(unfinished)
            _delete(final)
            if isinstance(error, OSError):
                raise disk_error(error, f"writing segment {final}") from error
            raise

    def drop_all_but(self, kept: Path | None) -> None:
        """Delete all segments except `kept`. Searches in progress keep their memory maps."""
        for folder in self._entries():
            if folder != kept:
                _delete(folder)

    def _write_manifest(self, folder: Path, rows: int, up_to_label: int) -> None:
        manifest = {
            "format": FORMAT_VERSION,
            **self._identity,
            "rows": rows,
            "up_to_label": up_to_label,
            "files": {
                file.name: {"bytes": file.stat().st_size, "crc32": checksum(file)}
                for file in sorted(folder.iterdir())
            },
        }
        manifest["crc32"] = manifest_checksum(manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")

    def _open(self, folder: Path, check_stop: CheckStop = never_stop) -> IndexedRows:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("crc32") != manifest_checksum(manifest):
            raise ValueError(f"{folder / MANIFEST} fails its checksum")
        for key, value in {"format": FORMAT_VERSION, **self._identity}.items():
            if manifest[key] != value:
                raise ValueError(f"its {key} is {manifest[key]!r}, but {value!r} is configured")
        for name, recorded in manifest["files"].items():
            file = folder / name
            intact = file.stat().st_size == recorded["bytes"]
            if not intact or checksum(file, check_stop) != recorded["crc32"]:
                raise ValueError(f"{file} fails its checksum")
        labels = np.fromfile(folder / LABELS, "<i8").astype(np.int64, copy=False)
        ids = Ids.load(folder)
        if not len(labels) == len(ids) == manifest["rows"]:
            raise ValueError(f"{len(labels)} labels and {len(ids)} ids for {manifest['rows']} rows")
        segment = self._engine.load(folder)
        return IndexedRows(segment, labels, ids, manifest["up_to_label"], folder)

    def _entries(self) -> list[Path]:
        """Every segment, newest first, then all other entries of the folder."""
        complete = sorted(self._complete(), key=lambda folder: int(folder.name), reverse=True)
        if not self._root.is_dir():
            return []
        return complete + [entry for entry in self._root.iterdir() if entry not in complete]

    def _complete(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        return [entry for entry in self._root.iterdir() if entry.name.isdecimal()]


def _delete(path: Path) -> None:
    """Delete a folder or a file, as far as it can be deleted."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def checksum(file: Path, check_stop: CheckStop = never_stop) -> int:
    """CRC-32 of a file's bytes. Raises OSError, and what `check_stop` raises."""
    crc = 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            check_stop()
            crc = zlib.crc32(chunk, crc)
    return crc


def manifest_checksum(manifest: Mapping[str, Any]) -> int:
    """CRC-32 of a manifest without its own checksum (FORMAT.md)."""
    return zlib.crc32(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
