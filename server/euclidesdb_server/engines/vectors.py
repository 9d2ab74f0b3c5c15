"""The vectors of a segment as a file: `vectors.f32`, with its shape in `vectors.json`.

`vectors.f32` is rows x dim float32, little-endian, in C order, and nothing else.
`vectors.json` is `{"rows": rows, "dim": dim}`.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.values.arrays import Matrix

_FLOAT32 = np.dtype("<f4")


class VectorFileWriter:
    """Writes both files into `folder`, some rows at a time; they are complete when it is closed.

    Raises OSError.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._file = vectors_path(folder).open("wb", buffering=0)
        self.rows = 0

    def append(self, vectors: Matrix) -> None:
        """Add rows. vectors: shape (n, dim)."""
        view = np.ascontiguousarray(vectors, _FLOAT32).reshape(-1).view(np.uint8).data
        while view:
            view = view[self._file.write(view) :]
        self.rows += len(vectors)

    def close(self) -> None:
        """Write the shape."""
        self._file.close()
        shape = json.dumps({"rows": self.rows, "dim": self._dim})
        (self._folder / "vectors.json").write_text(shape, "utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def save_vectors(folder: Path, vectors: Matrix) -> None:
    """Write both files into `folder`."""
    with VectorFileWriter(folder, vectors.shape[1]) as writer:
        writer.append(vectors)


def keep_vectors(folder: Path, vectors: Matrix) -> None:
    """Write both files into `folder` unless it holds them: a build's folder holds its rows."""
    if not vectors_path(folder).exists():
        save_vectors(folder, vectors)


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


VECTORS: Final = "vectors.f32"


def vectors_path(folder: Path) -> Path:
    """The file of the vectors of the segment in `folder`."""
    return folder / VECTORS
