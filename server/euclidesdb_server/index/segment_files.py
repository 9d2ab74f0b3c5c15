"""The files of one segment: written as a whole or not at all, and checked before they are used.

FORMAT.md describes them. A segment can be rebuilt from the store, so one that cannot be used is
reported with the reason, and replaced.
"""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from euclidesdb_server.engines.vectors import VECTORS
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.system.file_sums import FileSum, file_sum
from euclidesdb_server.system.fsync import sync
from euclidesdb_server.values.arrays import Labels

FORMAT_VERSION: Final = 4
MANIFEST: Final = "manifest.json"
LABELS: Final = "labels.i64"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a segment is.

    space, model, fingerprint, dim: of its space. engine: the name of the
    one that built it; "" if no index has been built: the folder holds the rows only. reference:
    what it is loaded with (`engine_reference`). build_options: those that shaped
    it. normalized: whether the rows were scaled to unit length. after_label, up_to_label: as
    `SegmentRecord`. files: by name.
    """

    space: int
    model: str
    fingerprint: str
    dim: int
    engine: str
    reference: Mapping[str, Any]
    build_options: Mapping[str, Any]
    normalized: bool
    rows: int
    after_label: int
    up_to_label: int
    files: Mapping[str, FileSum]

    def write(self, folder: Path) -> int:
        """Write it into `folder`, synced; returns its checksum. Raises OSError."""
        fields = {
            "format": FORMAT_VERSION,
            **{name: getattr(self, name) for name in self.__slots__},
            "files": {
                name: {"size": each.size, "crc32": each.crc32} for name, each in self.files.items()
            },
        }
        crc = _crc_of(fields)
        text = json.dumps({**fields, "crc32": crc}, indent=1)
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        sync(folder / MANIFEST)
        return crc


def read_manifest(folder: Path) -> tuple[Manifest, int]:
    """The manifest of the segment in `folder`, and its checksum.

    Raises OSError; ValueError, LookupError or TypeError if it is not one, or of another format.
    """
    fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    crc = fields.pop("crc32")
    if crc != _crc_of(fields):
        raise ValueError(f"{folder / MANIFEST} fails its checksum")
    version = fields.pop("format")
    if version != FORMAT_VERSION:
        raise ValueError(f"it has format {version}, but this server reads {FORMAT_VERSION}")
    files = {name: FileSum(**each) for name, each in fields.pop("files").items()}
    return Manifest(**fields, files=files), crc


def check_files(folder: Path, manifest: Manifest, cancelled: threading.Event | None = None) -> None:
    """Check what is read before a search: the length of each file, and the bytes of all but one.

    `vectors.f32` is left to `check_vectors`: it is most of the bytes, and no value in it can do
    more harm than a wrong distance. Raises OSError, ValueError; ShuttingDown if cancelled.
    """
    for name, recorded in manifest.files.items():
        if (folder / name).stat().st_size != recorded.size:
            raise ValueError(f"{folder / name} should have {recorded.size} bytes")
        if name != VECTORS:
            _check_bytes(folder / name, recorded, cancelled)


def check_vectors(folder: Path, manifest: Manifest, cancelled: threading.Event) -> None:
    """Check the bytes that `check_files` has left out.

    Raises OSError, ValueError; ShuttingDown if cancelled.
    """
    if VECTORS in manifest.files:
        _check_bytes(folder / VECTORS, manifest.files[VECTORS], cancelled)


def read_rows(folder: Path, manifest: Manifest) -> tuple[Labels, Ids]:
    """The labels and the ids of the rows, memory-mapped. Raises OSError, ValueError."""
    ids = Ids.load(folder)
    labels = np.memmap(folder / LABELS, "<i8", mode="r") if len(ids) else np.empty(0, np.int64)
    if not len(labels) == len(ids) == manifest.rows:
        raise ValueError(f"{len(labels)} labels and {len(ids)} ids for {manifest.rows} rows")
    return np.asarray(labels, np.int64), ids


def delete(path: Path) -> None:
    """Delete a folder or a file, as far as it can be deleted."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def _check_bytes(file: Path, recorded: FileSum, cancelled: threading.Event | None = None) -> None:
    if file_sum(file, cancelled) != recorded:
        raise ValueError(f"{file} fails its checksum")


def _crc_of(fields: Mapping[str, Any]) -> int:
    """CRC-32 of a manifest without its own checksum (FORMAT.md)."""
    return zlib.crc32(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())
