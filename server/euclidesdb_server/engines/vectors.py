"""The vectors of a segment as a file: `vectors.f32`, with its shape in `vectors.json`.

`vectors.f32` is rows x dim float32, little-endian, in C order, and nothing else.
`vectors.json` is `{"rows": rows, "dim": dim}`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.values.arrays import Matrix

_FLOAT32 = np.dtype("<f4")


def save_vectors(folder: Path, vectors: Matrix) -> None:
    """Write both files into `folder`."""
    rows, dim = vectors.shape
    vectors.astype(_FLOAT32, copy=False).tofile(vectors_path(folder))
    (folder / "vectors.json").write_text(json.dumps({"rows": rows, "dim": dim}), "utf-8")


def keep_vectors(folder: Path, vectors: Matrix) -> None:
    """Write both files into `folder` unless it holds them: a build's folder holds its rows."""
    if not vectors_path(folder).exists():
        save_vectors(folder, vectors)


def drop_vectors(folder: Path) -> None:
    """Delete both files, if they are there. A memory map of them stays valid."""
    vectors_path(folder).unlink(missing_ok=True)
    (folder / "vectors.json").unlink(missing_ok=True)


def load_vectors(folder: Path) -> Matrix:
    """The saved matrix, memory-mapped and read-only. Raises CorruptRecord as `read_shape` does."""
    rows, dim = read_shape(folder)
    if rows == 0:  # an empty file cannot be mapped
        return np.empty((0, dim), np.float32)
    mapped = np.memmap(vectors_path(folder), _FLOAT32, mode="r", shape=(rows, dim))
    return np.asarray(mapped, np.float32)


def read_shape(folder: Path) -> tuple[int, int]:
    """The numbers of rows and dimensions of the saved matrix.

    Raises CorruptRecord if `vectors.json` is unreadable or `vectors.f32` has another size.
    """
    try:
        shape = json.loads((folder / "vectors.json").read_text("utf-8"))
        rows, dim = int(shape["rows"]), int(shape["dim"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptRecord(
            f"{folder / 'vectors.json'}: not the shape of a matrix: {error}"
        ) from error
    size = vectors_path(folder).stat().st_size
    if size != rows * dim * _FLOAT32.itemsize:
        raise CorruptRecord(
            f"{vectors_path(folder)}: {size} bytes, but {rows} rows of {dim} float32 take "
            f"{rows * dim * _FLOAT32.itemsize}"
        )
    return rows, dim


def vectors_path(folder: Path) -> Path:
    """The file of the vectors of the segment in `folder`."""
    return folder / "vectors.f32"
