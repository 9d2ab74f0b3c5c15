"""Verifies the segments of a data folder against the records of its store."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from euclidesdb_server.index.segment_files import (
    LABELS,
    MANIFEST,
    check_files,
    check_vectors,
    read_manifest,
    read_rows,
)
from euclidesdb_server.store import SegmentRecord
from euclidesdb_server.store.segment_records import CHUNK_ROWS


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """What the store knows of a space.

    segments: those that it consists of. live_labels: the item id of each label that has a vector.
    deleted_labels: those with a tombstone, whose rows a segment may still hold. deleted_rows: by
    generation, the chunks of the bitmap of a segment's deleted rows.
    """

    segments: Sequence[SegmentRecord]
    live_labels: Mapping[int, str]
    deleted_labels: Set[int]
    deleted_rows: Mapping[int, Mapping[int, bytes]]


def check_segments(root: Path, spaces: Mapping[int, StoredSpace]) -> Iterator[tuple[Path, str]]:
    """The segments below `root` that cannot be used, each with the reason. All may be deleted.

    Folders that the store does not name are left out, and so are those that are missing: the server
    deletes the former and replaces the latter when it starts.
    """
    for number, space in spaces.items():
        for record in space.segments:
            folder = root / str(number) / str(record.generation)
            if not folder.exists():
                continue
            try:
                _check(folder, record, space)
            except (OSError, ValueError, LookupError, TypeError) as error:
                yield folder, str(error) if type(error) is ValueError else repr(error)


def read_spaces(root: Path) -> dict[int, list[Any]]:
    """The fields of the store's records of spaces, by number, as far as intact manifests show."""
    spaces: dict[int, list[Any]] = {}
    for file in sorted(root.glob(f"*/*/{MANIFEST}")):
        try:
            manifest, _ = read_manifest(file.parent)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # check_segments reports it
        fields = [manifest.model, manifest.fingerprint, manifest.dim, False]
        spaces[manifest.space] = fields
    return spaces


def _check(folder: Path, record: SegmentRecord, space: StoredSpace) -> None:
    """Raises ValueError, OSError, LookupError or TypeError if the segment cannot be used."""
    manifest, checksum = read_manifest(folder)
    if checksum != record.checksum:
        raise ValueError("it is not the one that the store names")
    check_files(folder, manifest)
    check_vectors(folder, manifest, threading.Event())
    labels, ids = read_rows(folder, manifest)
    if (np.diff(labels) <= 0).any():
        raise ValueError(f"{LABELS} is not in ascending order")
    deleted = _deleted_rows(space.deleted_rows.get(record.generation, {}), len(labels))
    names = ids.take(np.arange(len(labels)))
    rows = dict(zip(labels.tolist(), names, strict=True))
    for (label, item_id), is_deleted in zip(rows.items(), deleted.tolist(), strict=True):
        stored = space.live_labels.get(label)
        if stored is None and not is_deleted and label not in space.deleted_labels:
            raise ValueError(
                f"label {label} (item {item_id!r}) is neither in the store nor deleted"
            )
        if stored is not None and is_deleted:
            raise ValueError(f"label {label} (item {item_id!r}) is deleted here, but stored")
        if stored is not None and stored != item_id:
            raise ValueError(
                f"label {label} belongs to item {item_id!r} here, but to {stored!r} in the store"
            )
    for label, item_id in space.live_labels.items():
        if record.after_label < label <= record.up_to_label and label not in rows:
            raise ValueError(f"it lacks label {label} (item {item_id!r}), which it should cover")


def _deleted_rows(chunks: Mapping[int, bytes], rows: int) -> npt.NDArray[np.bool_]:
    deleted = np.zeros(rows, np.bool_)
    for chunk, value in chunks.items():
        bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little").view(np.bool_)
        part = deleted[chunk * CHUNK_ROWS : (chunk + 1) * CHUNK_ROWS]
        part[:] = bits[: len(part)]
    return deleted
