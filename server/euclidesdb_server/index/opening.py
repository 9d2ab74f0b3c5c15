"""Opens the rows of a space: the segments that the store names, and the rows that none holds.

A segment that is missing or damaged is replaced, from the store, by one without an index, whose
rows are compared one by one; building the index is left to the background. All of this takes memory
that does not grow with the number of rows: only a bounded number of rows is held unindexed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.protocol import needs_build
from euclidesdb_server.errors import CorruptRecord, ShuttingDown, StorageError
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.row_blocks import RowBlock, block_of_stored
from euclidesdb_server.index.segment_builder import BuildFailed
from euclidesdb_server.index.segment_folder import SegmentFolder, check_not_stopped
from euclidesdb_server.index.unindexed_rows import UnindexedRows
from euclidesdb_server.store import FeatureStore, SegmentRecord, SpaceRecord

log = logging.getLogger(__name__)

MAX_UNINDEXED: Final = 20_000
"""More rows than this that no segment holds are written to disk when a space is opened."""


@dataclass(slots=True)
class SpaceOpener:
    """Opens the rows of one space.

    stop: if it is set meanwhile, ShuttingDown is raised. tombstones: how many there were.
    """

    record: SpaceRecord
    engine: SearchEngine
    store: FeatureStore
    folder: SegmentFolder
    stop: threading.Event
    tombstones: int = 0

    def open(self) -> tuple[list[IndexedSegment], UnindexedRows, bool]:
        """The segments, the other rows, and whether the store names these segments.

        On a disk that is full or fails, it may still name those that had to be replaced. Raises
        CorruptRecord, StorageError if the store cannot be read, ShuttingDown.
        """
        newest = self.store.labels.low_watermark()
        named = self.store.segments(self.record.number)
        segments = self._segments(named, newest)
        covered = segments[-1].record.up_to_label if segments else 0
        unindexed = UnindexedRows(self.record.feature_dim)
        rest = self._rest(covered, newest, unindexed)
        if rest is not None:
            segments.append(rest)
        records = [segment.record for segment in segments]
        are_named = records == named or self._accept(records)
        if are_named:
            self.folder.drop_all_but(records)
        tombstones = self.store.tombstones(self.record.number)
        for segment in segments:
            segment.deletions.delete_rows(segment.rows_of(tombstones))
        self.tombstones = len(tombstones)
        return segments, unindexed, are_named

    def _segments(self, named: Sequence[SegmentRecord], newest: int) -> list[IndexedSegment]:
        segments: list[IndexedSegment] = []
        missing: list[SegmentRecord] = []
        for record in named:
            try:
                if record.up_to_label > newest:
                    raise ValueError("it holds labels that the store has not given out")
                segment = self.folder.open(record, self.stop)
            except ShuttingDown:  # no fault of the segment
                raise
            except Exception as error:  # an engine may raise anything on a damaged file
                log.warning(
                    "space %d (%s): segment %d cannot be used, and is replaced from the store: %s",
                    self.record.number, self.record.model, record.generation, error,
                )  # fmt: skip
                missing.append(record)
                continue
            segments += self._replaced(missing)
            missing = []
            segments.append(segment)
        # what is missing at the end is read with the rows that no segment holds
        return segments

    def _replaced(self, missing: Sequence[SegmentRecord]) -> list[IndexedSegment]:
        """A segment of what the store has for neighboring segments that cannot be used."""
        if not missing:
            return []
        made = self._written(missing[0].after_label, missing[-1].up_to_label)
        return [] if made is None else [made]

    def _rest(self, covered: int, newest: int, unindexed: UnindexedRows) -> IndexedSegment | None:
        """Read the rows that no segment holds; a segment if there are too many of them."""
        held: list[RowBlock] = []
        for block in self._stored(covered, newest):
            held.append(block)
            if sum(len(each.labels) for each in held) > MAX_UNINDEXED:
                return self._written(covered, newest)
        for block in held:
            ids = block.ids.take(block.rows_of_ids())
            unindexed.append(block.labels.tolist(), ids, block.vectors)
        return None

    def _written(self, after_label: int, up_to_label: int) -> IndexedSegment | None:
        """The rows of the store in a range of labels as a segment, on disk if it can be written."""
        try:
            return self.folder.write(
                self._stored(after_label, up_to_label),
                after_label,
                up_to_label,
                build=not needs_build(self.engine),
                cancelled=self.stop,
            )
        except CorruptRecord:
            raise
        except (BuildFailed, StorageError) as error:
            log.error(
                "space %d (%s): rows are held in memory, as they cannot be written: %s",
                self.record.number, self.record.model, error,
            )  # fmt: skip
        return self.folder.hold(self._stored(after_label, up_to_label), after_label, up_to_label)

    def _stored(self, after: int, up_to: int) -> Iterator[RowBlock]:
        record = self.record
        for piece in self.store.rows(record.number, record.feature_dim, after=after, up_to=up_to):
            check_not_stopped(self.stop)
            yield block_of_stored(piece, self.engine.metric)

    def _accept(self, records: Sequence[SegmentRecord]) -> bool:
        """Name the segments in the store, if anything can be written; whether it could be."""
        try:
            self.store.accept_segments(self.record.number, records, {})
        except StorageError as error:
            log.error("space %d (%s): %s", self.record.number, self.record.model, error)
            return False
        return True
