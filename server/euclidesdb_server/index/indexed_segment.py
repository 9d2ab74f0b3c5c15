"""IndexedSegment: an engine's segment as a space uses it, with labels, ids and deletions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines import Segment
from euclidesdb_server.index.deletions import Deletions
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.index.segment_files import Manifest
from euclidesdb_server.store import SegmentRecord
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.row_mask import RowMask


class _Int32Rows:
    """Computed when it is first needed: most databases are never asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mask: RowMask | None = None

    def of(self, ids: Ids) -> RowMask:
        with self._lock:
            if self._mask is None:
                self._mask = RowMask(ids.int32_rows())
            return self._mask


@dataclass(frozen=True, slots=True, eq=False)
class IndexedSegment:
    """One segment of a space. Only `deletions` changes, under the lock of the space.

    labels: ascending, shape (rows,). ids: of the items that the labels were given to. normalized:
    whether the rows of `segment` are of unit length. outdated: it serves until one is built with
    the configured engine and options.
    """

    segment: Segment
    labels: Labels
    ids: Ids
    record: SegmentRecord
    manifest: Manifest
    folder: Path
    deletions: Deletions
    outdated: bool
    _int32: _Int32Rows = field(default_factory=_Int32Rows)

    def __len__(self) -> int:
        """The number of rows, deleted ones included."""
        return len(self.labels)

    @property
    def alive(self) -> int:
        """The number of rows that are not deleted."""
        return self.deletions.alive

    @property
    def built(self) -> bool:
        """Whether it has an index; without one every row is compared."""
        return self.manifest.engine != ""

    @property
    def deleted_share(self) -> float:
        """The share of its rows that are deleted."""
        return 1 - self.alive / len(self) if len(self) else 0.0

    def row_of(self, label: int) -> int | None:
        """The row of a label; None if the segment does not hold it."""
        row = int(self.labels.searchsorted(label))
        return row if row < len(self.labels) and self.labels[row] == label else None

    def rows_of(self, labels: Labels) -> npt.NDArray[np.int64]:
        """The rows of those labels that the segment holds."""
        rows = np.searchsorted(self.labels, labels)
        inside = rows < len(self.labels)
        rows, labels = rows[inside], labels[inside]
        found: npt.NDArray[np.int64] = rows[self.labels[rows] == labels]
        return found

    def int32_rows(self) -> RowMask:
        """The rows whose id is the decimal form of an int32."""
        return self._int32.of(self.ids)
