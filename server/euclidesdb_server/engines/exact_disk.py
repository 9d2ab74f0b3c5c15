"""The exact engine for more vectors than fit in memory: each search reads the file of vectors.

A search holds one block of 4 MiB and the k nearest rows so far, whatever the number of rows.
Plain reads leave the rows in the page cache, which the system can reclaim. With a sparse mask only
runs of allowed rows are read. The vectors are saved as described in `vectors.py`, as by `exact`.

A segment holds the matrix that it was built from until `save` has written it.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from euclidesdb_server.engines.block_scan import search_blocks
from euclidesdb_server.engines.distances import rows_per_block
from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.engines.vectors import keep_vectors, read_shape, vectors_path
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import L2, Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

# Reading across a gap of this many bytes costs no more than a second read.
_MAX_GAP_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class ExactDiskOptions:
    """Section `[exact_disk]` of the configuration; keys and defaults come from EuclidesDB (C++)."""

    pnorm: Annotated[float, Ge(1)] = 2.0
    """The p of the p-norm of the difference: 1 is Manhattan, 2 Euclidean, inf Chebyshev."""
    normalize: bool = False
    """Scale vectors to unit length before they are compared."""


class VectorFile:
    """A saved matrix, read with `pread`. Thread-safe; open until it is garbage-collected."""

    def __init__(self, folder: Path) -> None:
        self._rows, self._dim = read_shape(folder)
        self._path = vectors_path(folder)
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def blocks(self, allowed: RowMask | None) -> Iterator[tuple[Rows, Matrix]]:
        """Row numbers and vectors of at least the allowed rows, in ascending order.

        All blocks share one buffer: each block is overwritten by the next.
        """
        step = rows_per_block(self._dim)
        buffer = np.empty((min(step, self._rows), self._dim), np.dtype("<f4"))
        mask = None if allowed is None else allowed.as_bool()
        for start in range(0, self._rows, step):
            stop = min(start + step, self._rows)
            runs = [(start, stop)] if mask is None else self._runs(mask, start, stop)
            filled = 0
            for first, last in runs:
                self._read(buffer[filled : filled + last - first], first)
                filled += last - first
            if filled:
                yield np.concatenate([np.arange(*run) for run in runs]), buffer[:filled]

    def mapped(self) -> Matrix:
        """The matrix, memory-mapped."""
        if not self._rows:  # an empty file cannot be mapped
            return np.empty((0, self._dim), np.float32)
        pages = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
        return np.frombuffer(pages, np.dtype("<f4")).reshape(self._rows, self._dim)

    def _runs(self, mask: npt.NDArray[np.bool_], start: int, stop: int) -> list[tuple[int, int]]:
        """Ranges of rows within [start, stop) that cover all allowed rows and small gaps."""
        rows = start + np.flatnonzero(mask[start:stop])
        if not len(rows):
            return []
        max_gap = max(1, _MAX_GAP_BYTES // (4 * self._dim))
        breaks = np.flatnonzero(np.diff(rows) > max_gap)
        firsts = rows[np.concatenate(([0], breaks + 1))]
        lasts = rows[np.concatenate((breaks, [-1]))] + 1
        return list(zip(firsts.tolist(), lasts.tolist(), strict=True))

    def _read(self, vectors: Matrix, first_row: int) -> None:
        view = vectors.reshape(-1).view(np.uint8).data
        offset = first_row * self._dim * vectors.itemsize
        while view:
            count = os.preadv(self._descriptor, [view], offset)
            if count == 0:
                raise CorruptRecord(f"{self._path}: ends at byte {offset}, within a row")
            view, offset = view[count:], offset + count


class ExactDiskSegment:
    """The given matrix until it is saved, and its file from then on."""

    description = "all rows, read from disk"
    exact = True

    def __init__(self, source: Matrix | VectorFile, metric: Metric) -> None:
        self._source = source
        self._metric = metric

    @property
    def vectors(self) -> Matrix:
        """As `Segment.vectors`."""
        source = self._source
        return source.mapped() if isinstance(source, VectorFile) else source

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; exact, including ties at the kth place.

        Raises CorruptRecord if the file has been truncated.
        """
        source = self._source
        if isinstance(source, VectorFile):
            return search_blocks(queries, source.blocks(allowed), k, allowed, self._metric)
        return search_matrix(queries, source, k, allowed, self._metric)

    search_exactly = search

    def save(self, folder: Path) -> None:
        """As `Segment.save`; releases the matrix. `folder` may be renamed afterwards."""
        source = self._source
        if isinstance(source, VectorFile):
            raise ValueError(
                "an exact_disk segment is saved only once, and this one has been saved"
            )
        keep_vectors(folder, source)
        self._source = VectorFile(folder)


class ExactDiskEngine:
    """A `SearchEngine` that reads every row for each search."""

    name: ClassVar[str] = "exact_disk"
    needs_build: ClassVar[bool] = False
    Options = ExactDiskOptions

    def __init__(self, options: ExactDiskOptions | None = None) -> None:
        self.options = options or ExactDiskOptions()

    @property
    def metric(self) -> Metric:
        """The p-norm of the difference; `l2` if p is 2."""
        pnorm, normalize = self.options.pnorm, self.options.normalize
        if pnorm == L2.p:
            return Metric(MetricKind.L2, normalized=normalize)
        return Metric(MetricKind.LP, p=pnorm, normalized=normalize)

    @property
    def build_options(self) -> Mapping[str, Any]:
        """Only whether the saved rows are normalized; any p can search them."""
        return {"normalized": self.metric.normalizes}

    def build(
        self,
        vectors: Matrix,
        *,
        threads: int = 1,  # noqa: ARG002  # nothing to build
        folder: Path | None = None,  # noqa: ARG002
    ) -> ExactDiskSegment:
        """As `SearchEngine.build`; holds the matrix until `save`."""
        return ExactDiskSegment(vectors, self.metric)

    def load(self, folder: Path) -> ExactDiskSegment:
        """As `SearchEngine.load`; raises CorruptRecord if the files disagree."""
        return ExactDiskSegment(VectorFile(folder), self.metric)
