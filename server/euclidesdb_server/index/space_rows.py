"""SpaceRows: the rows of a space as of now: its segments, and the rows that none of them holds.

One short lock guards them. A search takes a `View` and needs the lock no more. A rewrite (of
unindexed rows into a segment, of segments into one) takes its rows when it begins, and what is
deleted meanwhile is noted, so that the new segment can take its place at any later time.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.unindexed_rows import TakenRows, UnindexedRows
from euclidesdb_server.index.view import View
from euclidesdb_server.store import Bits, SegmentRecord
from euclidesdb_server.values.arrays import Labels, Matrix, Vector
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

Accept = Callable[[Sequence[SegmentRecord], Mapping[int, Bits]], None]
"""Names the segments of the space in the store, and the deleted rows of the new ones."""


@dataclass(eq=False, slots=True)
class Rewrite:
    """Rows on their way into a new segment.

    sources: the segments that it replaces; masks: their rows that are not deleted. taken: the
    unindexed rows that it holds. deleted: the labels deleted since it began.
    """

    sources: Sequence[IndexedSegment] = ()
    masks: Sequence[RowMask | None] = ()
    taken: TakenRows | None = None
    deleted: list[int] = field(default_factory=list)


class SpaceRows:
    """The rows of one space. Thread-safe."""

    def __init__(
        self,
        segments: Sequence[IndexedSegment],
        unindexed: UnindexedRows,
        metric: Metric,
        *,
        are_named: bool,
    ) -> None:
        """segments: in the order of their labels. are_named: the store names them."""
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._segments: Sequence[IndexedSegment] = ()
        self._version = 0
        self._last_labels: list[int] = []
        self._unindexed = unindexed
        self._metric = metric
        self._rewrites: list[Rewrite] = []
        self._view: View | None = None
        self._int32_view: tuple[View, View] | None = None
        self._in_doubt = not are_named
        self._use(segments)

    @property
    def segments(self) -> Sequence[IndexedSegment]:
        """The segments now, in the order of their labels."""
        return self._segments

    @property
    def unindexed(self) -> int:
        """Rows that no segment holds, deleted ones included."""
        return len(self._unindexed)

    def counts(self) -> tuple[int, int, int]:
        """Rows that can be found, rows that no segment holds, and deleted rows of segments."""
        with self._lock:
            alive = sum(segment.alive for segment in self._segments)
            rows = sum(len(segment) for segment in self._segments)
            return alive + self._unindexed.alive, len(self._unindexed), rows - alive

    def row(self, label: int) -> Vector | None:
        """The row of a label; None if there is none. A row of a segment may have been deleted."""
        with self._lock:
            unindexed = self._unindexed.row(label)
            segment = self._segment_of(label)
        if unindexed is not None or segment is None:
            return unindexed
        row = segment.row_of(label)
        return None if row is None else segment.segment.vectors[row]

    def view(self) -> View:
        """What a search that starts now sees."""
        view = self._view  # a change removes it before it is done
        if view is not None:
            return view
        with self._lock:
            if self._view is None:
                self._view = View.of(
                    self._segments, self._unindexed.view(), self._metric, self._version
                )
            return self._view

    def int32_view(self) -> View:
        """As `view`, but only the rows whose item id is the decimal form of an int32."""
        view = self.view()
        latest = self._int32_view
        if latest is not None and latest[0] is view:
            return latest[1]
        made = view.int32_only()  # without the lock: the first time it reads all ids
        with self._lock:
            if view is self._view:  # an older one would keep segments that are deleted
                self._int32_view = view, made
        return made

    def publish(
        self, labels: Sequence[int], ids: Sequence[str], vectors: Matrix, replaces: Iterable[int]
    ) -> None:
        """Add rows and delete those that they replace, in one step."""
        with self._lock:
            self._view = None
            self._unindexed.append(labels, ids, vectors)
            for label in replaces:
                self._delete(label)

    def delete(self, labels: Iterable[int]) -> None:
        """Delete rows; deleting them again changes nothing."""
        with self._lock:
            self._view = None
            for label in labels:
                self._delete(label)

    def deleted(self, labels: Labels) -> Labels:
        """Those of some labels that can be found no more."""
        with self._lock:
            gone = [label for label in labels.tolist() if not self._is_alive(label)]
        return np.array(gone, np.int64)

    def begin_flush(self, up_to_label: int) -> Rewrite:
        """Begin to write the unindexed rows up to a label as a segment."""
        with self._lock:
            rewrite = Rewrite(taken=self._unindexed.up_to(up_to_label))
            self._rewrites.append(rewrite)
            return rewrite

    def begin_merge(self, sources: Sequence[IndexedSegment]) -> Rewrite:
        """Begin to write neighboring segments as one."""
        with self._lock:
            rewrite = Rewrite(sources, [source.deletions.mask() for source in sources])
            self._rewrites.append(rewrite)
            return rewrite

    def abandon(self, rewrite: Rewrite) -> None:
        """End a rewrite, whether it has succeeded or not."""
        with self._lock:
            if rewrite in self._rewrites:
                self._rewrites.remove(rewrite)

    def finish(
        self,
        rewrite: Rewrite,
        new: IndexedSegment | None,
        accept: Accept,
        *,
        up_to_label: int = 0,
    ) -> None:
        """Replace the rows of a rewrite by a new segment; None: none of them is left.

        accept: called first; if it raises, nothing has changed here, and the names in the store
            are written again before anything else depends on them.
        up_to_label: the unindexed rows that the rewrite took.
        """
        with self._replacing:
            segments = self._with(rewrite.sources, new)
            with self._lock:
                noted = list(rewrite.deleted)
            deleted = {}
            if new is not None:
                self._delete_in(new, noted)
                if noted:
                    deleted[new.record.generation] = new.deletions.bits()
            if rewrite.sources or new is not None:
                self._accept(accept, segments, deleted)
            with self._lock:
                if new is not None:
                    self._delete_in(new, rewrite.deleted[len(noted) :])
                self._rewrites.remove(rewrite)
                self._use(segments)
                if up_to_label:
                    self._unindexed = self._unindexed.after(up_to_label)

    def settle(self, accept: Accept, work: Callable[[Sequence[IndexedSegment]], None]) -> None:
        """Do `work` while the segments, and their names in the store, do not change.

        accept: called first if a former change of the names may have failed.
        """
        with self._replacing:
            if self._in_doubt:
                with self._lock:
                    deleted = {
                        each.record.generation: each.deletions.bits() for each in self._segments
                    }
                self._accept(accept, self._segments, deleted)
            work(self._segments)

    def _accept(
        self,
        accept: Accept,
        segments: Sequence[IndexedSegment],
        deleted: Mapping[int, Bits],
    ) -> None:
        if self._in_doubt:  # what is stored may lack the deleted rows of any of them
            deleted = {each.record.generation: each.deletions.bits() for each in segments}
        self._in_doubt = True
        accept([each.record for each in segments], deleted)
        self._in_doubt = False

    def _with(
        self, sources: Sequence[IndexedSegment], new: IndexedSegment | None
    ) -> list[IndexedSegment]:
        """The segments, with the new one in the place of its sources, or else as the last."""
        segments = [*self._segments]
        place = segments.index(sources[0]) if sources else len(segments)
        segments[place : place + len(sources)] = [] if new is None else [new]
        return segments

    def _use(self, segments: Sequence[IndexedSegment]) -> None:
        self._view = self._int32_view = None
        self._version += 1
        self._segments = tuple(segments)
        self._last_labels = [segment.record.up_to_label for segment in segments]

    def _delete(self, label: int) -> None:
        for rewrite in self._rewrites:
            rewrite.deleted.append(label)
        if not self._unindexed.delete(label):
            segment = self._segment_of(label)
            row = None if segment is None else segment.row_of(label)
            if segment is not None and row is not None:
                segment.deletions.delete(row)

    def _delete_in(self, segment: IndexedSegment, labels: Sequence[int]) -> None:
        segment.deletions.delete_rows(segment.rows_of(np.array(labels, np.int64)))

    def _is_alive(self, label: int) -> bool:
        if label in self._unindexed:
            return True
        segment = self._segment_of(label)
        row = None if segment is None else segment.row_of(label)
        return segment is not None and row is not None and not segment.deletions.is_deleted(row)

    def _segment_of(self, label: int) -> IndexedSegment | None:
        place = bisect_left(self._last_labels, label)
        return self._segments[place] if place < len(self._segments) else None
